/**
 * The preflight of one node: its settings, its replication channel, and what Baton's accounts may do. Reads only. What
 * cannot be seen from a session is said to be so, and not taken for good.
 */
import type { ErrorCode, NodeRole, Policy } from "@baton/contracts";
import {
  MARIADB_CHANNEL_MENDS,
  MARIADB_NEEDED,
  MARIADB_SETTINGS,
  mariadbChannels,
  mariadbMend,
  mariadbValues,
} from "./check-mariadb.ts";
import type { ReplicationAccount } from "./dialect.ts";
import { MysqlFault } from "./fault.ts";
import { isMariadb } from "./flavour.ts";
import { missingPrivileges } from "./grants.ts";
import { type Access, openSession, type Row, type Session } from "./session.ts";
import { SETTINGS, type Setting } from "./settings.ts";

export interface NodeFinding {
  /** `error`: a failover would not be safe or not possible. `advice`: it would, and could be better. */
  level: "error" | "advice";
  code: ErrorCode;
  /** What is wrong, in one sentence with the value found. */
  found: string;
  why: string;
  /** The statement or configuration line that mends it. */
  mend: string;
}

export interface CheckOptions {
  /** What replicas log in with; when given it is tried on this node. */
  replication?: ReplicationAccount | undefined;
  tls?: Access["tls"] | undefined;
  deadlineMs?: number;
}

const DEADLINE_MS = 5_000;
/** The decider takes a receiver for deaf after 500 ms (decider.heartbeatSilentMs). */
const HEARTBEAT_MAX_S = 0.25;

/** As the server has it: what it runs with, and what it will start with (null: cannot be seen). */
export interface Value {
  now: string;
  boot: string | null;
}

/** All that the node lacks, in the order of SETTINGS; empty when it is fit. @throws MysqlFault */
export async function checkNode(
  session: Session,
  role: NodeRole,
  policy: Policy,
  o: CheckOptions = {},
): Promise<NodeFinding[]> {
  const deadlineMs = o.deadlineMs ?? DEADLINE_MS;
  const mariadb = isMariadb(session.version);
  const [missing, own] = await Promise.all([
    ownPrivileges(session, deadlineMs),
    mariadb ? mariadbValues(session, deadlineMs) : valuesOf(session, deadlineMs),
  ]);
  const account = o.replication ? await checkAccount(session, o.replication, o.tls, deadlineMs) : [];
  if (mariadb)
    return [
      ...missing,
      ...checkSettings(own, role, policy, { settings: MARIADB_SETTINGS, mend: mariadbMend }),
      ...checkLogged(await binlogScope(session, "SHOW MASTER STATUS", deadlineMs)),
      ...checkChannels(await mariadbChannels(session, deadlineMs), MARIADB_CHANNEL_MENDS),
      ...account,
    ];
  const channel = await channelsOf(session, deadlineMs);
  return [
    ...missing,
    ...checkPlugins(own),
    ...checkSettings(own, role, policy),
    ...checkLogged(await binlogScope(session, "SHOW BINARY LOG STATUS", deadlineMs)),
    ...checkChannels(channel),
    ...account,
  ];
}

/**
 * A value set while the server ran hides the one it started with, unless that was persisted: persisted values
 * win over files and the command line.
 * https://dev.mysql.com/doc/refman/9.7/en/performance-schema-variables-info-table.html
 */
async function valuesOf(session: Session, deadlineMs: number): Promise<Map<string, Value>> {
  const names = [...new Set(SETTINGS.map((s) => s.name)), "server_id", "persisted_globals_load"];
  const rows = await session.query<{ n: string; v: string; source: string; persisted: string | null }>(
    `SELECT LOWER(g.VARIABLE_NAME) n, g.VARIABLE_VALUE v, i.VARIABLE_SOURCE source, p.VARIABLE_VALUE persisted
    FROM performance_schema.global_variables g
    JOIN performance_schema.variables_info i ON i.VARIABLE_NAME = g.VARIABLE_NAME
    LEFT JOIN performance_schema.persisted_variables p ON p.VARIABLE_NAME = g.VARIABLE_NAME
    WHERE g.VARIABLE_NAME IN (?)`,
    { params: [names], deadlineMs },
  );
  const loads = rows.find((r) => r.n === "persisted_globals_load")?.v !== "OFF";
  return new Map(
    rows.map(({ n, v, source, persisted }) => {
      const boot = loads && persisted !== null ? persisted : source === "DYNAMIC" ? null : v;
      return [n, { now: v, boot }];
    }),
  );
}

