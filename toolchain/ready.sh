# shellcheck shell=sh
# Is everything there? Answered from stamps alone, so that a warm start costs a few milliseconds.
#
# A stamp holds what was chosen and what `ls` said of it then: inode, size, time of change. If a file was
# replaced, upgraded or removed since, or another one comes first on PATH now, the two no longer agree and
# prepare.sh looks again. node_modules has no such stamp but a copy of the lockfile it was made from.

kit=$BATON_HOME/.toolchain
node_stamp=$kit/node.ready
servers_stamp=$kit/servers.ready
packages_stamp=$BATON_HOME/node_modules/.baton-lockfile

all_ready() {
  node_ready && packages_ready && nothing_left_behind && {
    servers_ready || {
      mysqld='' nats_server=''
      [ "$needs_servers" = no ]
    } && mariadb_ready
  }
}

# A lab of MariaDB needs it, and nothing else does. Fetched, it is put in place whole.
mariadb_ready() {
  [ "$needs_mariadb" = no ] || find_mariadbd
}

# sets mariadbd
find_mariadbd() {
  mariadbd=${BATON_MARIADBD-}
  [ -z "$mariadbd" ] || return 0
  mariadbd=$(PATH=$PATH:/usr/local/sbin:/usr/sbin && command -v mariadbd) || mariadbd=$kit/mariadb/bin/mariadbd
  [ -x "$mariadbd" ]
}

# sets node
node_ready() {
  [ -r "$node_stamp" ] || return 1
  {
    IFS= read -r node
    read_rest
  } <"$node_stamp"
  find_machine_node
  [ "$rest" = "$(look "$node" "$machine_node")" ]
}

packages_ready() {
  cmp -s "$BATON_HOME/package-lock.json" "$packages_stamp"
}

# sets mysqld, nats_server
servers_ready() {
  [ -r "$servers_stamp" ] || return 1
  {
    IFS= read -r mysqld
    IFS= read -r nats_server
    IFS= read -r given_then
    read_rest
  } <"$servers_stamp"
  [ "$given_then" = "${BATON_MYSQLD-}|${BATON_NATS_SERVER-}" ] || return 1
  find_machine_servers
  [ "$rest" = "$(look "$mysqld" "$nats_server" "$machine_mysqld" "$machine_nats_server")" ]
}

find_machine_node() {
  machine_node=$(command -v node) || machine_node=
}

# /usr/sbin is where packages put servers, and is not on everybody's PATH
find_machine_servers() {
  machine_mysqld=$(PATH=$PATH:/usr/local/sbin:/usr/sbin && command -v mysqld) || machine_mysqld=
  machine_nats_server=$(PATH=$PATH:/usr/local/sbin:/usr/sbin && command -v nats-server) || machine_nats_server=
}

# What a killed run was building takes up space until somebody looks
nothing_left_behind() {
  for left in "$kit/staging"/*; do
    [ -e "$left" ] || continue
    . "$BATON_HOME/toolchain/claim.sh"
    alive "${left##*/}" || return 1
  done
}

# -c: the time of change, which a package manager cannot set back to the file's release date
look() {
  LC_ALL=C ls -Lldcni -- "$@" 2>/dev/null
}

read_rest() {
  rest=''
  while IFS= read -r line; do
    rest=$rest${rest:+"
"}$line
  done
}
