/**
 * MariaDB 10.11 and later. What is marked "measured" was seen on 10.11.18 and is held by mariadb.test.ts; what it cannot do
 * is in docs/operate/mariadb.md. Only the default connection '' is touched.
 */
import { BatonError } from "@baton/contracts";
import { escape as quote } from "mysql2";
import type { Dialect, ReplicationAccount } from "./dialect.ts";
import { EPOCH_COLUMNS, EPOCH_READ_MS } from "./epoch-row.ts";
import { waitable } from "./gtid-domains.ts";
import { mysql84 } from "./mysql84.ts";
import type { Target } from "./session.ts";
import {
  MARIADB_ACKS,
  MARIADB_HEARTBEAT_MS,
  MARIADB_STATUS_SQL,
  parseMariadbStatus,
} from "./status-mariadb.ts";

/** 49 days. The server takes more, up to 2^64-1 ms, but nobody waits so long: it has no "never". */
const FOREVER_MS = 4_294_967_295;
/** As on MySQL (mysql84.ts): a `SET GLOBAL read_only` that is left waiting holds off every commit (measured). */
const CLOSE_WRITES_MAX_S = 5;
const CLOSE_WRITES_SURE_S = 2;
const FREEZE_MAX_S = 1;

/** CHANGE MASTER TO; there is no retry count in it. Both threads must stand (error 1198), and the relay logs go (measured). */
function source(target: Target, account: ReplicationAccount, tls: boolean): string[] {
  return [
    `MASTER_HOST=${quote(target.host)}`,
    `MASTER_PORT=${Number(target.port)}`,
    `MASTER_USER=${quote(account.user)}`,
    `MASTER_PASSWORD=${quote(account.password)}`,
    `MASTER_HEARTBEAT_PERIOD=${MARIADB_HEARTBEAT_MS / 1_000}`,
    "MASTER_CONNECT_RETRY=1",
    `MASTER_SSL=${tls ? 1 : 0}`,
  ];
}

/** People and programs, but for this session. Baton's own are known by their account only: the process list has no program names. */
const CLIENTS = `p.ID <> CONNECTION_ID() AND p.USER NOT IN ('system user', 'event_scheduler')
  AND p.COMMAND NOT IN ('Binlog Dump', 'Daemon')`;
const IN_TRANSACTION = `information_schema.PROCESSLIST p
  JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID WHERE ${CLIENTS}`;
const WAITS_FOR_ACK = "Waiting for semi-sync ACK from slave";
const HAS_WRITTEN = "(t.trx_rows_modified > 0 OR t.trx_rows_locked > 0)";

/** As on MySQL (mysql84.ts). */
function closed(mostS: number): string {
  return `@@GLOBAL.read_only OR (SELECT COUNT(*) FROM information_schema.PROCESSLIST
    WHERE INFO LIKE 'SET GLOBAL read_only=ON%' AND STATE = 'Waiting for backup lock' AND TIME <= ${mostS}) > 0`;
}

const canaryChecksum = "SHA2(CONCAT_WS('#', cluster, epoch, operation, written_at), 256)";

function ackTimeout(timeoutMs: number | null): string {
  return `SET GLOBAL rpl_semi_sync_master_timeout=${timeoutMs === null ? FOREVER_MS : Math.trunc(timeoutMs)}`;
}

/** What both flavours understand, named one by one: what is new for MySQL must be looked at before it is said here. */
const { kill, grants, clock, binlogs, binlogHead, readCanary } = mysql84;
const { takeNodeLock, releaseNodeLock, takeHelperLock, releaseHelperLock } = mysql84;
const { createEpoch, writeEpoch } = mysql84;

