/**
 * MySQL 8.4 and 9.x. Sources: the manual's sections on the statements named below, and what SAFETY.md measured on 9.7.
 * Only the default channel is touched.
 */
import { escape as quote } from "mysql2";
import type { Dialect, ReplicationAccount } from "./dialect.ts";
import type { Target } from "./session.ts";
import { parseStatus, STATUS_SQL } from "./status.ts";

/** Often enough that a silent source is known within half a second; an idle heartbeat costs 40 bytes. */
const HEARTBEAT_S = 0.2;
/** With a retry a second, a day: whoever comes back later is led home by the decider anyway. */
const RETRIES = 86_400;
/** The largest that the server takes: semi-sync never degrades by itself. */
const FOREVER_MS = 4_294_967_295;
/** Above nothing that a person would call a lock name, shared by every instance of Baton. */
const NODE_LOCK = "baton";

/** CHANGE REPLICATION SOURCE TO, without SOURCE_AUTO_POSITION (manual 15.4.2.2). */
function source(target: Target, account: ReplicationAccount, tls: boolean): string[] {
  return [
    `SOURCE_HOST=${quote(target.host)}`,
    `SOURCE_PORT=${Number(target.port)}`,
    `SOURCE_USER=${quote(account.user)}`,
    `SOURCE_PASSWORD=${quote(account.password)}`,
    `SOURCE_HEARTBEAT_PERIOD=${HEARTBEAT_S}`,
    "SOURCE_CONNECT_RETRY=1",
    `SOURCE_RETRY_COUNT=${RETRIES}`,
    // Without TLS, caching_sha2_password needs the source's public key.
    ...(tls ? ["SOURCE_SSL=1"] : ["SOURCE_SSL=0", "GET_SOURCE_PUBLIC_KEY=1"]),
  ];
}

const canaryChecksum = "MD5(CONCAT_WS('#', cluster, epoch, operation, written_at))";

export const mysql84: Dialect = {
  flavour: "mysql",
  statusSql: STATUS_SQL,
  parseStatus,

  stopReceiver: "STOP REPLICA IO_THREAD",
  startReceiver: "START REPLICA IO_THREAD",
  startApplier: "START REPLICA SQL_THREAD",
  startReplication: "START REPLICA",
  stopReplication: "STOP REPLICA",
  resetReplication: "RESET REPLICA ALL",

  follow: (target, account, o) =>
    `CHANGE REPLICATION SOURCE TO ${["SOURCE_AUTO_POSITION=1", ...source(target, account, o.tls)].join(", ")}`,
  // Naming SOURCE_AUTO_POSITION would need the applier stopped too, and delete the relay logs.
  redirectReceiver: (target, account, o) =>
    `CHANGE REPLICATION SOURCE TO ${source(target, account, o.tls).join(", ")}`,

  waitApplied: (set, timeoutMs) =>
    `SELECT WAIT_FOR_EXECUTED_GTID_SET(${quote(set)}, ${Math.max(0.001, timeoutMs / 1_000)}) AS late`,
  applied: (rows) => Number(rows[0]?.late) === 0,

  openPrimary: ({ acks }) => [
    "SET GLOBAL rpl_semi_sync_replica_enabled=OFF",
    `SET GLOBAL rpl_semi_sync_source_wait_for_replica_count=${Math.trunc(acks)}`,
    `SET GLOBAL rpl_semi_sync_source_timeout=${FOREVER_MS}`,
    "SET GLOBAL rpl_semi_sync_source_wait_no_replica=ON",
    "SET GLOBAL rpl_semi_sync_source_enabled=ON",
    "SET GLOBAL super_read_only=OFF",
    "SET GLOBAL read_only=OFF",
  ],
  becomeReplica: [
    "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
    "SET GLOBAL rpl_semi_sync_replica_enabled=ON",
  ],
  isolate: [
    "SET GLOBAL super_read_only=ON",
    "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
    "SET GLOBAL rpl_semi_sync_replica_enabled=OFF",
  ],
  closeWrites: "SET GLOBAL super_read_only=ON",
  closingWrites: `SELECT @@GLOBAL.super_read_only OR EXISTS (SELECT 1 FROM performance_schema.processlist
    WHERE INFO LIKE 'SET GLOBAL super_read_only=ON%') AS closing`,
  semiSyncSourceOff: "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
  // Baton's own sessions are told by their account, which clients have no business to use.
  clientSessions: `SELECT ID AS id FROM performance_schema.processlist
    WHERE ID <> CONNECTION_ID() AND USER NOT IN ('system user', 'event_scheduler')
      AND USER <> SUBSTRING_INDEX(USER(), '@', 1)
      AND COMMAND NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID')`,
  kill: (threadId) => `KILL CONNECTION ${Math.trunc(threadId)}`,

  takeNodeLock: (timeoutS) =>
    `SELECT GET_LOCK('${NODE_LOCK}', ${Math.trunc(timeoutS)}) AS taken, IS_USED_LOCK('${NODE_LOCK}') AS holder`,
  releaseNodeLock: `SELECT RELEASE_LOCK('${NODE_LOCK}')`,

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
};
