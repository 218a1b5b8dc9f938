# shellcheck shell=sh
# MySQL's server and client tools and nats-server from Debian's unstable archive, into .toolchain/mysql.
#
# Nothing is installed: apt works in folders of its own, as any user, on a system that it believes to be empty,
# so that it names everything the servers need down to the C library; the packages are unpacked side by side
# and each program is started through that C library's own loader. apt verifies the archive's signature
# against the machine's Debian keyring, and each package against the archive.

# by their paths, because busybox's shell would take its own of these names, which can do less
dpkg_deb=/usr/bin/dpkg-deb
tar=/bin/tar

fetch_servers() {
  step "MySQL and nats-server from Debian's archive"
  fetching=mysql debian_suite=sid debian_packages='mysql-server-core mysql-client-core nats-server libfaketime'
  set_up_apt
  update_from_a_mirror
  fetch_packages needed || cannot_fetch "apt could not fetch the packages:"
  # The list of what is left out is ours and Debian moves: should something needed be in it one day, take all.
  servers_complete || { fetch_packages all && servers_complete; } ||
    cannot_fetch "the packages that arrived do not work:"
  put_in_place "$stage/$fetching" "$kit/$fetching"
  step_done
}

# --- apt in a world of its own

# sets apt, keyring, loader and libraries (paths inside the packages)
set_up_apt() {
  for program in apt-get apt-config "$dpkg_deb" "$tar"; do
    command -v "$program" >/dev/null 2>&1 || cannot_fetch "this is not Debian or Ubuntu (no $program)"
  done
  architecture=''
  eval "$(apt-config shell architecture APT::Architecture)"
  case $architecture in
    amd64) libraries=usr/lib/x86_64-linux-gnu loader=$libraries/ld-linux-x86-64.so.2 ;;
    arm64) libraries=usr/lib/aarch64-linux-gnu loader=$libraries/ld-linux-aarch64.so.1 ;;
    *) cannot_fetch "Debian has none for $architecture" ;;
  esac
  keyring=''
  for candidate in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
    [ -n "$keyring" ] || [ ! -r "$candidate" ] || keyring=$candidate
  done
  [ -n "$keyring" ] ||
    cannot_fetch "Debian's archive keys are not on this machine, so nothing from there can be trusted" \
      "Install them (apt-get install debian-archive-keyring) and run baton again."
  apt=$stage/apt
  mkdir -p "$apt/none" "$apt/lists/partial" "$apt/archives/partial" && printf '' >"$apt/status" || fail_write
  # Read after the machine's own apt.conf, whose proxy and mirror settings hold; what must not hold is cleared:
  # hooks that touch the system, a default release, and any leave to take unsigned things.
  cat >"$apt/conf" <<CONF || fail_write
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
#clear APT::Sandbox::User;
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Debug::NoLocking "true";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/none";
Dir::Etc::preferences "$apt/none/preferences";
Dir::Etc::preferencesparts "$apt/none";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
Dir::Log "$apt";
CONF
}

our_apt() {
  TMPDIR=$stage/tmp apt-get -qq -c "$apt/conf" "$@"
}

# The first mirror of the machine's own sources that has unstable, signed by Debian. A third party's archive among
# them has no such suite or no such signature, so it is passed over.
update_from_a_mirror() {
  mirrors >"$stage/mirrors"
  [ -s "$stage/mirrors" ] || cannot_fetch "the machine's apt sources name no Debian mirror"
  while IFS= read -r mirror; do
    printf 'deb [arch=%s target=Packages signed-by=%s] %s %s main\n' \
      "$architecture" "$keyring" "$mirror" "$debian_suite" >"$apt/sources.list" || fail_write
    run our_apt update && lists_came && return 0
  done <"$stage/mirrors"
  if grep -qiE 'not signed|NO_PUBKEY|EXPKEYSIG|BADSIG|signature' "$log"; then
    cannot_fetch "the archive's signature does not hold against $keyring:" \
      "Bring the keys up to date (apt-get install debian-archive-keyring) and run baton again."
  fi
  cannot_fetch "apt could not read Debian's archive:"
}

