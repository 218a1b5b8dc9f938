/** What the situations of the corpus are made of: held sessions, and faults that know how to end. */
import { openSession, type Session } from "@baton/mysql";
import type { Stage } from "../stage.ts";

export type Undo = () => Promise<void>;

const QUERY_MS = 30_000;

/** A session that stays open, as an account of the lab. The caller ends it. */
export function hold(stage: Stage, node: string, account: "app" | "baton" = "app"): Promise<Session> {
  const { host, port } = stage.lab.node(node);
  return openSession({ host, port }, stage.lab.accounts[account], {
    connectTimeoutMs: 5_000,
    name: "corpus",
  });
}

/** Runs statements in a session of their own, which keeps what they hold until it is undone. */
export async function holding(
  stage: Stage,
  node: string,
  sql: string,
  account: "app" | "baton" = "app",
): Promise<Undo> {
  const session = await hold(stage, node, account);
  await session.queryAll(sql, { deadlineMs: QUERY_MS });
  return () => session.end();
}

/** `change` as root, `back` when it is undone. */
export async function setting(stage: Stage, node: string, change: string, back: string): Promise<Undo> {
  await stage.lab.node(node).query(change);
  return async () => void (await stage.lab.node(node).query(back));
}

/** One after the other; undone the last first, also when one cannot be made. */
export async function all(...faults: (() => Promise<Undo>)[]): Promise<Undo> {
  const undos: Undo[] = [];
  const undo = async () => {
    for (const each of undos) await each();
  };
  try {
    for (const fault of faults) undos.unshift(await fault());
  } catch (error) {
    await undo();
    throw error;
  }
  return undo;
}

/** KILL of every connection of the account on the node. A replica's own threads bear the name of who started it, and are none. */
export async function killSessions(stage: Stage, node: string, user: string): Promise<void> {
  const lab = stage.lab.node(node);
  const rows = await lab.query<{ id: number }>(
    "SELECT processlist_id id FROM performance_schema.threads WHERE processlist_user = ? AND name = 'thread/sql/one_connection'",
    [user],
  );
  for (const { id } of rows) await lab.query(`KILL ${id}`).catch(() => undefined);
}

/** On this node only, not replicated; a replica's super_read_only is lifted for that moment. */
export function unlogged(sql: string, o: { replica?: boolean } = {}): string {
  const alone = `SET sql_log_bin=0; ${sql}; SET sql_log_bin=1`;
  return o.replica ? `SET GLOBAL super_read_only=OFF; ${alone}; SET GLOBAL super_read_only=ON` : alone;
}

export const pauseFor = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export const replicas = (stage: Stage, primary: string) =>
  stage.lab.nodes.map((n) => n.name).filter((n) => n !== primary);
