/**
 * MySQL 8.4 and 9.x. Section numbers are those of https://dev.mysql.com/doc/refman/9.7/en/. What is marked
 * "measured" was seen on 9.7.4 and is held by mysql84.test.ts. Only the default channel is touched.
 */
import { escape as quote } from "mysql2";
import type { Dialect, ReplicationAccount } from "./dialect.ts";
import { CREATE_EPOCH, EPOCH_COLUMNS, EPOCH_READ_MS, writeEpoch } from "./epoch-row.ts";
import { ownedSet } from "./owned.ts";
import type { Target } from "./session.ts";
import { parseStatus, STATUS_SQL } from "./status.ts";

/** Often enough that a silent source is known within half a second; an idle heartbeat costs 40 bytes. */
const HEARTBEAT_S = 0.2;
/** With a retry a second, a day: whoever comes back later is led home by the decider anyway. */
const RETRIES = 86_400;
const RETRY_S = 1;
/** The largest that the server takes: semi-sync never degrades by itself. */
const FOREVER_MS = 4_294_967_295;
/**
 * A client that goes away leaves its `SET GLOBAL super_read_only` waiting in the server, where it holds off every
 * commit of a primary that may be alive (measured). lock_wait_timeout, a year by default, bounds that.
 */
const CLOSE_WRITES_MAX_S = 5;
/** A closing that has waited for no longer, in whole seconds, holds on for another second at least. */
const CLOSE_WRITES_SURE_S = 2;
/** How long a planned freeze may hold commits off before the server lets them go again; whole seconds only. */
const FREEZE_MAX_S = 1;
/** Somebody's open transaction on the node must not hold up its rebuilding for the default year. */
const CLONE_LOCK_WAIT_S = 60;
/** Above nothing that a person would call a lock name, shared by every instance of Baton. */
const NODE_LOCK = "baton";
const HELPER_LOCK = "baton-helper";

/** CHANGE REPLICATION SOURCE TO, without SOURCE_AUTO_POSITION (manual 15.4.2.2). */
function source(target: Target, account: ReplicationAccount, tls: boolean): string[] {
  return [
    `SOURCE_HOST=${quote(target.host)}`,
    `SOURCE_PORT=${Number(target.port)}`,
    `SOURCE_USER=${quote(account.user)}`,
    `SOURCE_PASSWORD=${quote(account.password)}`,
    `SOURCE_HEARTBEAT_PERIOD=${HEARTBEAT_S}`,
    `SOURCE_CONNECT_RETRY=${RETRY_S}`,
    `SOURCE_RETRY_COUNT=${RETRIES}`,
    // Without TLS, caching_sha2_password needs the source's public key.
    ...(tls ? ["SOURCE_SSL=1"] : ["SOURCE_SSL=0", "GET_SOURCE_PUBLIC_KEY=1"]),
  ];
}

function ackTimeout(timeoutMs: number | null): string {
  return `SET GLOBAL rpl_semi_sync_source_timeout=${timeoutMs === null ? FOREVER_MS : Math.trunc(timeoutMs)}`;
}

function semiSyncSource({ acks, timeoutMs }: { acks: number; timeoutMs: number | null }): string[] {
  return [
    "SET GLOBAL rpl_semi_sync_replica_enabled=OFF",
    `SET GLOBAL rpl_semi_sync_source_wait_for_replica_count=${Math.trunc(acks)}`,
    ackTimeout(timeoutMs),
    "SET GLOBAL rpl_semi_sync_source_wait_no_replica=ON",
    "SET GLOBAL rpl_semi_sync_source_wait_point='AFTER_SYNC'",
    "SET GLOBAL rpl_semi_sync_source_enabled=ON",
  ];
}

