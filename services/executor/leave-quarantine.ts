/**
 * The way out of quarantine. A failover counts only on nodes outside it, so an ack from inside would be for a write that may be
 * lost: the node follows without acknowledging first, then the state counts it, and only then does it acknowledge.
 */
import { pointAt } from "./channel.ts";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { untilReceiving } from "./receiving.ts";

/** Of a copied node the old channel goes with its relay logs, which it never had. */
export async function followUnacknowledged(op: Operation, hand: Hand, primary: string): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const replaced = op.state.unbuilt?.[hand.node] !== undefined;
  await pointAt(op, hand, primary, { roles: hand.dialect.isolate, start: "replication", replaced });
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
