/**
 * What a mysqld says of itself, in one round trip. Reads performance_schema and not SHOW REPLICA STATUS,
 * which costs more to parse and says less of times.
 * https://dev.mysql.com/doc/refman/9.7/en/performance-schema-replication-tables.html
 *
 * One statement with one JSON value, not five result sets: their 34 column definitions cost more than what they describe.
 * Measured on 9.7.4 in a loop: 0.4 ms of the server's CPU (five sets: 0.6), 0.13 ms of ours (0.3).
 * Only the default channel '' is read. Needs SELECT on performance_schema and nothing more.
 */
import type { NodeStatus, ReceiverState, ReplicaStatus, SemiSyncStatus } from "@baton/contracts";
import { EPOCH_JSON, EPOCH_READ_MS, EpochReads, parseEpoch } from "./epoch-row.ts";
import { MysqlFault } from "./fault.ts";
import { isMariadb } from "./flavour.ts";
import type { Row, Session } from "./session.ts";
import { heardAgeMs, SetBackEar, setBack } from "./set-back-ear.ts";
import { startedUnixS } from "./started.ts";
import {
  MARIADB_STATUS_SQL,
  MARIADB_STATUS_WITH_EPOCH_SQL,
  MariadbEar,
  parseMariadbStatus,
} from "./status-mariadb.ts";

const SERVER = `'uuid', @@server_uuid, 'id', @@server_id, 'version', @@version, 'nowS', UNIX_TIMESTAMP(),
'ro', @@read_only, 'sro', @@super_read_only, 'gtidMode', @@gtid_mode, 'rlr', @@relay_log_recovery, 'skip', @@skip_replica_start,
'logBin', @@log_bin, 'logUpdates', @@log_replica_updates, 'executed', @@gtid_executed`;

/**
 * One materialisation of all status variables costs 0.1 ms however few are asked for. A statement that is interrupted (KILL QUERY,
 * MAX_EXECUTION_TIME) may end without an error, with NULL for every subquery that was not done yet: a replica then looks like a
 * server that follows nobody (measured on 9.7.4). So this stands last, and an answer without it is none.
 */
const COUNTERS = `(SELECT JSON_OBJECTAGG(VARIABLE_NAME, VARIABLE_VALUE) FROM performance_schema.global_status
WHERE VARIABLE_NAME IN ('Uptime','Rpl_semi_sync_source_status','Rpl_semi_sync_source_clients',
'Rpl_semi_sync_source_wait_sessions','Rpl_semi_sync_source_no_times','Rpl_semi_sync_replica_status'))`;

/**
 * Received and executed are not of one moment: whoever needs received ⊆ executed as a fact must stop the receiver first.
 * A filter that was taken away leaves a row with an empty rule (measured). Ages come out of the node's own clock; a zero date makes TIMESTAMPDIFF null, and a clock that was set back since makes it negative.
 */
const CHANNEL = `(SELECT JSON_OBJECT('host', c.HOST, 'port', c.PORT, 'autoPos', c.AUTO_POSITION,
'sourceUuid', s.SOURCE_UUID, 'receiver', s.SERVICE_STATE, 'rErrno', s.LAST_ERROR_NUMBER, 'rError', s.LAST_ERROR_MESSAGE,
'received', s.RECEIVED_TRANSACTION_SET, 'applier', a.SERVICE_STATE,
'kErrno', k.LAST_ERROR_NUMBER, 'kError', k.LAST_ERROR_MESSAGE,
'nowUs', TIMESTAMPDIFF(MICROSECOND, '2020-01-01', NOW(6)), 'heardUs', JSON_ARRAY(
TIMESTAMPDIFF(MICROSECOND, s.LAST_HEARTBEAT_TIMESTAMP, NOW(6)),
TIMESTAMPDIFF(MICROSECOND, s.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP, NOW(6)),
TIMESTAMPDIFF(MICROSECOND, s.QUEUEING_TRANSACTION_START_QUEUE_TIMESTAMP, NOW(6))),
'idle', GTID_SUBSET(s.RECEIVED_TRANSACTION_SET, @@gtid_executed),
'filtered', EXISTS(SELECT 1 FROM performance_schema.replication_applier_filters f WHERE f.CHANNEL_NAME = '' AND f.FILTER_RULE <> ''))
FROM performance_schema.replication_connection_configuration c
JOIN performance_schema.replication_connection_status s ON s.CHANNEL_NAME = ''
JOIN performance_schema.replication_applier_status a ON a.CHANNEL_NAME = ''
LEFT JOIN performance_schema.replication_applier_status_by_coordinator k ON k.CHANNEL_NAME = ''
WHERE c.CHANNEL_NAME = '')`;

/** One for each worker: the one in error, and the one that applied last. */
const WORKERS = `(SELECT JSON_ARRAYAGG(JSON_OBJECT('errno', LAST_ERROR_NUMBER, 'error', LAST_ERROR_MESSAGE,
'ended', LAST_APPLIED_TRANSACTION_END_APPLY_TIMESTAMP, 'delayUs', TIMESTAMPDIFF(MICROSECOND,
LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, LAST_APPLIED_TRANSACTION_END_APPLY_TIMESTAMP)))
FROM performance_schema.replication_applier_status_by_worker WHERE CHANNEL_NAME = '')`;

