# shellcheck shell=sh
# mysqld and nats-server: what the user names, else what the machine has, else Debian's packages (debian.sh).

. "$BATON_HOME/toolchain/debian.sh"
. "$BATON_HOME/toolchain/mariadb.sh"

mysql_at_least=8.4
nats_at_least=2.11 # older ones ignore a key's time to live without a word

check_given_servers() {
  if [ -n "${BATON_MYSQLD-}" ]; then
    good_mysqld "$BATON_MYSQLD" ||
      fail_usage E_TOOLCHAIN_MYSQLD "BATON_MYSQLD=$BATON_MYSQLD $found" \
        "Set it to the path of a mysqld of MySQL $mysql_at_least or newer, or unset it and baton finds or fetches one."
  fi
  if [ -n "${BATON_NATS_SERVER-}" ]; then
    good_nats_server "$BATON_NATS_SERVER" ||
      fail_usage E_TOOLCHAIN_NATS "BATON_NATS_SERVER=$BATON_NATS_SERVER $found" \
        "Set it to the path of a nats-server $nats_at_least or newer, or unset it and baton finds or fetches one."
  fi
}

# sets mysqld, nats_server
choose_servers() {
  find_machine_servers
  mysqld='' nats_server=''
  if [ -n "${BATON_MYSQLD-}" ]; then
    mysqld=$(absolute "$BATON_MYSQLD")
  elif [ -n "$machine_mysqld" ] && good_mysqld "$machine_mysqld"; then
    mysqld=$machine_mysqld
  fi
  if [ -n "${BATON_NATS_SERVER-}" ]; then
    nats_server=$(absolute "$BATON_NATS_SERVER")
  elif [ -n "$machine_nats_server" ] && good_nats_server "$machine_nats_server"; then
    nats_server=$machine_nats_server
  fi
  if [ -z "$mysqld" ] || [ -z "$nats_server" ]; then
    fetched_servers_good "$kit/mysql" || fetch_servers
    mysqld=${mysqld:-$kit/mysql/bin/mysqld}
    nats_server=${nats_server:-$kit/mysql/bin/nats-server}
  fi
  stamp "$servers_stamp" "$mysqld" "$nats_server" "${BATON_MYSQLD-}|${BATON_NATS_SERVER-}" \
    "$(look "$mysqld" "$nats_server" "$machine_mysqld" "$machine_nats_server")"
}

fetched_servers_good() {
  good_mysqld "$1/bin/mysqld" && good_nats_server "$1/bin/nats-server" &&
    [ -x "$1/bin/mysql" ] && [ -x "$1/bin/mysqldump" ] && [ -x "$1/bin/mysqlbinlog" ]
}

# good_mysqld PATH; sets found to what is wrong with it
good_mysqld() {
  ask_version "$1" || return 1
  case $answer in
    *[Mm]aria[Dd][Bb]*)
      found="is MariaDB, where MySQL is needed (a lab of MariaDB takes BATON_MARIADBD)"
      return 1
      ;;
  esac
  at_least "$(printf '%s\n' "$answer" | sed -n 's/.* Ver \([0-9][0-9.]*\).*/\1/p')" "$mysql_at_least" "MySQL"
}

good_nats_server() {
  ask_version "$1" || return 1
  at_least "$(printf '%s\n' "$answer" | sed -n 's/^nats-server: v\([0-9][0-9.]*\).*/\1/p')" "$nats_at_least" "nats-server"
}

ask_version() {
  command -v "$1" >/dev/null 2>&1 || {
    found="is not a program that can be run"
    return 1
  }
  answer=$("$1" --version 2>&1 </dev/null) || {
    found="does not run: $(printf '%s\n' "$answer" | tail -n 1)"
    return 1
  }
}

# at_least VERSION WANTED NAME: by major and minor number; sets found
at_least() {
  case $1 in
    [0-9]*.[0-9]*) ;;
    *)
      found="does not answer --version like a $3"
      return 1
      ;;
  esac
  found="is $3 $1, older than $2"
  minor=${1#*.}
  [ "${1%%.*}" -gt "${2%.*}" ] || { [ "${1%%.*}" -eq "${2%.*}" ] && [ "${minor%%.*}" -ge "${2#*.}" ]; }
}

# The path of a program, also when it was given by its name or from here
absolute() {
  program=$(command -v "$1")
  case $program in /*) printf '%s\n' "$program" ;; *) printf '%s/%s\n' "$PWD" "$program" ;; esac
}
