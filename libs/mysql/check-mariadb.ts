/**
 * What the preflight asks and wants of a MariaDB node, in the shapes of check-node.ts. Not to be seen from a session, and so
 * not checked: skip_slave_start, and who besides Baton has READ ONLY ADMIN (docs/operate/mariadb.md).
 */
import type { Channels, Value } from "./check-node.ts";
import { MysqlFault } from "./fault.ts";
import { NEEDED, type Needed } from "./grants.ts";
import type { Session } from "./session.ts";
import { losslessNeeds, type Setting } from "./settings.ts";
import { filtersOf } from "./status-mariadb.ts";

const ER_SPECIFIC_ACCESS_DENIED = 1227;
const FOREVER_MS = 4_294_967_295;
const on = () => "ON";
const off = () => "OFF";
const now = { when: "now", dynamic: true } as const;
const durable = {
  ...now,
  level: losslessNeeds,
  wanted: () => "1",
  why: "A host that crashes may forget what was acknowledged, and come back as a primary that lacks what its replicas have.",
} as const;

export const MARIADB_SETTINGS: readonly Setting[] = [
  {
    name: "gtid_strict_mode",
    when: "boot",
    wanted: on,
    dynamic: true,
    why: "Only where sequence numbers never go back can the GTIDs of two nodes be compared.",
  },
  {
    ...now,
    name: "log_bin",
    wanted: on,
    dynamic: false,
    why: "Every node must be able to be the source of the others.",
  },
  {
    ...now,
    name: "log_slave_updates",
    wanted: on,
    dynamic: false,
    why: "A promoted replica must hand on what it had received, not only what it writes itself.",
  },
  {
    ...now,
    name: "binlog_format",
    wanted: () => "ROW",
    why: "Statements may do different things on different nodes.",
  },
  {
    name: "read_only",
    when: "boot",
    wanted: on,
    dynamic: true,
    why: "A primary that was replaced and starts again by itself would accept writes beside its successor.",
  },
  {
    ...now,
    name: "rpl_semi_sync_master_enabled",
    of: "primary",
    wanted: on,
    why: "Writes are acknowledged to clients before any replica has them.",
  },
  {
    ...now,
    name: "rpl_semi_sync_master_timeout",
    of: "primary",
    wanted: (policy) => (policy.durability === "lossless" ? String(FOREVER_MS) : String(policy.ackTimeoutMs)),
    why: "When it passes, the primary goes on without acks: in lossless durability never, else as policy.ackTimeoutMs says.",
  },
  {
    ...now,
    name: "rpl_semi_sync_master_wait_no_slave",
    of: "primary",
    wanted: on,
    why: "Else a primary without replicas stops waiting for them.",
  },
  {
    ...now,
    name: "rpl_semi_sync_master_wait_point",
    of: "primary",
    wanted: () => "AFTER_SYNC",
    why: "After AFTER_COMMIT, which is the default, others may have read a write that the failover loses.",
  },
  {
    ...now,
    name: "rpl_semi_sync_slave_enabled",
    of: "replica",
    wanted: on,
    why: "It acknowledges nothing, so it cannot vouch for anything.",
  },
  {
    ...now,
    name: "rpl_semi_sync_master_enabled",
    of: "replica",
    wanted: off,
    why: "On a replica it makes the replica's own applier wait for acks.",
  },
  {
    ...now,
    name: "rpl_semi_sync_slave_kill_conn_timeout",
    level: "advice",
    wanted: () => "1",
    fits: (value) => Number(value) === 1,
    why: "When a primary hangs, a failover waits so many seconds for STOP SLAVE; with 0 for ever.",
  },
  {
    ...now,
    name: "slave_net_timeout",
    wanted: () => "4",
    fits: (value) => Number(value) <= 10,
    why: "So long a receiver goes on believing in a source that is silent.",
  },
  {
    ...now,
    name: "slave_parallel_threads",
    level: "advice",
    wanted: () => "4",
    fits: (value) => Number(value) > 0,
    dynamic: false,
    why: "One applier alone syncs each transaction by itself: it falls behind, and a failover or switchover waits for it.",
  },
  { ...durable, name: "sync_binlog" },
  { ...durable, name: "innodb_flush_log_at_trx_commit" },
  {
    ...now,
    name: "slave_skip_errors",
    wanted: off,
    dynamic: false,
    why: "A replica that skips errors loses rows, while its GTIDs say that it has them.",
  },
];

