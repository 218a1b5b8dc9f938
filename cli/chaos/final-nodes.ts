/** The nodes at the end of a round, read over their socket files: no cut can hide them. */

import { type Lab, type LabNode, monotonicMs } from "@baton/lab";
import type { FinalNode, RegisterRow } from "@baton/lab/chaos";
import { GtidSet } from "@baton/mysql/gtid";

const PAUSE_MS = 100;

/**
 * Reads all of them until they hold the same history, or until the time is over; those that answer, when there is no time (0). `tags`
 * begin the ids of the round's writers, `registers` its keys.
 */
export async function finalNodes(
  lab: Lab,
  primary: string,
  tags: readonly string[],
  registers: string,
  timeoutMs: number,
): Promise<FinalNode[]> {
  const deadline = monotonicMs() + timeoutMs;
  for (;;) {
    const read = lab.nodes.map((node) => readNode(node, node.name === primary, tags, registers));
    if (timeoutMs === 0) {
      const answers = await Promise.allSettled(read);
      return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
    }
    const nodes = await Promise.all(read);
    const histories = new Set(nodes.map(({ executed }) => executed));
    if (histories.size === 1 || monotonicMs() > deadline) return nodes;
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
}

async function readNode(
  node: LabNode,
  primary: boolean,
  tags: readonly string[],
  registers: string,
): Promise<FinalNode> {
  const [settings] = await node.query<Record<string, string | number>>(
    `SELECT @@server_uuid AS server, @@GLOBAL.gtid_executed AS executed, @@GLOBAL.read_only AS readOnly,
      @@GLOBAL.super_read_only AS superReadOnly, @@GLOBAL.rpl_semi_sync_source_enabled AS source,
      @@GLOBAL.rpl_semi_sync_replica_enabled AS replica`,
  );
  const [channel] = await node.query<{ host: string; receiver: string; applier: string }>(
    `SELECT c.HOST AS host, s.SERVICE_STATE AS receiver, a.SERVICE_STATE AS applier
      FROM performance_schema.replication_connection_configuration c
      JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME)
      JOIN performance_schema.replication_applier_status a USING (CHANNEL_NAME)`,
  );
  const rows = new Set<string>();
  for (const tag of tags) {
    for (const { id } of await node.query<{ id: string }>("SELECT id FROM app.writes WHERE id LIKE ?", [
      `${tag}-%`,
    ]))
      rows.add(id);
  }
  const held = await node.query<RegisterRow & { k: string }>(
    "SELECT k, version, value, server FROM app.registers WHERE k LIKE ?",
    [`${registers}-%`],
  );
  const on = (name: string) => Number(settings?.[name]) === 1;
  return {
    node: node.name,
    server: String(settings?.server),
    primary,
    rows,
    registers: new Map(held.map(({ k, ...row }) => [k, row])),
    executed: GtidSet.parse(String(settings?.executed ?? "")).toString(),
    readOnly: on("readOnly"),
    superReadOnly: on("superReadOnly"),
    semiSyncSource: on("source"),
    semiSyncReplica: on("replica"),
    channel: channel ? { host: channel.host, receiver: channel.receiver, applier: channel.applier } : null,
  };
}
