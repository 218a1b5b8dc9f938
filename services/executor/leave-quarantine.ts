/**
 * The way out of quarantine. A failover counts only on nodes outside it, so an ack from inside would be for a write that may be
 * lost: the node follows without acknowledging first, then the state counts it, and only then does it acknowledge.
 */
import { sourceOf } from "./carry-forward.ts";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { untilReceiving } from "./rejoin.ts";

/** For a node that stands still. Its old channel goes with its relay logs, which a copied node never had. */
export async function followUnacknowledged(op: Operation, hand: Hand, primary: string): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const { target, account, tls } = sourceOf(op, primary);
  const d = hand.dialect;
  await hand.run(
    [...d.isolate, d.resetReplication, d.follow(target, account, { tls }), d.startReplication],
    openMs,
  );
  await untilReceiving(op, hand, openMs);
}

/** The compare-and-set, then the acks. A node that is out of quarantine already only gets what is missing. */
export async function beginAcknowledging(op: Operation, hand: Hand): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  if (op.state.quarantined.includes(hand.node))
    await op.change({ ...op.state, quarantined: op.state.quarantined.filter((n) => n !== hand.node) });
  const d = hand.dialect;
  await hand.run([d.stopReceiver, ...d.becomeReplica, d.startReplication], openMs);
  await untilReceiving(op, hand, openMs);
}