/** Writes are refused, or held off by a closing that has waited for `mostS` at most. */
function closed(mostS: number): string {
  return `(@@GLOBAL.read_only AND @@GLOBAL.super_read_only) OR EXISTS (
    SELECT 1 FROM performance_schema.threads WHERE PROCESSLIST_INFO LIKE 'SET GLOBAL super_read_only=ON%'
      AND PROCESSLIST_STATE IN ('Waiting for global read lock', 'Waiting for commit lock') AND PROCESSLIST_TIME <= ${mostS})`;
}

/** MD5 and SHA1 have left the server for a component; SHA2 stayed. */
const canaryChecksum = "SHA2(CONCAT_WS('#', cluster, epoch, operation, written_at), 256)";

export const mysql84: Dialect = {
  flavour: "mysql",
  keepsRelayLogs: true,
  statusSql: STATUS_SQL,
  parseStatus,

  // 15.4.2.5: each returns when its threads have stopped; no error where no channel is set or it is stopped already (measured).
  stopReceiver: "STOP REPLICA IO_THREAD",
  startReceiver: "START REPLICA IO_THREAD",
  startApplier: "START REPLICA SQL_THREAD",
  startReplication: "START REPLICA",
  stopReplication: "STOP REPLICA",
  // The coordinator rolls the part back when it is killed (measured; 15.4.2.5 on STOP REPLICA and open transactions).
  halfReceived: `SELECT t.PROCESSLIST_ID AS coordinator FROM performance_schema.threads t
    JOIN performance_schema.replication_connection_status s ON s.CHANNEL_NAME = ''
    LEFT JOIN performance_schema.replication_applier_status_by_coordinator c ON c.CHANNEL_NAME = ''
    WHERE t.NAME = 'thread/sql/replica_sql' AND s.SERVICE_STATE = 'OFF' AND (s.QUEUEING_TRANSACTION <> ''
      OR NOT GTID_SUBSET(c.PROCESSING_TRANSACTION, s.RECEIVED_TRANSACTION_SET))`,
  relayLogs: {
    place: ["SHOW REPLICA STATUS", "SHOW RELAYLOG EVENTS LIMIT 1"],
    head: (name) => `SHOW RELAYLOG EVENTS IN ${quote(name)} LIMIT 2`,
    applyFrom: (name) =>
      `CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=0, RELAY_LOG_FILE=${quote(name)}, RELAY_LOG_POS=4`,
    byAutoPosition: "CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=1",
  },
  channelSettings: `SELECT HOST AS host, PORT AS port, USER AS user, SSL_ALLOWED = 'YES' AS tls, AUTO_POSITION AS autoPos,
    HEARTBEAT_INTERVAL AS heartbeatS, CONNECTION_RETRY_INTERVAL AS retryS, CONNECTION_RETRY_COUNT AS retries
    FROM performance_schema.replication_connection_configuration WHERE CHANNEL_NAME = ''`,
  channelDefaults: { heartbeatS: HEARTBEAT_S, retryS: RETRY_S, retries: RETRIES },
  resetReplication: "RESET REPLICA ALL",

  follow: (target, account, o) =>
    `CHANGE REPLICATION SOURCE TO ${["SOURCE_AUTO_POSITION=1", ...source(target, account, o.tls)].join(", ")}`,
  // Naming SOURCE_AUTO_POSITION would need the applier stopped too (error 3081, measured), and delete the relay logs.
  redirectReceiver: (target, account, o) =>
    `CHANGE REPLICATION SOURCE TO ${source(target, account, o.tls).join(", ")}`,

  // 14.18.2: 0 done, 1 timed out, and a timeout of 0 waits for ever. An applier that stands is not told apart.
  waitApplied: (set, timeoutMs) =>
    `SELECT WAIT_FOR_EXECUTED_GTID_SET(${quote(set)}, ${Math.max(0.001, timeoutMs / 1_000)}) AS late`,
  applied: (rows) => Number(rows[0]?.late) === 0,

  ownedSql: "SELECT @@GLOBAL.gtid_owned AS owned",
  owned: (rows) => ownedSet(String(rows[0]?.owned ?? "")),

  // 19.4.10.1: semi-sync goes on while the node is still read-only, so that its first write waits for acks too.
  openPrimary: (o) => [...semiSyncSource(o), "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF"],
  semiSyncSource,
  // 19.1.4.3, injecting empty transactions: it takes the GTID's place in the history.
  emptyTransaction: (gtid) => [
    `SET SESSION gtid_next=${quote(gtid)}`,
    "BEGIN",
    "COMMIT",
    "SET SESSION gtid_next='AUTOMATIC'",
  ],
  ackTimeout,
  semiSyncSourceOn: "SET GLOBAL rpl_semi_sync_source_enabled=ON",
  // A receiver reads rpl_semi_sync_replica_enabled when it starts (19.4.10.2), so these come before its start.
  becomeReplica: [
    "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
    "SET GLOBAL rpl_semi_sync_replica_enabled=ON",
    "SET GLOBAL super_read_only=ON",
  ],
  isolate: [
    "SET GLOBAL super_read_only=ON",
    "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
    "SET GLOBAL rpl_semi_sync_replica_enabled=OFF",
  ],
  // 7.1.8, super_read_only. While it waits, @@super_read_only is 1 already and @@read_only still 0, and when
  // lock_wait_timeout ends it (error 1205) both are 0 again (measured): a node is closed when both are 1.
  closeWrites: [`SET SESSION lock_wait_timeout=${CLOSE_WRITES_MAX_S}`, "SET GLOBAL super_read_only=ON"],
  closingWrites: `SELECT ${closed(CLOSE_WRITES_MAX_S)} AS closing`,
  // A SET of a scalar subquery (15.7.6.1) looks and acts at once.
  letWaitersGo: [
    `SET GLOBAL rpl_semi_sync_source_enabled=(SELECT @@GLOBAL.rpl_semi_sync_source_enabled AND NOT (${closed(CLOSE_WRITES_SURE_S)}))`,
    "SELECT @@GLOBAL.rpl_semi_sync_source_enabled AS still",
  ],
  freezeWrites: [
    `SET SESSION lock_wait_timeout=${FREEZE_MAX_S}`,
    "SET GLOBAL super_read_only=ON",
    "SET SESSION lock_wait_timeout=DEFAULT",
  ],
  // A statement that writes holds GLOBAL in intention until its end, a commit COMMIT until it is acknowledged (29.12.13.3).
  drainHolders: `SELECT DISTINCT t.PROCESSLIST_ID AS id FROM performance_schema.metadata_locks m
    JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
    WHERE m.OBJECT_TYPE IN ('GLOBAL', 'COMMIT') AND m.LOCK_STATUS = 'GRANTED' AND m.LOCK_TYPE = 'INTENTION_EXCLUSIVE'
      AND t.TYPE = 'FOREGROUND' AND t.PROCESSLIST_ID <> CONNECTION_ID()
      AND NOT (t.PROCESSLIST_STATE <=> 'Waiting for semi-sync ACK from replica')`,
  openWriters: `SELECT DISTINCT t.PROCESSLIST_ID AS id FROM performance_schema.metadata_locks m
    JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
    WHERE m.OBJECT_TYPE = 'TABLE' AND m.LOCK_STATUS = 'GRANTED' AND m.LOCK_DURATION <> 'STATEMENT'
      AND m.LOCK_TYPE NOT IN ('SHARED_READ', 'SHARED_HIGH_PRIO', 'SHARED')
      AND t.TYPE = 'FOREGROUND' AND t.PROCESSLIST_ID <> CONNECTION_ID()`,
  // FTWRL takes GLOBAL and COMMIT shared and keeps them.
  obstacles: `SELECT (SELECT MAX(e.TIMER_WAIT) / 1e9 FROM performance_schema.events_transactions_current e
      JOIN performance_schema.threads t ON t.THREAD_ID = e.THREAD_ID
      WHERE e.STATE = 'ACTIVE' AND t.TYPE = 'FOREGROUND' AND t.PROCESSLIST_ID IS NOT NULL
        AND t.PROCESSLIST_COMMAND NOT LIKE 'Binlog Dump%') AS oldestMs,
    EXISTS (SELECT 1 FROM performance_schema.metadata_locks
      WHERE OBJECT_TYPE = 'GLOBAL' AND LOCK_STATUS = 'GRANTED' AND LOCK_TYPE = 'SHARED') AS locked`,
  sessions: (
    most,
  ) => `SELECT PROCESSLIST_ID AS id, PROCESSLIST_USER AS user, PROCESSLIST_HOST AS host, PROCESSLIST_DB AS db,
    PROCESSLIST_COMMAND AS command, PROCESSLIST_STATE AS state, PROCESSLIST_TIME AS timeS, LEFT(PROCESSLIST_INFO, 200) AS info
    FROM performance_schema.threads WHERE TYPE = 'FOREGROUND' AND PROCESSLIST_ID IS NOT NULL
    ORDER BY PROCESSLIST_COMMAND = 'Sleep', PROCESSLIST_ID LIMIT ${Math.trunc(most)}`,
  position: "SHOW BINARY LOG STATUS",
  semiSyncSourceOff: "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
  // Dump threads stay: an ack that still comes makes a killed waiter's transaction the cluster's and not an errant
  // one. Baton's sessions are told by account and program name both, because clients may share the account.
  clientSessions: `SELECT t.PROCESSLIST_ID AS id FROM performance_schema.threads t
    WHERE t.TYPE = 'FOREGROUND' AND t.PROCESSLIST_ID <> CONNECTION_ID()
      AND t.PROCESSLIST_COMMAND NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID')
      AND NOT (t.PROCESSLIST_USER <=> SUBSTRING_INDEX(USER(), '@', 1)
        AND (t.PROCESSLIST_ID <=> IS_USED_LOCK('${NODE_LOCK}') OR EXISTS (
          SELECT 1 FROM performance_schema.session_connect_attrs a WHERE a.PROCESSLIST_ID = t.PROCESSLIST_ID
            AND a.ATTR_NAME = 'program_name' AND a.ATTR_VALUE LIKE 'baton%')))`,
  groupWaits: null,
  kill: (threadId) => `KILL CONNECTION ${Math.trunc(threadId)}`,

  // 7.6.7 (clone plugin). All measured on 9.7.4: CLONE as a plain reader fails half-way with 1290 unless super_read_only is
  // off; a client that vanishes does not stop it, KILL does (1317), and then the data are gone and gtid_executed is empty.
  clonePlugin: "SELECT PLUGIN_STATUS AS status FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'",
  grants: "SHOW GRANTS",
  allowClone: (donor) => [
    `SET GLOBAL clone_valid_donor_list=${quote(`${donor.host}:${Number(donor.port)}`)}`,
    "SET GLOBAL read_only=ON",
    "SET GLOBAL super_read_only=OFF",
    `SET SESSION lock_wait_timeout=${CLONE_LOCK_WAIT_S}`,
  ],
  clone: (donor, account, o) =>
    `CLONE INSTANCE FROM ${quote(account.user)}@${quote(donor.host)}:${Number(donor.port)} ` +
    `IDENTIFIED BY ${quote(account.password)}${o.tls ? " REQUIRE SSL" : ""}`,
  cloneStatus: [
    `SELECT STATE AS state, ERROR_NO AS errno, ERROR_MESSAGE AS error, SOURCE AS source,
      UNIX_TIMESTAMP(BEGIN_TIME) AS beganS FROM performance_schema.clone_status`,
    `SELECT STAGE AS stage, STATE AS state, ESTIMATE AS estimate, DATA AS copied
      FROM performance_schema.clone_progress ORDER BY BEGIN_TIME`,
  ],
  dump: {
    dataSize: `SELECT COALESCE(SUM(DATA_LENGTH), 0) AS bytes FROM information_schema.TABLES
      WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema', 'sys')`,
    databases: `SELECT SCHEMA_NAME AS name FROM information_schema.SCHEMATA
      WHERE SCHEMA_NAME NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')`,
    dropDatabase: (name) => `DROP DATABASE ${"`"}${name.replaceAll("`", "``")}${"`"}`,
    forgetHistory: "RESET BINARY LOGS AND GTIDS",
    adoptHistory: (set) => `SET GLOBAL gtid_purged=${quote(set)}`,
    settings:
      "SELECT @@GLOBAL.log_bin_trust_function_creators AS trust, NULLIF(@@GLOBAL.event_scheduler, 'DISABLED') = 'ON' AS events",
    // Error 1419 else: a trigger may not be created without SUPER while there is a binlog (measured), also with sql_log_bin=0.
    loadSettings: ({ trust, events }) => [
      `SET GLOBAL log_bin_trust_function_creators=${trust ? "ON" : "OFF"}`,
      ...(events === null ? [] : [`SET GLOBAL event_scheduler=${events ? "ON" : "OFF"}`]),
    ],
    allowLoad: ["SET GLOBAL read_only=ON", "SET GLOBAL super_read_only=OFF"],
    loadGuard: (lockHolder) =>
      `DO IF(GET_LOCK('${HELPER_LOCK}', 2) = 1 AND IS_USED_LOCK('${NODE_LOCK}') = ${Math.trunc(lockHolder)}, 0, (SELECT 1 UNION SELECT 2))`,
  },
  clock: "SELECT UNIX_TIMESTAMP(NOW(6)) AS nowS",
  binlogs: "SHOW BINARY LOGS",
  binlogHead: (name) => `SHOW BINLOG EVENTS IN ${quote(name)} LIMIT 2`,
  semiSyncReplicaOn: "SET GLOBAL rpl_semi_sync_replica_enabled=ON",

  // 14.14: the lock ends with its session; a killed holder lets it go only when its statement has ended.
  takeNodeLock: (timeoutS) =>
    `SELECT GET_LOCK('${NODE_LOCK}', ${Math.trunc(timeoutS)}) AS taken, IS_USED_LOCK('${NODE_LOCK}') AS holder,
      IS_USED_LOCK('${HELPER_LOCK}') AS helper`,
  releaseNodeLock: `SELECT RELEASE_LOCK('${NODE_LOCK}')`,
  takeHelperLock: (timeoutS) =>
    `SELECT GET_LOCK('${HELPER_LOCK}', ${Math.trunc(timeoutS)}) AS taken, IS_USED_LOCK('${NODE_LOCK}') AS holder`,
  releaseHelperLock: `SELECT RELEASE_LOCK('${HELPER_LOCK}')`,

  writeCanary: ({ cluster, epoch, operation }) => [
    "CREATE DATABASE IF NOT EXISTS baton",
    `CREATE TABLE IF NOT EXISTS baton.canary (cluster VARCHAR(63) CHARACTER SET ascii PRIMARY KEY,
      epoch BIGINT UNSIGNED NOT NULL, operation VARCHAR(160) CHARACTER SET ascii NOT NULL,
      written_at DATETIME(6) NOT NULL)`,
    `REPLACE INTO baton.canary VALUES (${quote(cluster)}, ${Math.trunc(epoch)}, ${quote(operation)}, NOW(6))`,
    `SELECT ${canaryChecksum} AS checksum, @@GLOBAL.gtid_executed AS executed FROM baton.canary
      WHERE cluster = ${quote(cluster)}`,
  ],
  readCanary: (cluster) =>
    `SELECT ${canaryChecksum} AS checksum FROM baton.canary WHERE cluster = ${quote(cluster)}`,

  readEpoch: EPOCH_COLUMNS.replace("SELECT", `SELECT /*+ MAX_EXECUTION_TIME(${EPOCH_READ_MS}) */`),
  createEpoch: CREATE_EPOCH,
  writeEpoch,
};
