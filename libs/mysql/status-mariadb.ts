/**
 * What a MariaDB server says of itself, in one round trip. It has no performance_schema.replication_* tables: the channel is
 * read from SHOW ALL SLAVES STATUS, which gives no times but only a count of heartbeats, so `MariadbEar` makes ages of them.
 * https://mariadb.com/kb/en/show-replica-status/ · all measured on 10.11.18. Needs BINLOG MONITOR and SLAVE MONITOR.
 */
import type { NodeStatus, ReceiverState, ReplicaStatus, SemiSyncStatus } from "@baton/contracts";
import { EPOCH_COLUMNS, EPOCH_READ_MS, parseEpoch } from "./epoch-row.ts";
import { MysqlFault } from "./fault.ts";
import { serverName } from "./gtid-domains.ts";
import type { Row } from "./session.ts";
import { startedUnixS } from "./started.ts";

/** Not mixed with tables: `SELECT @@read_only, COUNT(*)` answers 0 on a read-only server. */
const SERVER = `SELECT @@GLOBAL.server_id id, @@version version, @@GLOBAL.read_only ro,
@@GLOBAL.gtid_strict_mode strict, @@GLOBAL.log_bin logBin, @@GLOBAL.gtid_binlog_state logged,
@@GLOBAL.gtid_slave_pos applied, @@GLOBAL.rpl_semi_sync_master_enabled source,
@@GLOBAL.rpl_semi_sync_master_timeout timeoutMs, @@GLOBAL.rpl_semi_sync_master_wait_no_slave waitNoReplica,
@@GLOBAL.rpl_semi_sync_master_wait_point waitPoint, @@GLOBAL.rpl_semi_sync_slave_enabled replica`;

/** With the clock in the same statement, so that both are of one second and their difference is the start exactly. */
const COUNTERS = `SELECT VARIABLE_NAME name, VARIABLE_VALUE value, UNIX_TIMESTAMP() nowS FROM information_schema.GLOBAL_STATUS
WHERE VARIABLE_NAME IN ('Uptime','Rpl_semi_sync_master_status','Rpl_semi_sync_master_clients',
'Rpl_semi_sync_master_wait_sessions','Rpl_semi_sync_slave_status')`;

export const MARIADB_STATUS_SQL = [SERVER, COUNTERS, "SHOW ALL SLAVES STATUS"].join(";");
/** With the epoch's row, which may be missing: then all of it fails, and is read without. */
export const MARIADB_STATUS_WITH_EPOCH_SQL = `${MARIADB_STATUS_SQL};SET STATEMENT max_statement_time=${EPOCH_READ_MS / 1_000} FOR ${EPOCH_COLUMNS}`;

/** MariaDB takes no count: a write waits for one ack. */
export const MARIADB_ACKS = 1;

/** Result sets of MARIADB_STATUS_SQL in their order. `heardAgeMs` is null: one read alone cannot tell. */
export function parseMariadbStatus(sets: readonly Row[][]): NodeStatus {
  const server = sets[0]?.[0];
  if (!server) throw new MysqlFault("error", "the status read came back empty");
  const count = new Map((sets[1] ?? []).map((row) => [String(row.name).toLowerCase(), String(row.value)]));
  if (!count.has("uptime")) throw new MysqlFault("error", "the status read came back without its counters");
  const channel = defaultChannel(sets);
  const readOnly = Number(server.ro) === 1;
  return {
    serverUuid: serverName(Number(server.id)),
    serverId: Number(server.id),
    version: String(server.version),
    flavour: "mariadb",
    startedUnixS: startedUnixS(sets[1]?.[0]?.nowS, count.get("uptime")),
    readOnly,
    // There is nothing above read_only: who has READ ONLY ADMIN writes on.
    superReadOnly: readOnly,
    // Always there; only strict mode makes sequence numbers comparable between nodes.
    gtidMode: Number(server.strict) === 1 && Number(server.logBin) === 1,
    // The binlog's own transactions, unacknowledged ones included, and what a copy was seeded with.
    executed: [...new Set(`${server.logged ?? ""},${server.applied ?? ""}`.split(","))]
      .filter(Boolean)
      .join(","),
    // Whatever relay_log_recovery says: the first START SLAVE after a start of the server discards them (measured).
    relayLogRecovery: true,
    replica: channel === null ? null : parseChannel(channel),
    semiSync: parseSemiSync(server, count),
    ...(sets[3] === undefined ? {} : { epoch: parseEpoch(sets[3][0]) }),
  };
}

