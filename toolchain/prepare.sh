# shellcheck shell=sh
# Makes what is missing, one invocation at a time.
#
# Each step builds in a staging folder of its own and is put in place by a rename, then stamped. So there is
# nothing half-made to repair: killed at any point, the next run clears the staging folder and starts that
# step again.

. "$BATON_HOME/toolchain/say.sh"
. "$BATON_HOME/toolchain/claim.sh"
. "$BATON_HOME/toolchain/run.sh"
. "$BATON_HOME/toolchain/node.sh"
. "$BATON_HOME/toolchain/packages.sh"
. "$BATON_HOME/toolchain/servers.sh"

# sets node, and mysqld and nats_server where the command needs them
prepare() {
  [ "$needs_servers" = no ] || check_given_servers
  mkdir -p "$kit/claims" "$kit/staging" 2>/dev/null ||
    fail E_TOOLCHAIN_WRITE "cannot write in $kit" \
      "Make this folder writable for you ($(id -un)), or free some space on its disk, and run baton again."
  trap 'clear_up' EXIT
  trap 'interrupted 129' HUP
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM
  claim
  clear_staging
  stage=$kit/staging/$me
  log=$stage/log
  mkdir "$stage" && printf '' >"$log" || fail_write
  node_ready || choose_node
  packages_ready || install_packages
  if [ "$needs_servers" = yes ]; then
    servers_ready || choose_servers
  else
    servers_ready || mysqld='' nats_server=''
  fi
  clear_up
  trap - EXIT HUP INT TERM
}

clear_up() {
  end_child
  [ -z "${stage-}" ] || rm -rf "$stage" 2>/dev/null
  [ -z "${me-}" ] || give_back
}

interrupted() {
  say_interrupted
  exit "$1"
}

# stamp FILE LINE…: written whole or not at all
stamp() {
  stamped=$1
  shift
  printf '%s\n' "$@" >"$stage/stamp" 2>>"$log" && mv -f "$stage/stamp" "$stamped" 2>>"$log" || fail_write
}

fail_write() {
  fail E_TOOLCHAIN_WRITE "cannot write in $kit" \
    "Free some space on its disk or make it writable, and run baton again."
}
