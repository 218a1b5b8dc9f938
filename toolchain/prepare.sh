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
  me='' stage='' log=/dev/null # never what the environment may hold under these names
  [ "$needs_servers" = no ] || check_given_servers
  mkdir -p "$kit/claims" "$kit/staging" 2>/dev/null ||
    fail_write
  trap 'clear_up' EXIT
  trap 'interrupted 129' HUP
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM
  claim
  clear_staging
  stage=$kit/staging/$me
  log=$stage/log
  mkdir -p "$stage/tmp" 2>/dev/null && printf '' >"$log" || fail_write
  node_ready || choose_node
  packages_ready || install_packages
  if [ "$needs_servers" = yes ]; then
    servers_ready || choose_servers
  else
    servers_ready || mysqld='' nats_server=''
  fi
  mariadb_ready || fetch_mariadb
  clear_up
  trap - EXIT HUP INT TERM
}

clear_up() {
  end_child
  [ -z "$stage" ] || rm -rf "$stage" 2>/dev/null
  [ -z "$me" ] || give_back
}

interrupted() {
  say_interrupted
  exit "$1"
}

# stamp FILE LINE…: written whole or not at all
stamp() {
  stamped=$1
  shift
  printf '%s\n' "$@" 2>>"$log" >"$stage/stamp" && mv -f "$stage/stamp" "$stamped" 2>>"$log" || fail_write
}

fail_write() {
  fail_if_disk_full
  fail E_TOOLCHAIN_WRITE "cannot write in $BATON_HOME as $(id -un)" \
    "Make this folder and all in it writable for you, and run baton again."
}

# Asked before any other explanation is given: the log itself may have been cut short by the full disk.
fail_if_disk_full() {
  if grep -qiE 'ENOSPC|EDQUOT|no space left|quota exceeded' "$log" 2>/dev/null ||
    [ "$(df -Pk "$kit" 2>/dev/null | awk 'NR == 2 { print $4 }')" -lt 1024 ] 2>/dev/null; then
    fail E_TOOLCHAIN_DISK "no room left on the disk that holds $BATON_HOME" \
      "Free about 700 MB there and run baton again."
  fi
}
