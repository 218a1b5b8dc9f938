/** Puts a receiver back that an operation stopped and did not need to. */
import { isSameStart } from "@baton/protocol";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { assertNotStranded } from "./relay-logs.ts";

/**
 * A server that has restarted since the intent was given stands still as a whole: with its receiver alone started it would look as if
 * nothing had happened, and its applier and its acks would stay off. It is led home by the decider.
 */
export async function startAgain(op: Operation, hand: Hand): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const before = op.intent.nodes[hand.node];
  const status = await hand.status(openMs);
  if (before != null && !isSameStart(before.startedUnixS, status.startedUnixS)) return;
  if (!hand.dialect.keepsRelayLogs) assertNotStranded(hand.node, status);
  op.assertMine();
  await hand.run(hand.dialect.startReceiver, openMs);
}
