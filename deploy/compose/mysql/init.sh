#!/bin/bash
# Makes one cluster of three new nodes: points the replicas at the primary, then opens it. Runs to its end once; a
# cluster in which any node has a history is left alone, because from then on only Baton says who is primary.
# Interrupted, it may be run again.
set -euo pipefail

primary=mysql-1
replicas=(mysql-2 mysql-3)
deadline_s=60

baton=$(</run/secrets/mysql-baton-password)
repl=$(</run/secrets/mysql-replication-password)

# With the least that Baton itself has: what works here works for it.
sql() {
  timeout "$deadline_s" mysql --defaults-extra-file=<(printf '[client]\nuser=baton\npassword="%s"\n' "$baton") \
    --host="$1" --connect-timeout=10 --get-server-public-key --batch --skip-column-names --execute="$2"
}

for node in "$primary" "${replicas[@]}"; do
  history=$(sql "$node" 'SELECT @@GLOBAL.gtid_executed')
  if [ -n "$history" ]; then
    echo "init: $node has a history, so this cluster is not new: nothing is done"
    exit 0
  fi
done

for node in "${replicas[@]}"; do
  sql "$node" "
    STOP REPLICA;
    SET GLOBAL rpl_semi_sync_source_enabled=OFF;
    SET GLOBAL rpl_semi_sync_replica_enabled=ON;
    CHANGE REPLICATION SOURCE TO SOURCE_HOST='$primary', SOURCE_PORT=3306, SOURCE_USER='repl',
      SOURCE_PASSWORD='$repl', SOURCE_AUTO_POSITION=1, SOURCE_HEARTBEAT_PERIOD=0.2, SOURCE_CONNECT_RETRY=1,
      SOURCE_RETRY_COUNT=86400, GET_SOURCE_PUBLIC_KEY=1;
    START REPLICA"
  echo "init: $node follows $primary"
done

# The first transaction: it returns when a replica has acknowledged it, and from then on the cluster is not new.
sql "$primary" "
  SET GLOBAL rpl_semi_sync_replica_enabled=OFF;
  SET GLOBAL rpl_semi_sync_source_enabled=ON;
  SET GLOBAL super_read_only=OFF;
  SET GLOBAL read_only=OFF;
  CREATE DATABASE IF NOT EXISTS baton"
echo "init: $primary is open, and a replica has acknowledged its first transaction"
