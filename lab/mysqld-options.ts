/** How every mysqld of the lab boots: the lossless configuration of SAFETY.md, lean enough for two cores. */

export interface BootOptions {
  dataDir: string;
  socket: string;
  pidFile: string;
  tmpDir: string;
  host: string;
  port: number;
  serverId: number;
  /** Acknowledgements that a commit waits for (k). */
  acks: number;
  extra: string[];
}

/** Must be the same when the template is made and when it is used. */
export const storageOptions = ["--innodb-redo-log-capacity=32M", "--innodb-buffer-pool-size=16M"];

export function rootOption(): string[] {
  return process.getuid?.() === 0 ? ["--user=root"] : [];
}

export function bootOptions(boot: BootOptions): string[] {
  return [
    "--no-defaults",
    ...rootOption(),
    `--datadir=${boot.dataDir}`,
    `--socket=${boot.socket}`,
    `--pid-file=${boot.pidFile}`,
    `--tmpdir=${boot.tmpDir}`,
    `--bind-address=${boot.host}`,
    `--port=${boot.port}`,
    "--mysqlx=OFF",
    "--skip-name-resolve=ON",
    "--secure-file-priv=NULL",
    "--max-connections=200",
    "--back-log=200",
    ...history(boot),
    ...durability(boot.acks),
    ...storageOptions,
    ...leanness,
    ...boot.extra,
  ];
}

function history(boot: BootOptions): string[] {
  return [
    `--server-id=${boot.serverId}`,
    `--report-host=${boot.host}`,
    `--report-port=${boot.port}`,
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--log-replica-updates=ON",
    "--relay-log=relay",
    "--skip-replica-start=ON",
    "--replica-net-timeout=4",
  ];
}

function durability(acks: number): string[] {
  return [
    "--plugin-load-add=semisync_source.so",
    "--plugin-load-add=semisync_replica.so",
    "--plugin-load-add=mysql_clone.so",
    // Both roles off at boot: a source plugin that is on at a replica blocks the replica's own applier.
    "--loose-rpl-semi-sync-source-enabled=OFF",
    "--loose-rpl-semi-sync-replica-enabled=OFF",
    "--loose-rpl-semi-sync-source-wait-point=AFTER_SYNC",
    "--loose-rpl-semi-sync-source-timeout=4294967295",
    "--loose-rpl-semi-sync-source-wait-no-replica=ON",
    `--loose-rpl-semi-sync-source-wait-for-replica-count=${acks}`,
    "--read-only=ON",
    "--super-read-only=ON",
    "--relay-log-recovery=OFF",
    "--sync-binlog=1",
    "--innodb-flush-log-at-trx-commit=1",
  ];
}

/**
 * A killed server's sockets close only after the kernel has torn down its asynchronous I/O contexts (60 ms and more
 * here, hence no native AIO) and its memory (the default performance schema alone has 240 MB). Threads, metadata locks, stages (for the state column)
 * and the replication tables stay as they are.
 */
const leanness = [
  "--innodb-use-native-aio=OFF",
  "--innodb-read-io-threads=1",
  "--innodb-write-io-threads=1",
  "--innodb-purge-threads=1",
  "--innodb-log-buffer-size=1M",
  "--innodb-log-writer-threads=OFF",
  "--key-buffer-size=8",
  "--table-open-cache=256",
  "--table-definition-cache=400",
  "--performance-schema=ON",
  "--loose-performance-schema-instrument=%=OFF",
  "--loose-performance-schema-instrument=thread/%=ON",
  "--loose-performance-schema-instrument=wait/lock/metadata/sql/mdl=ON",
  "--loose-performance-schema-instrument=transaction=ON",
  ...[
    "accounts-size=16",
    "digests-size=0",
    "error-size=0",
    "events-stages-history-long-size=0",
    "events-stages-history-size=0",
    "events-statements-history-long-size=0",
    "events-statements-history-size=0",
    "events-transactions-history-long-size=0",
    "events-transactions-history-size=0",
    "events-waits-history-long-size=0",
    "events-waits-history-size=0",
    "hosts-size=16",
    "max-cond-classes=0",
    "max-cond-instances=0",
    "max-digest-length=0",
    "max-file-classes=0",
    "max-file-handles=0",
    "max-file-instances=0",
    "max-index-stat=0",
    "max-memory-classes=0",
    "max-mutex-classes=0",
    "max-mutex-instances=0",
    "max-prepared-statements-instances=0",
    "max-program-instances=0",
    "max-rwlock-classes=0",
    "max-rwlock-instances=0",
    "max-socket-classes=0",
    "max-socket-instances=0",
    "max-statement-classes=0",
    "max-table-handles=0",
    "max-table-instances=0",
    "max-table-lock-stat=0",
    "setup-objects-size=0",
    "users-size=16",
  ].map((size) => `--loose-performance-schema-${size}`),
];