function semiSyncSource({ acks, timeoutMs }: { acks: number; timeoutMs: number | null }): string[] {
  if (acks > MARIADB_ACKS)
    throw new BatonError("E_NODE_SETTING", {
      place: "policy.acks",
      message: `A write of MariaDB waits for ${MARIADB_ACKS} ack, not for ${acks}.`,
      remedy: "Set policy.acks to 1.",
    });
  return [
    "SET GLOBAL rpl_semi_sync_slave_enabled=OFF",
    ackTimeout(timeoutMs),
    "SET GLOBAL rpl_semi_sync_master_wait_no_slave=ON",
    "SET GLOBAL rpl_semi_sync_master_wait_point='AFTER_SYNC'",
    "SET GLOBAL rpl_semi_sync_master_enabled=ON",
  ];
}

/** For a cluster that is led otherwise than docs/operate/mariadb.md says: asked for only where the protocol has a fault. */
function notOnMariadb(what: string): never {
  throw new BatonError("E_NODE_SETTING", {
    place: what,
    message: `MariaDB has no ${what}.`,
    remedy: "docs/operate/mariadb.md says what to do instead.",
  });
}

export const mariadb: Dialect = {
  ...{ kill, grants, clock, binlogs, binlogHead, readCanary },
  ...{ takeNodeLock, releaseNodeLock, takeHelperLock, releaseHelperLock },
  ...{ createEpoch, writeEpoch },
  flavour: "mariadb",
  keepsRelayLogs: false,
  statusSql: MARIADB_STATUS_SQL,
  parseStatus: parseMariadbStatus,

  stopReceiver: "STOP SLAVE IO_THREAD",
  startReceiver: "START SLAVE IO_THREAD",
  startApplier: "START SLAVE SQL_THREAD",
  startReplication: "START SLAVE",
  stopReplication: "STOP SLAVE",
  // Never in the way: STOP SLAVE rolls the part back at once, and Gtid_IO_Pos does not count it (measured).
  halfReceived: "SELECT 0 AS coordinator FROM DUAL WHERE FALSE",
  relayLogs: null,
  channelSettings: null,
  channelDefaults: { heartbeatS: MARIADB_HEARTBEAT_MS / 1_000, retryS: 1, retries: 0 },
  resetReplication: "RESET SLAVE ALL",

  // A former primary's own transactions are in its binlog only: MASTER_DEMOTE_TO_SLAVE (10.10) takes them into gtid_slave_pos.
  follow: (target, account, o) =>
    `CHANGE MASTER TO ${["MASTER_USE_GTID=slave_pos", "MASTER_DEMOTE_TO_SLAVE=1", ...source(target, account, o.tls)].join(", ")}`,
  redirectReceiver: (target, account, o) => `CHANGE MASTER TO ${source(target, account, o.tls).join(", ")}`,

  // 0 done, -1 timed out, NULL where replication is broken. It looks at sequence numbers, not at server ids.
  waitApplied: (set, timeoutMs) =>
    `SELECT MASTER_GTID_WAIT(${quote(waitable(set))}, ${Math.max(0.001, timeoutMs / 1_000)}) AS late`,
  applied: (rows) => rows[0] !== undefined && rows[0].late !== null && Number(rows[0].late) === 0,

  // gtid_binlog_state names a transaction from the moment it is in the binlog, before its ack (measured): nothing is missing.
  ownedSql: "SELECT '' AS owned",
  owned: () => "",

  openPrimary: (o) => [...semiSyncSource(o), "SET GLOBAL read_only=OFF"],
  semiSyncSource,
  emptyTransaction: () => notOnMariadb("place for a transaction below its last number"),
  ackTimeout,
  semiSyncSourceOn: "SET GLOBAL rpl_semi_sync_master_enabled=ON",
  // A receiver reads rpl_semi_sync_slave_enabled when it starts.
  becomeReplica: [
    "SET GLOBAL rpl_semi_sync_master_enabled=OFF",
    "SET GLOBAL rpl_semi_sync_slave_enabled=ON",
    "SET GLOBAL read_only=ON",
  ],
  isolate: [
    "SET GLOBAL read_only=ON",
    "SET GLOBAL rpl_semi_sync_master_enabled=OFF",
    "SET GLOBAL rpl_semi_sync_slave_enabled=OFF",
  ],
  // While it waits for a commit that waits for an ack, @@read_only is 0 still, and every other write waits behind it (measured).
  closeWrites: [`SET SESSION lock_wait_timeout=${CLOSE_WRITES_MAX_S}`, "SET GLOBAL read_only=ON"],
  closingWrites: `SELECT ${closed(CLOSE_WRITES_MAX_S)} AS closing`,
  letWaitersGo: [
    `SET GLOBAL rpl_semi_sync_master_enabled=(SELECT @@GLOBAL.rpl_semi_sync_master_enabled AND NOT (${closed(CLOSE_WRITES_SURE_S)}))`,
    "SELECT @@GLOBAL.rpl_semi_sync_master_enabled AS still",
  ],
  freezeWrites: [
    `SET SESSION lock_wait_timeout=${FREEZE_MAX_S}`,
    "SET GLOBAL read_only=ON",
    "SET SESSION lock_wait_timeout=DEFAULT",
  ],
  // Metadata locks are not to be seen without a plugin or performance_schema: statements under way that have written, but
  // for those that commit: killed, they may answer others of their group without an ack (groupWaits).
  drainHolders: `SELECT p.ID AS id FROM ${IN_TRANSACTION} AND ${HAS_WRITTEN} AND p.COMMAND <> 'Sleep'
    AND p.STATE NOT IN ('${WAITS_FOR_ACK}', 'Commit', 'Waiting for backup lock')`,
  openWriters: `SELECT p.ID AS id FROM ${IN_TRANSACTION} AND ${HAS_WRITTEN}`,
  // Who holds the global read lock cannot be seen: the freeze itself finds out, and gives up.
  obstacles: `SELECT TIMESTAMPDIFF(MICROSECOND, MIN(t.trx_started), NOW(6)) / 1000 AS oldestMs, NULL AS locked
    FROM ${IN_TRANSACTION}`,
  semiSyncSourceOff: "SET GLOBAL rpl_semi_sync_master_enabled=OFF",
  clientSessions: `SELECT p.ID AS id, p.COMMAND AS command, p.STATE AS state FROM information_schema.PROCESSLIST p WHERE ${CLIENTS}
    AND p.USER <> SUBSTRING_INDEX(USER(), '@', 1)`,
  // The leader of a commit group waits (`Waiting …`), its followers stand behind it (`Commit`). When it is killed, the group
  // is committed and its followers' clients get OK with no ack (measured).
  groupWaits: {
    waits: WAITS_FOR_ACK,
    dumpThreads: "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE COMMAND = 'Binlog Dump'",
    committing: (threadId) => `SELECT ID AS id FROM information_schema.PROCESSLIST
      WHERE ID = ${Math.trunc(threadId)} AND STATE IN ('${WAITS_FOR_ACK}', 'Commit')`,
  },

  sessions: (
    most,
  ) => `SELECT ID AS id, USER AS user, HOST AS host, DB AS db, COMMAND AS command, STATE AS state,
    TIME AS timeS, LEFT(INFO, 200) AS info FROM information_schema.PROCESSLIST
    ORDER BY COMMAND = 'Sleep', ID LIMIT ${Math.trunc(most)}`,
  position: "SHOW MASTER STATUS",

  clonePlugin: "SELECT 'missing' AS status",
  allowClone: () => notOnMariadb("clone plugin"),
  clone: () => notOnMariadb("clone plugin"),
  cloneStatus: [],
  semiSyncReplicaOn: "SET GLOBAL rpl_semi_sync_slave_enabled=ON",

  writeCanary: (o) => [
    ...mysql84.writeCanary(o).slice(0, -1),
    `SELECT ${canaryChecksum} AS checksum, @@GLOBAL.gtid_binlog_pos AS executed FROM baton.canary
      WHERE cluster = ${quote(o.cluster)}`,
  ],
  readEpoch: `SET STATEMENT max_statement_time=${EPOCH_READ_MS / 1_000} FOR ${EPOCH_COLUMNS}`,
};
