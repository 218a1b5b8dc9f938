/** What the servers' flavour forbids, whatever else holds. Pure. */
import type { NodeStatus, Policy, RefusalCode } from "@baton/contracts";

/** Acks that a write can be made to wait for; null: as many as the policy says. */
const MOST_ACKS: Record<NodeStatus["flavour"], number | null> = { mysql: null, mariadb: 1 };

export interface FlavourRefusal {
  refusal: Extract<RefusalCode, "mixed-flavours" | "flavour-cannot">;
  reason: string;
}

/** May Baton lead these servers together, as the policy says? Null: nothing speaks against it. */
export function flavourRefusal(
  policy: Policy,
  statuses: ReadonlyMap<string, Pick<NodeStatus, "flavour">>,
): FlavourRefusal | null {
  const by = Map.groupBy(statuses, ([, status]) => status.flavour);
  if (by.size > 1)
    return {
      refusal: "mixed-flavours",
      reason: [...by].map(([flavour, of]) => `${of.map(([n]) => n).join(", ")}: ${flavour}`).join("; "),
    };
  const [flavour] = by.keys();
  // What such a failover may lose is counted in transactions, and MariaDB's positions do not count them.
  if (flavour === "mariadb" && (policy.durability !== "lossless" || policy.onAckLoss !== "wait"))
    return {
      refusal: "flavour-cannot",
      reason: `policy.durability ${policy.durability} with onAckLoss ${policy.onAckLoss}, and of mariadb only lossless and wait are supported`,
    };
  const most = flavour === undefined ? null : MOST_ACKS[flavour];
  if (most === null || policy.acks <= most) return null;
  return {
    refusal: "flavour-cannot",
    reason: `policy.acks is ${policy.acks}, and a write of ${flavour} waits for ${most} ack at most`,
  };
}
