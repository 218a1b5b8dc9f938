/**
 * One fault of one node is mended where it stands: replication is started, semi-sync settings are set, a lost ack is replaced, an errant
 * transaction gets its place in the history. What the decider saw is looked at again on the node itself, under its lock.
 * What needs a node to be shut and compared is rejoin.ts.
 */
import { end } from "@baton/protocol";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { injectEmpty } from "./repair-drift.ts";
import { mendPrimary } from "./repair-primary.ts";
import { mendReplica } from "./repair-replica.ts";

export async function repair(op: Operation): Promise<void> {
  const { node, repair: code } = op.intent;
  if (code === undefined) throw new Error(`${op.intent.operation} does not say what it mends`);
  let done: string;
  try {
    if (op.intent.inject === true) done = await injectEmpty(op, node);
    else if (node === op.state.primary) done = await mendPrimary(op, code);
    else done = await mendReplica(op, code);
    await op.change(end(op.state, "completed", null, op.ports.nowUnixMs()));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    await giveUp(op, error);
    return;
  }
  op.event({
    type: "node-repaired",
    node,
    outcome: "completed",
    code: null,
    summary: `${code} on ${node}: ${done}`,
    primary: null,
    previous: null,
    next: null,
    detail: { repair: code },
  });
  op.alert({
    severity: "info",
    code: "node-repaired",
    title: `${op.cluster}: ${code} on ${node} is mended`,
    summary: `${op.intent.reason} ${done}`,
    action: "Nothing now. Find out how it came about.",
    node,
  });
}

async function giveUp(op: Operation, why: Refusal): Promise<void> {
  const { node, repair: code } = op.intent;
  await op.change(end(op.state, "blocked", why.code, op.ports.nowUnixMs()));
  const next =
    why.code === "cannot-follow" || why.code === "not-clean"
      ? `baton rebuild ${op.cluster} ${node}`
      : `baton repair ${op.cluster} ${node}`;
  op.event({
    type: "operation-ended",
    node,
    outcome: "blocked",
    code: why.code,
    summary: `${code} on ${node} could not be mended: ${why.message}`,
    primary: null,
    previous: null,
    next,
    detail: why.detail as Record<string, never>,
  });
  op.alert({
    severity: "warning",
    code: why.code,
    title: `${op.cluster}: ${code} on ${node} could not be mended (${why.code})`,
    summary: why.message,
    action: `Remove the reason, then: ${next}. Baton tries again by itself as policy.repairs allows.`,
    node,
  });
}