export function checkPlugins(values: ReadonlyMap<string, Value>): NodeFinding[] {
  return (["source", "replica"] as const)
    .filter((side) => !values.has(`rpl_semi_sync_${side}_enabled`))
    .map((side) => ({
      level: "error",
      code: "E_NODE_SETTING",
      found: `The plugin rpl_semi_sync_${side} is not installed.`,
      why: "Any node may become the primary or an acker; lossless durability needs both plugins on each.",
      mend: `INSTALL PLUGIN rpl_semi_sync_${side} SONAME 'semisync_${side}.so'`,
    }));
}

/** Pure. A setting that the server does not know is left to `checkPlugins`. */
export function checkSettings(
  values: ReadonlyMap<string, Value>,
  role: NodeRole,
  policy: Policy,
  of: { settings: readonly Setting[]; mend: (setting: Setting, wanted: string) => string } = {
    settings: SETTINGS,
    mend: mendOf,
  },
): NodeFinding[] {
  return of.settings
    .filter((s) => s.of === undefined || s.of === role)
    .flatMap((setting): NodeFinding[] => {
      const value = values.get(setting.name);
      if (value === undefined) return [];
      const { name } = setting;
      const wanted = setting.wanted(policy);
      const fits = (v: string) => setting.fits?.(v, policy) ?? normal(v) === normal(wanted);
      const level = typeof setting.level === "function" ? setting.level(policy) : (setting.level ?? "error");
      const about = { code: "E_NODE_SETTING", why: setting.why, mend: of.mend(setting, wanted) } as const;
      if (setting.when === "now")
        return fits(value.now) ? [] : [{ ...about, level, found: `${name} is ${value.now}, not ${wanted}.` }];
      if (value.boot === null) {
        const found = `${name} was set to ${value.now} while the server ran; what it will start with cannot be seen from here and must be ${wanted}.`;
        return [{ ...about, level: "advice", found }];
      }
      const which = value.boot === value.now ? "is" : "will at the next start be";
      return fits(value.boot)
        ? []
        : [{ ...about, level, found: `${name} ${which} ${value.boot}, not ${wanted}.` }];
    });
}

/**
 * For the boot, PERSIST_ONLY: a running primary must not become read-only by being mended. For what holds
 * now, what the executor sets itself at a promotion need not be persisted.
 */
function mendOf(s: Setting, wanted: string): string {
  const value = /^[0-9]+$|^ON$|^OFF$/.test(wanted) ? wanted : `'${wanted}'`;
  if (s.name === "replica_skip_errors")
    return "Take replica-skip-errors out of my.cnf; then restart, and rebuild the node: it may lack rows";
  if (s.name === "log_bin") return "In my.cnf, section [mysqld]: log-bin=binlog; then restart";
  if (s.when === "boot" && s.dynamic) return `SET PERSIST_ONLY ${s.name} = ${value}`;
  if (!s.dynamic) return `SET PERSIST_ONLY ${s.name} = ${value}; then restart`;
  return s.of === undefined ? `SET PERSIST ${s.name} = ${value}` : `SET GLOBAL ${s.name} = ${value}`;
}

function normal(value: string): string {
  const upper = value.toUpperCase();
  return upper === "1" ? "ON" : upper === "0" ? "OFF" : upper;
}

/** Databases that the binary log is limited to, and those that it leaves out, as `option=name`. They are no variables. */
async function binlogScope(session: Session, sql: string, deadlineMs: number): Promise<string[]> {
  // Without the privilege, which is a finding of its own.
  const [row] = await session.query(sql, { deadlineMs }).catch((error: unknown) => {
    if (error instanceof MysqlFault && error.errno !== null) return [];
    throw error;
  });
  return [
    ["binlog-do-db", row?.Binlog_Do_DB],
    ["binlog-ignore-db", row?.Binlog_Ignore_DB],
  ].flatMap(([option, names]) => (String(names ?? "") === "" ? [] : [`${option}=${names}`]));
}

