/**
 * What Baton sends to a server, read back from its SQL: the statements are the real dialect's own texts, so one that is
 * new or changed there is either understood here or stops the simulation.
 */
import type { EpochRow } from "@baton/contracts";
import { mysql84 } from "./dialect.ts";

export type Statement =
  | { type: "select"; what: Select }
  | { type: "set-global"; name: string; value: string }
  | { type: "let-waiters-go" }
  | { type: "set-session"; name: string; value: string }
  | { type: "replica"; verb: "start" | "stop"; receiver: boolean; applier: boolean }
  | { type: "reset-replica" }
  | { type: "change-source"; host: string; port: number; autoPosition: boolean }
  | { type: "wait"; set: string; timeoutMs: number }
  | { type: "kill"; id: number }
  | { type: "get-lock"; name: string; timeoutS: number; columns: { lock: string; as: string }[] }
  | { type: "release-lock"; name: string }
  | { type: "write"; canary: { epoch: number; operation: string } | null; row?: EpochRow };

export type Select =
  | "version"
  | "status"
  | "half-received"
  | "owned"
  | "closing"
  | "still-waited-for"
  | "drain-holders"
  | "open-writers"
  | "obstacles"
  | "client-sessions"
  | "sessions"
  | "position"
  | "channel-settings"
  | "relay-log"
  | "canary"
  | "epoch";

const EXACT = new Map<string, Statement>([
  ["SELECT VERSION() AS version", { type: "select", what: "version" }],
  [mysql84.statusSql, { type: "select", what: "status" }],
  [mysql84.halfReceived, { type: "select", what: "half-received" }],
  [mysql84.ownedSql, { type: "select", what: "owned" }],
  [mysql84.closingWrites, { type: "select", what: "closing" }],
  [mysql84.letWaitersGo[0] as string, { type: "let-waiters-go" }],
  [mysql84.letWaitersGo[1] as string, { type: "select", what: "still-waited-for" }],
  [mysql84.drainHolders, { type: "select", what: "drain-holders" }],
  [mysql84.openWriters, { type: "select", what: "open-writers" }],
  [mysql84.obstacles, { type: "select", what: "obstacles" }],
  [mysql84.clientSessions, { type: "select", what: "client-sessions" }],
  [mysql84.readEpoch, { type: "select", what: "epoch" }],
  [mysql84.position, { type: "select", what: "position" }],
  [mysql84.channelSettings as string, { type: "select", what: "channel-settings" }],
  ...(mysql84.relayLogs?.place ?? []).map((sql): [string, Statement] => [
    sql,
    { type: "select", what: "relay-log" },
  ]),
  [mysql84.stopReceiver, { type: "replica", verb: "stop", receiver: true, applier: false }],
  [mysql84.startReceiver, { type: "replica", verb: "start", receiver: true, applier: false }],
  [mysql84.startApplier, { type: "replica", verb: "start", receiver: false, applier: true }],
  [mysql84.startReplication, { type: "replica", verb: "start", receiver: true, applier: true }],
  [mysql84.stopReplication, { type: "replica", verb: "stop", receiver: true, applier: true }],
  [mysql84.resetReplication, { type: "reset-replica" }],
]);

const lockIn = (sql: string): string => /_LOCK\('([^']+)'/.exec(sql)?.[1] ?? "";
export const NODE_LOCK = lockIn(mysql84.releaseNodeLock);
export const HELPER_LOCK = lockIn(mysql84.releaseHelperLock);

type Reader = (match: RegExpExecArray) => Statement;

const FORMS: [RegExp, Reader][] = [
  [
    /^SET GLOBAL (\w+)='?([^']*?)'?$/,
    (m) => ({ type: "set-global", name: m[1] as string, value: m[2] as string }),
  ],
  [
    /^SET SESSION (\w+)='?([^']*?)'?$/,
    (m) => ({ type: "set-session", name: m[1] as string, value: m[2] as string }),
  ],
  [
    /^SELECT WAIT_FOR_EXECUTED_GTID_SET\('([^']*)', ([\d.]+)\) AS late$/,
    (m) => ({ type: "wait", set: m[1] as string, timeoutMs: Number(m[2]) * 1_000 }),
  ],
  [
    /^CHANGE REPLICATION SOURCE TO (.*)SOURCE_HOST='([^']*)', SOURCE_PORT=(\d+)/,
    (m) => ({
      type: "change-source",
      host: m[2] as string,
      port: Number(m[3]),
      autoPosition: (m[1] as string).includes("SOURCE_AUTO_POSITION=1"),
    }),
  ],
  [/^KILL CONNECTION (\d+)$/, (m) => ({ type: "kill", id: Number(m[1]) })],
  [
    /^SELECT GET_LOCK\('([^']+)', (\d+)\) AS taken((?:,\s*IS_USED_LOCK\('[^']+'\) AS \w+)*)$/,
    (m) => ({
      type: "get-lock",
      name: m[1] as string,
      timeoutS: Number(m[2]),
      columns: [...(m[3] as string).matchAll(/IS_USED_LOCK\('([^']+)'\) AS (\w+)/g)].map((c) => ({
        lock: c[1] as string,
        as: c[2] as string,
      })),
    }),
  ],
  [/^SELECT RELEASE_LOCK\('([^']+)'\)$/, (m) => ({ type: "release-lock", name: m[1] as string })],
  [/^CREATE (DATABASE|TABLE) IF NOT EXISTS baton/, () => ({ type: "write", canary: null })],
  [
    /^REPLACE INTO baton\.canary VALUES \('[^']*', (\d+), '([^']*)'/,
    (m) => ({ type: "write", canary: { epoch: Number(m[1]), operation: m[2] as string } }),
  ],
  [
    /^REPLACE INTO baton\.epoch SELECT 1, '([^']*)', '([^']*)', (\d+), '([^']*)'/,
    (m) => ({
      type: "write",
      canary: null,
      row: {
        installation: m[1] as string,
        cluster: m[2] as string,
        epoch: Number(m[3]),
        primaryUuid: m[4] as string,
      },
    }),
  ],
  [/^SELECT PROCESSLIST_ID AS id, PROCESSLIST_USER AS user/, () => ({ type: "select", what: "sessions" })],
  [/^SELECT SHA2\(.*FROM baton\.canary/s, () => ({ type: "select", what: "canary" })],
];

const known = new Map<string, Statement[]>();
/** Sets and ids make ever new texts. */
const MOST_KNOWN = 2_000;

/** @throws Error for a statement that the model does not know */
export function read(sql: string): Statement[] {
  let statements = known.get(sql);
  if (statements === undefined) {
    statements = sql.split(";").map(readOne);
    if (known.size >= MOST_KNOWN) known.clear();
    known.set(sql, statements);
  }
  return statements;
}

function readOne(sql: string): Statement {
  const exact = EXACT.get(sql);
  if (exact !== undefined) return exact;
  const text = sql.trim();
  for (const [form, reader] of FORMS) {
    const match = form.exec(text);
    if (match !== null) return reader(match);
  }
  throw new Error(`the model server does not know: ${text}`);
}