/** Unknown to a server without the plugins (error 1193): then the read is made without it. */
const SEMI_SYNC = `JSON_OBJECT('source', @@rpl_semi_sync_source_enabled,
'acks', @@rpl_semi_sync_source_wait_for_replica_count, 'timeoutMs', @@rpl_semi_sync_source_timeout,
'waitNoReplica', @@rpl_semi_sync_source_wait_no_replica, 'waitPoint', @@rpl_semi_sync_source_wait_point,
'replica', @@rpl_semi_sync_replica_enabled)`;

const statusSql = (semiSync: string): string =>
  `SELECT JSON_OBJECT(${SERVER}, 'channel', ${CHANNEL}, 'workers', ${WORKERS}, 'semiSync', ${semiSync}, 'counters', ${COUNTERS}) status`;

/** The same with the row of `baton.epoch`, which may be missing, or locked by somebody: then the read fails, and is made without. */
const withEpoch = (sql: string): string =>
  sql
    .replace("SELECT JSON_OBJECT(", `SELECT /*+ MAX_EXECUTION_TIME(${EPOCH_READ_MS}) */ JSON_OBJECT(`)
    .replace(", 'counters', ", `, 'epoch', ${EPOCH_JSON}, 'counters', `);

export const STATUS_SQL = statusSql(SEMI_SYNC);
export const STATUS_SQL_WITHOUT_SEMI_SYNC = statusSql("NULL");
const STATUS_WITH_EPOCH_SQL = withEpoch(STATUS_SQL);
const STATUS_WITH_EPOCH_SQL_WITHOUT_SEMI_SYNC = withEpoch(STATUS_SQL_WITHOUT_SEMI_SYNC);

/** The JSON value of `status`, as the statement above makes it. */
interface Told extends Row {
  counters: Record<string, string> | null;
  channel: Row | null;
  workers: Row[] | null;
  semiSync: Row | null;
  /** Absent where it was not asked for. */
  epoch?: Row | null;
}

const ER_UNKNOWN_SYSTEM_VARIABLE = 1193;
const ER_QUERY_INTERRUPTED = 1317;
const withoutSemiSync = new WeakSet<Session>();
const epochs = new EpochReads();
/** One for each session to a MariaDB server that was read. */
const mariadbEars = new WeakMap<Session, MariadbEar>();
/** One for each session to a MySQL server whose clock was set back. */
const ears = new WeakMap<Session, SetBackEar>();

/**
 * The status, in one round trip (two, once, on a server without the semi-sync plugins; two, once a second, where the epoch's row cannot
 * be read). The session survives a deadline, its late answer goes to nobody. @throws MysqlFault
 */
export async function readStatus(session: Session, deadlineMs: number): Promise<NodeStatus> {
  const o = { deadlineMs, keep: true };
  const read = (asks: boolean) =>
    isMariadb(session.version) ? readMariadbStatus(session, asks, o) : readMysqlStatus(session, asks, o);
  if (epochs.asks(session, performance.now())) {
    try {
      return await read(true);
    } catch (error) {
      if (!(error instanceof MysqlFault) || !epochs.refused(session, error, performance.now())) throw error;
    }
  }
  return { ...(await read(false)), ...epochs.known(session) };
}

async function readMysqlStatus(
  session: Session,
  asks: boolean,
  o: { deadlineMs: number; keep: boolean },
): Promise<NodeStatus> {
  const without = asks ? STATUS_WITH_EPOCH_SQL_WITHOUT_SEMI_SYNC : STATUS_SQL_WITHOUT_SEMI_SYNC;
  if (withoutSemiSync.has(session)) {
    const sets = await session.queryAll(without, o);
    // Installed since: the next read takes it in.
    const told = sets[0]?.[0]?.status as Told | undefined;
    if (told?.counters?.Rpl_semi_sync_source_status !== undefined) withoutSemiSync.delete(session);
    return heard(session, sets);
  }
  try {
    return heard(session, await session.queryAll(asks ? STATUS_WITH_EPOCH_SQL : STATUS_SQL, o));
  } catch (error) {
    if (!(error instanceof MysqlFault) || error.errno !== ER_UNKNOWN_SYSTEM_VARIABLE) throw error;
    withoutSemiSync.add(session);
    return heard(session, await session.queryAll(without, o));
  }
}

/** The status, with the age of the receiver's last word also where the node's clock cannot tell it. */
function heard(session: Session, sets: readonly Row[][]): NodeStatus {
  const status = parseStatus(sets);
  const channel = (sets[0]?.[0]?.status as Told | undefined)?.channel ?? null;
  if (status.replica === null || channel === null || !setBack(channel)) {
    ears.delete(session);
    return status;
  }
  const ear = ears.get(session) ?? new SetBackEar();
  ears.set(session, ear);
  const changedMs = ear.unchangedMs(channel, performance.now());
  const heardAgeMs = Math.min(changedMs, status.replica.heardAgeMs ?? changedMs);
  return { ...status, replica: { ...status.replica, heardAgeMs } };
}