/** Pure. */
export function checkLogged(limits: readonly string[]): NodeFinding[] {
  return limits.map((limit) => ({
    level: "error",
    code: "E_NODE_SETTING",
    found: `The binary log leaves databases out: ${limit}.`,
    why: "What is not logged reaches no replica, and is lost with this node.",
    mend: `Take ${limit} out of my.cnf; then restart, and rebuild the other nodes from this one while it is the primary`,
  }));
}

export interface Channels {
  channels: { name: string; autoPosition: boolean; heartbeatS: number; retryS: number; delayS: number }[];
  filters: string[];
}

async function channelsOf(session: Session, deadlineMs: number): Promise<Channels> {
  const [channels = [], own = [], global = []] = await session.queryAll(
    `SELECT c.CHANNEL_NAME name, c.AUTO_POSITION autoPosition, c.HEARTBEAT_INTERVAL heartbeatS,
      c.CONNECTION_RETRY_INTERVAL retryS, a.DESIRED_DELAY delayS
      FROM performance_schema.replication_connection_configuration c
      LEFT JOIN performance_schema.replication_applier_configuration a ON a.CHANNEL_NAME = c.CHANNEL_NAME;
    SELECT FILTER_NAME name, FILTER_RULE rule FROM performance_schema.replication_applier_filters;
    SELECT FILTER_NAME name, FILTER_RULE rule FROM performance_schema.replication_applier_global_filters`,
    { deadlineMs },
  );
  const rule = (r: Row) => `${r.name}=${r.rule}`;
  return {
    channels: channels.map((c) => ({
      name: String(c.name),
      autoPosition: Number(c.autoPosition) === 1,
      heartbeatS: Number(c.heartbeatS),
      retryS: Number(c.retryS),
      delayS: Number(c.delayS ?? 0),
    })),
    // One that was taken away leaves a row with an empty rule (measured).
    filters: [...new Set([...own, ...global].filter((r) => String(r.rule ?? "") !== "").map(rule))],
  };
}

const CHANNEL_MENDS: typeof MARIADB_CHANNEL_MENDS = {
  forget: (name) => `STOP REPLICA FOR CHANNEL '${name}'; RESET REPLICA ALL FOR CHANNEL '${name}'`,
  // What it has received must be applied first: the change deletes it.
  byGtid:
    "STOP REPLICA IO_THREAD; SELECT WAIT_FOR_EXECUTED_GTID_SET(RECEIVED_TRANSACTION_SET) FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME = ''; STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=1; START REPLICA",
  heartbeat:
    "STOP REPLICA IO_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_HEARTBEAT_PERIOD=0.2; START REPLICA IO_THREAD",
  retry:
    "STOP REPLICA IO_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_CONNECT_RETRY=1, SOURCE_HEARTBEAT_PERIOD=0.2; START REPLICA IO_THREAD",
  unfilter: (names) =>
    `STOP REPLICA SQL_THREAD; CHANGE REPLICATION FILTER ${[...new Set(names)].map((n) => `${n} = ()`).join(", ")}; START REPLICA SQL_THREAD -- and take replicate-* out of my.cnf, and rebuild the replica: it lacks rows`,
};

