#!/bin/sh
# Makes the secrets that docker-compose.yml names, each once: what exists is kept.
# Usage: secrets.sh [FOLDER]
set -eu

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# The folder keeps other users of this host out. The files in it are readable, because a container's user, whose
# number this host does not know, reads them through a mount of the file alone.
chmod 700 "$folder"
umask 022

# 32 characters: MySQL takes no longer password for a replication user (error 3056).
random() { od -An -tx1 -N16 /dev/urandom | tr -d ' \n'; }

for name in mysql-root-password mysql-baton-password mysql-replication-password mysql-app-password nats-password; do
  [ -s "$folder/$name" ] || random >"$folder/$name"
done

# The same password as nats-password, in the words of NATS's own configuration.
cat >"$folder/nats-users.conf" <<END
authorization {
  users: [
    { user: baton, password: "$(cat "$folder/nats-password")" }
  ]
}
END