export const MARIADB_NEEDED: readonly Needed[] = [
  { privileges: ["RELOAD"], on: "*.*", why: "RESET SLAVE ALL needs it." },
  ...NEEDED.filter((n) => n.privileges.includes("REPLICATION SLAVE")),
  {
    privileges: [
      "REPLICATION SLAVE ADMIN",
      "REPLICATION MASTER ADMIN",
      "CONNECTION ADMIN",
      "READ_ONLY ADMIN",
    ],
    on: "*.*",
    why: "Receivers are stopped and pointed elsewhere, read-only and semi-sync switched, client sessions ended.",
  },
  {
    privileges: ["BINLOG MONITOR", "SLAVE MONITOR", "PROCESS"],
    on: "*.*",
    why: "The status is read with them, and who holds writes up.",
  },
  ...NEEDED.filter((n) => n.on.startsWith("`baton`")),
];

/** There is nothing like SET PERSIST. */
export function mariadbMend(s: Setting, wanted: string): string {
  const line = `in my.cnf, section [mariadb]: ${s.name}=${wanted}`;
  if (!s.dynamic) return `${line}; then restart`;
  if (s.when === "boot") return line;
  const value = /^[0-9]+$|^ON$|^OFF$/.test(wanted) ? wanted : `'${wanted}'`;
  return `SET GLOBAL ${s.name} = ${value}`;
}

/** A value that was set while the server ran hides the one it starts with. */
export async function mariadbValues(session: Session, deadlineMs: number): Promise<Map<string, Value>> {
  const rows = await session.query<{ n: string; v: string; origin: string }>(
    `SELECT LOWER(VARIABLE_NAME) n, GLOBAL_VALUE v, GLOBAL_VALUE_ORIGIN origin
    FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_NAME IN (?)`,
    { params: [[...new Set(MARIADB_SETTINGS.map((s) => s.name))]], deadlineMs },
  );
  return new Map(rows.map(({ n, v, origin }) => [n, { now: v, boot: origin === "SQL" ? null : v }]));
}

export async function mariadbChannels(session: Session, deadlineMs: number): Promise<Channels> {
  const rows = await session.query("SHOW ALL SLAVES STATUS", { deadlineMs }).catch((error: unknown) => {
    // Without SLAVE MONITOR, which is a finding of its own.
    if (error instanceof MysqlFault && error.errno === ER_SPECIFIC_ACCESS_DENIED) return [];
    throw error;
  });
  const filters = rows.flatMap(filtersOf);
  return {
    channels: rows.map((row) => ({
      name: String(row.Connection_name),
      autoPosition: row.Using_Gtid === "Slave_Pos",
      heartbeatS: Number(row.Slave_heartbeat_period),
      retryS: Number(row.Connect_Retry),
      delayS: Number(row.SQL_Delay ?? 0),
    })),
    filters: [...new Set(filters.map(([name, value]) => `${name.toUpperCase()}=${value}`))],
  };
}

export const MARIADB_CHANNEL_MENDS = {
  forget: (name: string) => `STOP SLAVE '${name}'; RESET SLAVE '${name}' ALL`,
  byGtid: "STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID=slave_pos; START SLAVE",
  heartbeat: "STOP SLAVE; CHANGE MASTER TO MASTER_HEARTBEAT_PERIOD=0.2; START SLAVE",
  retry: "STOP SLAVE; CHANGE MASTER TO MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=0.2; START SLAVE",
  unfilter: (names: readonly string[]) =>
    `STOP SLAVE; ${[...new Set(names)].map((n) => `SET GLOBAL ${n.toLowerCase()} = ''`).join("; ")}; START SLAVE -- and take replicate_* out of my.cnf, and rebuild the replica: it lacks rows`,
};