function defaultChannel(sets: readonly Row[][]): Row | null {
  return (sets[2] ?? []).find((row) => row.Connection_name === "") ?? null;
}

const RECEIVER: Readonly<Record<string, ReceiverState>> = { Yes: "on", No: "off" };

function parseChannel(c: Row): ReplicaStatus {
  const received = String(c.Gtid_IO_Pos ?? "");
  const behindS = c.Seconds_Behind_Master;
  return {
    sourceHost: String(c.Master_Host),
    sourcePort: Number(c.Master_Port),
    // 0 until the receiver has connected once since the server's start.
    sourceUuid: Number(c.Master_Server_Id) > 0 ? serverName(Number(c.Master_Server_Id)) : "",
    // `Connecting` and `Preparing`.
    receiver: RECEIVER[String(c.Slave_IO_Running)] ?? "connecting",
    receiverErrno: Number(c.Last_IO_Errno),
    receiverError: String(c.Last_IO_Error ?? ""),
    heardAgeMs: null,
    applier: c.Slave_SQL_Running === "Yes" ? "on" : "off",
    applierErrno: Number(c.Last_SQL_Errno),
    applierError: String(c.Last_SQL_Error ?? ""),
    received,
    autoPosition: c.Using_Gtid === "Slave_Pos",
    ...(filtersOf(c).length > 0 ? { filtered: true } : {}),
    delayMs:
      received === String(c.Gtid_Slave_Pos ?? "")
        ? 0
        : behindS === null || behindS === undefined
          ? null
          : Number(behindS) * 1_000,
  };
}

/** The filters of a row of SHOW ALL SLAVES STATUS, as `[column, rule]`. */
export function filtersOf(channel: Row): [string, unknown][] {
  return Object.entries(channel).filter(
    ([name, value]) =>
      /^Replicate_(Wild_)?(Do|Ignore)_|^Replicate_Rewrite_DB$/.test(name) && String(value ?? "") !== "",
  );
}

function parseSemiSync(v: Row, count: ReadonlyMap<string, string>): SemiSyncStatus {
  return {
    source: Number(v.source) === 1,
    sourceActive: count.get("rpl_semi_sync_master_status") === "ON",
    acks: MARIADB_ACKS,
    timeoutMs: Number(v.timeoutMs),
    waitNoReplica: Number(v.waitNoReplica) === 1,
    afterSync: v.waitPoint === "AFTER_SYNC",
    clients: Number(count.get("rpl_semi_sync_master_clients") ?? 0),
    waiting: Number(count.get("rpl_semi_sync_master_wait_sessions") ?? 0),
    replica: Number(v.replica) === 1,
    replicaActive: count.get("rpl_semi_sync_slave_status") === "ON",
  };
}

/** What a source sends when all is quiet (mariadb.ts sets it). */
export const MARIADB_HEARTBEAT_MS = 200;

/**
 * Since when a receiver has heard nothing, out of two reads: it heard something in between when a counter moved, and how
 * long ago is not known: at most the time between the reads, and of a live source at most one heartbeat. Never less
 * than that is claimed, so that what was heard before a suspicion is not taken for a sign of life after it.
 */
export class MariadbEar {
  #mark = "";
  #readAtMs: number | null = null;
  #heardAtMs: number | null = null;

  /** `now` is monotonic milliseconds. Null until two reads have been made. */
  heardAgeMs(sets: readonly Row[][], now: number): number | null {
    const c = defaultChannel(sets);
    const mark =
      c === null ? "" : [c.Slave_received_heartbeats, c.Master_Log_File, c.Read_Master_Log_Pos].join();
    if (this.#readAtMs !== null && mark !== this.#mark)
      this.#heardAtMs = now - Math.min(now - this.#readAtMs, MARIADB_HEARTBEAT_MS);
    else if (this.#readAtMs === null) this.#heardAtMs = null;
    this.#mark = mark;
    this.#readAtMs = now;
    if (c === null || this.#heardAtMs === null) return null;
    return now - this.#heardAtMs;
  }
}