async function readMariadbStatus(
  session: Session,
  asks: boolean,
  o: { deadlineMs: number; keep: boolean },
): Promise<NodeStatus> {
  const sets = await session.queryAll(asks ? MARIADB_STATUS_WITH_EPOCH_SQL : MARIADB_STATUS_SQL, o);
  const status = parseMariadbStatus(sets);
  const ear = mariadbEars.get(session) ?? new MariadbEar();
  mariadbEars.set(session, ear);
  const heardAgeMs = ear.heardAgeMs(sets, performance.now());
  return status.replica === null ? status : { ...status, replica: { ...status.replica, heardAgeMs } };
}

/** The result set of STATUS_SQL. @throws MysqlFault when it is empty, or not whole because the statement was interrupted */
export function parseStatus(sets: readonly Row[][]): NodeStatus {
  const told = sets[0]?.[0]?.status as Told | undefined;
  if (!told) throw new MysqlFault("error", "the status read came back empty");
  const count = told.counters ?? {};
  // The server lists its counters by name, so Uptime comes last of these.
  if (count.Uptime === undefined || (told.semiSync && count.Rpl_semi_sync_source_status === undefined))
    throw new MysqlFault("error", "the status read was interrupted", { errno: ER_QUERY_INTERRUPTED });
  return {
    serverUuid: String(told.uuid),
    serverId: Number(told.id),
    version: String(told.version),
    flavour: "mysql",
    startedUnixS: startedUnixS(told.nowS, count.Uptime),
    readOnly: Number(told.ro) === 1,
    superReadOnly: Number(told.sro) === 1,
    gtidMode: told.gtidMode === "ON",
    executed: oneLine(told.executed),
    relayLogRecovery: Number(told.rlr) === 1,
    skipReplicaStart: Number(told.skip) === 1,
    logBin: Number(told.logBin) === 1,
    logReplicaUpdates: Number(told.logUpdates) === 1,
    replica: told.channel ? parseChannel(told.channel, told.workers ?? []) : null,
    semiSync: told.semiSync ? parseSemiSync(told.semiSync, count) : null,
    ...(told.epoch === undefined ? {} : { epoch: parseEpoch(told.epoch) }),
  };
}

function parseChannel(c: Row, workers: readonly Row[]): ReplicaStatus {
  const failed = workers.find((w) => Number(w.errno) !== 0);
  const last = workers.reduce<Row | null>(
    (newest, w) => (newest === null || String(w.ended) > String(newest.ended) ? w : newest),
    null,
  );
  return {
    sourceHost: String(c.host),
    sourcePort: Number(c.port),
    sourceUuid: String(c.sourceUuid ?? ""),
    receiver: String(c.receiver).toLowerCase() as ReceiverState,
    receiverErrno: Number(c.rErrno),
    receiverError: String(c.rError ?? ""),
    heardAgeMs: heardAgeMs(c),
    applier: c.applier === "ON" ? "on" : "off",
    // A worker says what failed; the coordinator only that one did.
    applierErrno: Number(failed?.errno ?? c.kErrno ?? 0),
    applierError: String(failed?.error ?? c.kError ?? ""),
    received: oneLine(c.received),
    autoPosition: Number(c.autoPos) === 1,
    ...(Number(c.filtered) === 1 ? { filtered: true } : {}),
    delayMs: Number(c.idle) === 1 ? 0 : ms(last?.delayUs),
  };
}

function parseSemiSync(v: Row, count: Readonly<Record<string, string>>): SemiSyncStatus {
  return {
    source: Number(v.source) === 1,
    sourceActive: count.Rpl_semi_sync_source_status === "ON",
    acks: Number(v.acks),
    timeoutMs: Number(v.timeoutMs),
    waitNoReplica: Number(v.waitNoReplica) === 1,
    afterSync: v.waitPoint === "AFTER_SYNC",
    clients: Number(count.Rpl_semi_sync_source_clients ?? 0),
    waiting: Number(count.Rpl_semi_sync_source_wait_sessions ?? 0),
    ...(count.Rpl_semi_sync_source_no_times === undefined
      ? {}
      : { timesOff: Number(count.Rpl_semi_sync_source_no_times) }),
    replica: Number(v.replica) === 1,
    replicaActive: count.Rpl_semi_sync_replica_status === "ON",
  };
}

/** The server breaks its sets into lines. */
function oneLine(set: unknown): string {
  return String(set ?? "").replaceAll("\n", "");
}

/** Microseconds to milliseconds; clocks of two servers that differ make no negative delay. */
function ms(us: unknown): number | null {
  return us === null || us === undefined ? null : Math.max(0, Number(us) / 1_000);
}
