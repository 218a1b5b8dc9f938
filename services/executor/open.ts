/**
 * The one gate that every opening passes, of whatever operation: a node that takes writes holds all that the primary was ever seen to
 * have executed, or it stays closed (SAFETY.md, the high-water mark). Nothing else in this service makes a node writable.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { heldBy, isSameStart, markMissed, penOf, requiredOf } from "@baton/protocol";
import { beside } from "./beside.ts";
import type { Hand } from "./hand.ts";
import { type Operation, within } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/** Others that answer later are taken as away: an opening does not wait for hosts that have vanished. */
const LOOK_MS = 500;

/**
 * Opens the candidate of an epoch. Semi-sync first, then writes. `held` was read of the node in this operation, after anything could be
 * taken from it. `first`: statements that go before, in the same round trip. @throws Refusal mark-missed, with nothing changed
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

/**
 * Opens the state's own primary again, whose status was read just now. A server that has restarted has committed all that its binary log
 * held: what other nodes have of its own, and it has not, its disk has lost since the last mark; opened, it would give the same GTIDs to
 * other writes. @throws Refusal mark-missed, with nothing changed
 */
export async function openAgain(op: Operation, hand: Hand, status: NodeStatus): Promise<void> {
  const held = heldBy(status);
  const opened = op.state.primaryStartedUnixS;
  if (status.readOnly && (opened === undefined || !isSameStart(opened, status.startedUnixS))) {
    const others = await readOthers(op, hand.node);
    const own = others.reduce((all, [, of]) => all.union(of.onlyFrom(status.serverUuid)), GtidSet.empty);
    const accepted = GtidSet.parse(op.intent.acceptLoss?.gtids ?? "");
    refuseMissing(op, hand.node, held, requiredOf(own, op.state, accepted), others);
  }
  op.assertMine();
  await openWrites(op, hand, held);
}

async function readOthers(op: Operation, but: string): Promise<[string, GtidSet][]> {
  // What a quarantined node holds beyond the others is outside the history.
  const names = Object.keys(op.declared.nodes).filter(
    (node) => node !== but && !op.state.quarantined.includes(node),
  );
  const read = await Promise.all(
    names.map(async (node) => {
      const look = beside(op, node, (hand) => hand.status(LOOK_MS)).catch(() => null);
      return [node, await within(look, LOOK_MS)] as const;
    }),
  );
  return read.flatMap(([node, status]) =>
    status === null ? [] : [[node, heldBy(status)] as [string, GtidSet]],
  );
}

/** @throws Refusal mark-missed, naming what is missing and who was last seen to hold it */
export function assertHoldsMark(op: Operation, node: string, held: GtidSet): void {
  // What a failover has stated as its loss needs nobody hold any more.
  const required = op.state.operation?.loss === undefined ? op.required : GtidSet.empty;
  refuseMissing(op, node, held, required, lastSeen(op, node));
}

function refuseMissing(
  op: Operation,
  node: string,
  held: GtidSet,
  required: GtidSet,
  others: Iterable<readonly [string, GtidSet]>,
): void {
  const missed = markMissed(node, held, required, others);
  if (missed === null) return;
  throw new Refusal(
    "mark-missed",
    `${missed.reason}. Bring back who holds them, or give them up: baton failover ${op.cluster} --to ${node} --accept-loss '${missed.missing}'`,
    { missing: missed.missing.toString(), held: held.toString() },
  );
}

function* lastSeen(op: Operation, but: string): Iterable<readonly [string, GtidSet]> {
  for (const [node, status] of Object.entries(op.intent.nodes) as [string, NodeStatus | null][])
    if (node !== but && status !== null) yield [node, heldBy(status)];
}