# An apt that does not know Error-Mode calls an update without a single list a success
lists_came() {
  for list in "$apt/lists"/*_Packages*; do
    [ -e "$list" ] && return 0
  done
  return 1
}

# What apt itself makes of the machine's sources, in whichever format they are, without lists having been fetched
mirrors() {
  if [ -n "${BATON_DEBIAN_MIRROR-}" ]; then
    printf '%s\n' "$BATON_DEBIAN_MIRROR"
    return
  fi
  apt-get update --print-uris -o Dir::State::lists="$apt/none" -o Debug::NoLocking=true 2>>"$log" |
    sed -n "s#^'\([^']*\)/dists/[^']*/InRelease'.*#\1#p" |
    grep -vE 'security|ubuntu' | awk '!seen[$0]++' | head -n 8
}

# --- what the servers need

# fetch_packages needed|all: downloads $debian_packages with what they need, unpacks all into $stage/$fetching, and lays
# wrappers into its bin
fetch_packages() {
  rm -rf "$stage/$fetching" "$apt/archives"
  mkdir -p "$apt/archives/partial" "$stage/$fetching/root" "$stage/$fetching/bin" || fail_write
  # shellcheck disable=SC2086
  our_apt install --print-uris $debian_packages 2>>"$log" |
    sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p" | sort -u >"$stage/closure"
  [ -s "$stage/closure" ] || return 1
  packages=''
  while IFS= read -r package; do
    [ "$1" = needed ] && left_out "$package" || packages="$packages $package"
  done <"$stage/closure"
  run download && run unpack && wrap_programs && "wrap_$fetching"
}

# Dependencies that mysqld, the client tools and the plugins we use never load: administration scripts, service
# management, and the plugins for telemetry, LDAP and security keys, which are not unpacked either.
left_out() {
  case $1 in
    perl | perl-base | perl-modules-* | libperl* | libgdbm* | libdb5* | libcrypt1) ;;
    systemd* | libsystemd* | libudev1 | libmount1 | libblkid1 | libselinux1 | libpcre2* | libcap* | libapparmor*) ;;
    libaudit* | libacl* | libattr* | debconf | mysql-common | gcc-*-base | libc-gconv* | libtirpc-common) ;;
    libcurl* | libnghttp* | libngtcp2* | libssh2* | libpsl* | libidn2* | libunistring* | libbrotli* | libbz2*) ;;
    libldap* | libsasl2* | libfido2* | libcbor* | libmecab2 | libprotobuf32* | openssl-provider-legacy) ;;
    *) return 1 ;;
  esac
}

download() {
  cd "$apt/archives" || return 1
  # shellcheck disable=SC2086
  our_apt download $packages
}

unpack() {
  for package in "$apt/archives"/*.deb; do
    { "$dpkg_deb" --fsys-tarfile "$package" || printf '' >"$stage/broken"; } |
      "$tar" -x -C "$stage/$fetching/root" --no-same-owner \
        --transform='s,^\./lib/,./usr/lib/,' \
        --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale \
        --exclude=./usr/share/lintian --exclude="./$libraries/gconv" \
        --exclude='./usr/bin/myisam*' --exclude=./usr/bin/ibd2sdi --exclude=./usr/bin/innochecksum \
        --exclude=./usr/bin/perror --exclude=./usr/bin/mysql_migrate_keyring \
        --exclude=./usr/bin/mysql_config_editor --exclude=./usr/bin/my_print_defaults \
        --exclude=./usr/bin/mysql_secure_installation \
        --exclude='./usr/lib/mysql/plugin/authentication_*' --exclude='./usr/lib/mysql/plugin/*telemetry*' ||
      return 1
    [ ! -e "$stage/broken" ] || return 1
    rm -f "$package"
  done
}

# --- programs that find their own libraries, wherever the clone is moved to

wrap_programs() {
  for program in "$stage/$fetching/root/usr/bin"/*; do
    case $(head -c 4 "$program" 2>/dev/null) in
      ?ELF) wrap "usr/bin/${program##*/}" '"$@"' || fail_write ;;
    esac
  done
}

wrap_mysql() {
  wrap usr/sbin/nats-server '"$@"' || fail_write
  # A file of defaults must come first, and without one the machine's own must not be read.
  # Debian's build otherwise wants folders in /var. BATON_CLOCK gives a server of the lab a clock of its own (lab/clock.ts).
  wrap usr/sbin/mysqld '"$defaults" --basedir="$root/usr" --lc-messages-dir="$root/usr/share/mysql" \
  --plugin-dir="$root/usr/lib/mysql/plugin" --secure-file-priv=NULL "$@"' \
    'case ${1-} in
  --no-defaults | --defaults-file=* | --defaults-extra-file=*) defaults=$1 && shift ;;
  *) defaults=--no-defaults ;;
