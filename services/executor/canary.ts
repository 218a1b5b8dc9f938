/** Proof after the fact: a write on the new primary, acknowledged, and read back from an acker, checksums compared. */

import { beside } from "./beside.ts";
import type { Hand } from "./hand.ts";
import type { Operation, StepResult } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/**
 * Not by the hand: a write that waits for an ack which never comes keeps its session, killed or not, and with it the node's lock, and nobody
 * could shut this server any more. Nothing hangs on this row: a server that was replaced meanwhile is read-only, and refuses it.
 */
function write(op: Operation, node: string, proveMs: number) {
  return beside(op, node, (look) => {
    op.assertMine();
    const canary = { cluster: op.cluster, epoch: op.epoch, operation: op.intent.operation };
    return look.run(look.dialect.writeCanary(canary), proveMs);
  });
}

export async function proveByCanary(
  op: Operation,
  primary: Hand,
  others: readonly string[],
): Promise<StepResult<null>> {
  const { proveMs } = op.declared.policy.deadlines;
  const d = primary.dialect;
  const written = await write(op, primary.node, proveMs);
  const row = written.at(-1)?.[0];
  const executed = String(row?.executed ?? "");
  const checksum = String(row?.checksum ?? "");
  const read: Record<string, string> = {};
  const failures: string[] = [];
  await Promise.any(
    others.map(async (node) => {
      try {
        const hand = await op.hand(node, proveMs);
        const rows = await hand.run(
          [d.waitApplied(executed, proveMs), d.readCanary(op.cluster)],
          proveMs + 1_000,
        );
        if (!d.applied(rows[0] ?? [])) throw new Error(`not applied within ${proveMs} ms`);
        read[node] = String(rows[1]?.[0]?.checksum ?? "");
        if (read[node] !== checksum) throw new Error(`checksum ${read[node]} where ${checksum} was written`);
      } catch (error) {
        failures.push(`${node}: ${error instanceof Error ? error.message : error}`);
        throw error;
      }
    }),
  ).catch(() => {
    throw new Refusal(
      "deadline-exceeded",
      `the canary was not read on any replica: ${failures.join("; ") || "there is none"}`,
      { read },
    );
  });
  return {
    value: null,
    summary: `a write on ${primary.node} was acknowledged and read on ${Object.keys(read).join(", ")}`,
    detail: { checksum, read, executed },
  };
}
