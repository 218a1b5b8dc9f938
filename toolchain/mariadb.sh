# shellcheck shell=sh
# MariaDB's server and client from Debian's stable archive, into .toolchain/mariadb, in the same way as MySQL (debian.sh).

mariadb_suite=bookworm

# Without it everything but labs of MariaDB works, so where nobody asked for one it is only said to be missing.
fetch_mariadb() {
  if [ "$needs_mariadb" = wanted ]; then
    (try_mariadb) || say "so labs and tests of MariaDB will not run; everything else will"
  else
    try_mariadb
  fi
}

try_mariadb() {
  step "MariaDB from Debian's archive"
  fetching=mariadb debian_suite=$mariadb_suite debian_packages='mariadb-server-core mariadb-client-core'
  set_up_apt
  update_from_a_mirror
  { fetch_packages all && all_found_inside usr/sbin/mariadbd usr/bin/mariadb; } ||
    cannot_fetch "apt could not fetch MariaDB:"
  put_in_place "$stage/mariadb" "$kit/mariadb"
  step_done
}

wrap_mariadb() {
  wrap usr/sbin/mariadbd '"$defaults" --basedir="$root/usr" --lc-messages-dir="$root/usr/share/mysql" \
  --plugin-dir="$root/usr/lib/mysql/plugin" "$@"' \
    'case ${1-} in
  --no-defaults | --defaults-file=* | --defaults-extra-file=*) defaults=$1 && shift ;;
  *) defaults=--no-defaults ;;
esac' || fail_write
}