esac' '${BATON_CLOCK:+--preload "$root/'$libraries'/faketime/libfaketimeMT.so.1"} ' || fail_write
}

# wrap PROGRAM ARGUMENTS [PREPARATION [LOADER-OPTIONS]]
wrap() {
  wrapper=$stage/$fetching/bin/${1##*/}
  {
    printf '#!/bin/sh\n# Starts %s with the libraries it was fetched with (toolchain/debian.sh).\n' "${1##*/}"
    # shellcheck disable=SC2016
    printf '%s\n' 'root=$(CDPATH="" cd -P -- "${0%/*}/../root" && pwd) || exit 127'
    [ -z "${3-}" ] || printf '%s\n' "$3"
    # shellcheck disable=SC2016
    printf 'exec "$root/%s" %s--library-path "$root/%s" --argv0 "$root/%s" "$root/%s" %s\n' \
      "$loader" "${4-}" "$libraries" "$1" "$1" "$2"
  } >"$wrapper" && chmod +x "$wrapper"
}

# Do the programs run, and do they and the plugins we load find all their libraries inside?
servers_complete() {
  fetched_servers_good "$stage/$fetching" || {
    say_in_log "error: fetched mysqld or nats-server ${found-is missing}"
    return 1
  }
  all_found_inside usr/sbin/mysqld usr/bin/mysql usr/bin/mysqldump usr/bin/mysqladmin usr/bin/mysqlbinlog \
    usr/lib/mysql/plugin/mysql_clone.so usr/lib/mysql/plugin/group_replication.so \
    usr/lib/mysql/plugin/semisync_source.so usr/lib/mysql/plugin/semisync_replica.so
}

# all_found_inside PROGRAM…: every library of each is among what was unpacked
all_found_inside() {
  root=$stage/$fetching/root
  for program in "$@"; do
    resolved=$("$root/$loader" --library-path "$root/$libraries" --list "$root/$program" 2>&1) || {
      say_in_log "error: $program: $resolved"
      return 1
    }
    strangers=$(printf '%s\n' "$resolved" | awk -v root="$root/" '
      /not found/ || ($2 == "=>" && !index($0, "=> " root)) { print $1 }')
    [ -z "$strangers" ] || {
      say_in_log "error: $program does not find $strangers"
      return 1
    }
  done
}

say_in_log() {
  printf '%s\n' "$1" >>"$log"
}

# --- where it cannot work

# cannot_fetch FOUND [REMEDY]
cannot_fetch() {
  fail_if_disk_full
  case $1 in *:) details=$(log_tail) ;; *) details= ;; esac
  [ "$fetching" = mysql ] || fail E_TOOLCHAIN_MARIADB "no mariadbd, and $1" \
    ${details:+"$details"} ${2+"$2"} "Or install MariaDB 10.11 or newer yourself and name its server by BATON_MARIADBD."
  fail E_TOOLCHAIN_SERVERS "no mysqld $mysql_at_least or newer and nats-server $nats_at_least or newer, and $1" \
    ${details:+"$details"} ${2+"$2"} "$(install_servers)"
}

install_servers() {
  system=''
  [ ! -r /etc/os-release ] || system=$(. /etc/os-release && printf '%s' "${ID-}")
  printf 'Or install them yourself, so that they are on PATH or named by BATON_MYSQLD and BATON_NATS_SERVER:\n'
  case $(uname -s)/$system in
    Darwin/*) printf '  brew install mysql nats-server\n' ;;
    */debian) printf '  see that apt-get update works, or set BATON_DEBIAN_MIRROR to a Debian mirror (…/debian), and run baton again\n' ;;
    */ubuntu)
      printf '  from Ubuntu 25.04 on: apt-get install mysql-server nats-server\n'
      printf '  before: apt-get install debian-archive-keyring, set BATON_DEBIAN_MIRROR to a Debian mirror (…/debian),\n'
      printf '  and run baton again: it then fetches both into .toolchain\n'
      ;;
    *)
      printf '  mysqld of MySQL %s or newer (packages mysql-server or mysql-community-server; MariaDB will not do)\n' "$mysql_at_least"
      printf '  nats-server %s or newer (package nats-server; one file without dependencies)\n' "$nats_at_least"
      ;;
  esac
}