/** Pure. */
export function checkChannels({ channels, filters }: Channels, mends = CHANNEL_MENDS): NodeFinding[] {
  const code = "E_NODE_SETTING" as const;
  const out: NodeFinding[] = [];
  for (const c of channels) {
    if (c.name !== "") {
      out.push({
        level: "error",
        code,
        found: `There is a replication channel called ${JSON.stringify(c.name)}.`,
        why: "Baton reads and leads the default channel only; another source's transactions look errant to it.",
        mend: mends.forget(c.name),
      });
      continue;
    }
    if (!c.autoPosition)
      out.push({
        level: "error",
        code,
        found: "The replica follows by file and position.",
        why: "Only by GTID can it go on from another source.",
        mend: mends.byGtid,
      });
    if (c.heartbeatS === 0 || c.heartbeatS > HEARTBEAT_MAX_S)
      out.push({
        level: "error",
        code,
        found:
          c.heartbeatS === 0
            ? "The source sends no heartbeats."
            : `The source sends a heartbeat only every ${c.heartbeatS} s.`,
        why: "A replica that hears nothing is a witness of its source's death: when all is quiet it must hear heartbeats.",
        mend: mends.heartbeat,
      });
    if (c.retryS > 1)
      out.push({
        level: "advice",
        code,
        found: `The receiver tries again only every ${c.retryS} s.`,
        why: "Writes wait until enough replicas are attached again.",
        mend: mends.retry,
      });
    if (c.delayS > 0)
      out.push({
        level: "advice",
        code,
        found: `The replica applies ${c.delayS} s late on purpose.`,
        why: "It would have to catch up before it could be promoted.",
        mend: "Declare it with promotion: never",
      });
  }
  if (filters.length > 0)
    out.push({
      level: "error",
      code,
      found: `Replication is filtered: ${filters.join(", ")}.`,
      why: "A promoted replica would lack what was filtered out, while its GTIDs say that it has it.",
      mend: mends.unfilter(filters.map((rule) => rule.split("=")[0] as string)),
    });
  return out;
}

async function ownPrivileges(session: Session, deadlineMs: number): Promise<NodeFinding[]> {
  const rows = await session.query("SHOW GRANTS", { deadlineMs });
  const missing = missingPrivileges(
    rows.map((row) => String(Object.values(row)[0])),
    isMariadb(session.version) ? MARIADB_NEEDED : undefined,
  );
  const [who] = await session.query<{ who: string }>("SELECT CURRENT_USER() who", { deadlineMs });
  const [user = "", host = ""] = String(who?.who).split(/@(?=[^@]*$)/);
  return missing.map(({ privileges, on, why, level }) => ({
    level: level ?? "error",
    code: "E_NODE_AUTH",
    found: `The account ${user}@${host} lacks ${privileges.join(", ")} on ${on}.`,
    why,
    mend: `GRANT ${privileges.join(", ")} ON ${on} TO '${user}'@'${host}'`,
  }));
}

/** Logs in as a replica would; from here, which is not where a replica is. */
async function checkAccount(
  session: Session,
  account: ReplicationAccount,
  tls: Access["tls"],
  deadlineMs: number,
): Promise<NodeFinding[]> {
  const access = { ...account, ...(tls ? { tls } : {}) };
  const mend = `CREATE USER '${account.user}'@'%' IDENTIFIED BY '…'; GRANT REPLICATION SLAVE ON *.* TO '${account.user}'@'%'`;
  const why = "Replicas log in with it to whoever is the primary.";
  try {
    const replica = await openSession(session.target, access, {
      connectTimeoutMs: deadlineMs,
      name: "baton-check",
    });
    try {
      const grants = (await replica.query("SHOW GRANTS", { deadlineMs })).map((r) =>
        String(Object.values(r)[0]),
      );
      if (grants.some((g) => /^GRANT .*\b(REPLICATION SLAVE|ALL PRIVILEGES)\b.* ON \*\.\* TO/.test(g)))
        return [];
      return [
        {
          level: "error",
          code: "E_NODE_AUTH",
          found: `The replication account ${account.user} lacks REPLICATION SLAVE.`,
          why,
          mend: `GRANT REPLICATION SLAVE ON *.* TO '${account.user}'@'%'`,
        },
      ];
    } finally {
      replica.destroy();
    }
  } catch (error) {
    if (!(error instanceof MysqlFault)) throw error;
    const found = `The replication account ${account.user} cannot log in from here (${error.message}); whether it can from the replicas cannot be seen from here.`;
    return [{ level: error.outcome === "auth" ? "error" : "advice", code: "E_NODE_AUTH", found, why, mend }];
  }
}
