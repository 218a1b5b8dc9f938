#!/bin/bash
# The entrypoint of each MySQL node. The image's own first start writes through a temporary server, which a server
# that boots with super_read_only refuses; so an empty volume is initialised here, with its accounts, outside the
# binary log: the nodes begin with equal contents and no transaction of their own. Then the image's entrypoint goes on.
set -euo pipefail

data=/var/lib/mysql
unfinished=$data/.baton-initialising

secret() {
  local value
  value=$(<"/run/secrets/$1")
  case $value in
    '' | *[!A-Za-z0-9._~+=-]*)
      echo "boot.sh: secret $1 must be one line of letters, digits and . _ ~ + = -" >&2
      exit 1
      ;;
  esac
  printf '%s' "$value"
}

initialise() {
  local sql baton repl root app
  baton=$(secret mysql-baton-password)
  repl=$(secret mysql-replication-password)
  root=$(secret mysql-root-password)
  app=$(secret mysql-app-password)

  chown mysql: "$data"
  find "$data" -mindepth 1 -delete # What an interrupted start left; nobody has ever written to it.
  touch "$unfinished"

  sql=$(mktemp)
  trap 'rm -f "$sql"' EXIT
  chown mysql: "$sql"
  {
    sed -e "s/BATON-PASSWORD/$baton/" -e "s/REPLICATION-PASSWORD/$repl/" /baton/grants.sql
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$root';"
    echo "CREATE DATABASE app;"
    echo "CREATE USER 'app'@'%' IDENTIFIED WITH caching_sha2_password BY '$app';"
    echo "GRANT ALL ON app.* TO 'app'@'%';"
  } >"$sql"
  mysqld --initialize-insecure --user=mysql --datadir="$data" \
    --skip-log-bin --super-read-only=OFF --read-only=OFF --init-file="$sql"
  rm -f "$sql" "$unfinished"
}

if [ ! -d "$data/mysql" ] || [ -e "$unfinished" ]; then
  initialise
fi
exec docker-entrypoint.sh "$@"
