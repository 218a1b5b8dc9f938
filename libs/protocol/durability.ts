/**
 * Where writes need not wait for acks (`available`, or `lossless` while it is degraded), no replica can prove anything, and a
 * failover may lose what was answered. Then it says how much at most, and is refused above the policy's limit.
 */
import type { ClusterState, DeclaredCluster, Loss, Policy, RefusalCode } from "@baton/contracts";
import type { GtidSet } from "@baton/mysql/gtid";

/** May a write be answered now before k replicas have it, because the policy says so? */
export function mayLose(declared: DeclaredCluster, state: Pick<ClusterState, "degraded">): boolean {
  return declared.policy.durability === "available" || state.degraded !== undefined;
}

export interface Pen {
  acks: number;
  /** So long a write waits for acks and then goes on without; null: for ever. */
  timeoutMs: number | null;
}

/** How writes are to wait on a primary that is opened. */
export function penOf(policy: Policy, state: Pick<ClusterState, "degraded">): Pen {
  const waits = policy.durability === "lossless" && state.degraded === undefined;
  return { acks: policy.acks, timeoutMs: waits ? null : policy.ackTimeoutMs };
}

/** What the old primary may have written since it was last read; null: nobody can say. */
export type Unseen = { ms: number; transactions: number } | null;

export interface LossFacts {
  primaryUuid: string;
  /** The old primary's own set, as last read. */
  primaryExecuted: GtidSet;
  /** All that the candidate holds, or will when it has caught up. */
  held: GtidSet;
  unseen: { ms: number; transactions: number };
  unfenced: boolean;
}

/** The most that this failover can lose. What the candidate holds beyond the last reading is not among the unseen any more. */
export function lossOf(facts: LossFacts): Loss {
  const known = facts.primaryExecuted.subtract(facts.held);
  const ahead = facts.held.subtract(facts.primaryExecuted).onlyFrom(facts.primaryUuid).count();
  const unseen = Math.max(0, Math.ceil(facts.unseen.transactions) - ahead);
  return {
    known: known.toString(),
    count: known.count(),
    unseen,
    unseenMs: facts.unseen.ms,
    atMost: known.count() + unseen,
    unfenced: facts.unfenced,
  };
}

/** `up to 37 transactions: 12 that were seen (uuid:1-12), and 25 at most that may have been written in the last 0.9 s` */
export function describeLoss(loss: Loss): string {
  const parts = [
    ...(loss.count > 0 ? [`${loss.count} that were seen (${loss.known})`] : []),
    ...(loss.unseen > 0
      ? [
          `${loss.unseen} at most that may have been written in the ${(loss.unseenMs / 1_000).toFixed(1)} s since it was last read`,
        ]
      : []),
  ];
  const most =
    loss.atMost === 0
      ? "no transaction that is known of"
      : `up to ${loss.atMost} transactions: ${parts.join(", and ")}`;
  return loss.unfenced
    ? `${most}; it is silent and could not be shut, what it still answers comes on top`
    : most;
}

/** Why this loss forbids the failover, or null. */
export function lossForbids(
  loss: Loss | null,
  policy: Policy,
): { refusal: Extract<RefusalCode, "loss-above-limit" | "loss-unknown">; reason: string } | null {
  if (loss === null)
    return {
      refusal: "loss-unknown",
      reason: "writes did not have to wait for acks, and nobody has seen how fast the primary wrote",
    };
  const { maxTransactions } = policy.loss;
  if (loss.atMost <= maxTransactions) return null;
  return {
    refusal: "loss-above-limit",
    reason: `it would lose ${describeLoss(loss)}; policy.loss.maxTransactions is ${maxTransactions}`,
  };
}
