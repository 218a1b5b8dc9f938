/**
 * The one gate that every opening passes, of whatever operation: a node that takes writes holds all that the primary was ever seen to
 * have executed, or it stays closed (SAFETY.md, the high-water mark). Nothing else in this service makes a node writable.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { heldBy, markMissed, penOf, requiredOf } from "@baton/protocol";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/**
 * Semi-sync first, then writes. `held` was read of the node in this operation, after anything could be taken from it: a candidate's
 * before the commit point, a primary's now. `first`: statements that go before, in the same round trip.
 * @throws Refusal mark-missed, with nothing changed
 */
export async function openWrites(
  op: Operation,
  hand: Hand,
  held: GtidSet,
  first: readonly string[] = [],
): Promise<void> {
  assertHoldsMark(op, hand.node, held);
  const { policy } = op.declared;
  await hand.run([...first, ...hand.dialect.openPrimary(penOf(policy, op.state))], policy.deadlines.openMs);
}

/** @throws Refusal mark-missed, naming what is missing and who was last seen to hold it */
export function assertHoldsMark(op: Operation, node: string, held: GtidSet): void {
  const missed = markMissed(node, held, requiredNow(op), lastSeen(op, node));
  if (missed === null) return;
  throw new Refusal(
    "mark-missed",
    `${missed.reason}. Bring back who holds them, or give them up: baton failover ${op.cluster} --to ${node} --accept-loss '${missed.missing}'`,
    { missing: missed.missing.toString(), held: held.toString() },
  );
}

function requiredNow(op: Operation): GtidSet {
  const { intent, state, required } = op;
  // What a failover has stated as its loss needs nobody hold any more.
  if (state.operation?.loss !== undefined) return GtidSet.empty;
  if (intent.kind !== "reopen") return required;
  // A server that has restarted has committed all that its binary log held. What replicas have of its own, and it has not, its disk has
  // lost; opened, it would give the same GTIDs to other writes.
  const own = [...lastSeen(op, intent.node)].reduce(
    (all, [, held]) => all.union(held.onlyFrom(state.primaryUuid)),
    GtidSet.empty,
  );
  return required.union(requiredOf(own, state, GtidSet.parse(intent.acceptLoss?.gtids ?? "")));
}

function* lastSeen(op: Operation, but: string): Iterable<readonly [string, GtidSet]> {
  for (const [node, status] of Object.entries(op.intent.nodes) as [string, NodeStatus | null][])
    if (node !== but && status !== null) yield [node, heldBy(status)];
}
