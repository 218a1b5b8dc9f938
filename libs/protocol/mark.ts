/**
 * The high-water mark: what the primary was last seen to have executed. Whoever is opened, by whatever operation, must hold it: every
 * other proof rests on who acknowledges, on what disks keep and on what settings say, and each of these was seen to be untrue
 * (SAFETY.md, "What the promises rest on").
 */
import type { ClusterState, Intent, Loss } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";

/** The mark without what a person has given up: in the state, or with this order. */
export function requiredOf(
  mark: GtidSet,
  state: Pick<ClusterState, "forgone">,
  accepted: GtidSet = GtidSet.empty,
): GtidSet {
  return mark.subtract(GtidSet.parse(state.forgone?.gtids ?? "")).subtract(accepted);
}

/**
 * The state of an opening with which writes are given up: by a person by name, or by the policy, which lets a failover go on with a stated loss. What the opened node holds need not be given up any more: a server that
 * lost its tail uses the same GTIDs again, and then they are somebody's acknowledged writes.
 */
export function forgoing(
  state: ClusterState,
  intent: Pick<Intent, "acceptLoss">,
  held: GtidSet,
  nowUnixMs: number,
  loss: Loss | null = null,
): ClusterState {
  const { forgone: before, ...rest } = state;
  const given = GtidSet.parse(intent.acceptLoss?.gtids ?? "")
    .union(GtidSet.parse(loss?.known ?? ""))
    .subtract(held);
  const gtids = GtidSet.parse(before?.gtids ?? "")
    .subtract(held)
    .union(given);
  if (gtids.isEmpty()) return rest;
  const { by, atUnixMs } =
    before !== undefined && given.isEmpty()
      ? before
      : { by: intent.acceptLoss?.by ?? "policy.loss", atUnixMs: nowUnixMs };
  return { ...rest, forgone: { gtids: gtids.toString(), by, atUnixMs } };
}

export interface MarkMissed {
  missing: GtidSet;
  /** `n2 lacks 40 transactions (…) that the primary was seen to have executed; n3 holds them` */
  reason: string;
}

/** What a node that is to be opened lacks of the mark, and who has it; null: it lacks nothing. */
export function markMissed(
  node: string,
  held: GtidSet,
  required: GtidSet,
  others: Iterable<readonly [string, GtidSet]> = [],
): MarkMissed | null {
  const missing = required.subtract(held);
  if (missing.isEmpty()) return null;
  return { missing, reason: `${describeMissing(node, missing)}; ${describeHolders(missing, others)}` };
}

export function describeMissing(node: string, missing: GtidSet): string {
  const count = missing.count();
  return `${node} lacks ${count} transaction${count === 1 ? "" : "s"} (${missing}) that the primary was seen to have executed`;
}

function describeHolders(missing: GtidSet, others: Iterable<readonly [string, GtidSet]>): string {
  const all: string[] = [];
  const some: string[] = [];
  for (const [node, held] of others) {
    const lacks = missing.subtract(held);
    if (lacks.isEmpty()) all.push(node);
    else if (lacks.count() < missing.count()) some.push(`${node} (but ${lacks})`);
  }
  const holders = all.length > 0 ? all : some;
  if (holders.length === 0) return "no node that was read holds them";
  return `${holders.join(", ")} ${holders.length === 1 ? "holds" : "hold"} them`;
}
