/**
 * Two nodes have written: whose history is the cluster's? Pure. A write is acknowledged when k others hold it, so the lawful
 * history is one that contains every write that k others hold, whoever took it on. What is left out of it was answered by its own
 * server alone, if at all, and is archived.
 */
import type { GtidSet } from "@baton/mysql/gtid";

export interface SplitFacts {
  /** The primary that the state names: of two histories that would do, its own is kept. */
  primary: string;
  /** The other nodes that were writable, or are followed by others. */
  rivals: readonly string[];
  /** received ∪ executed of each node that could be read, when no claimant took on writes any more. */
  held: ReadonlyMap<string, GtidSet>;
  /** Nodes that could not be read, and whom they were last seen to follow: they may hold all that it does. */
  away: ReadonlyMap<string, string | null>;
  acks: number;
}

export interface Claim {
  node: string;
  /** What it holds and another claimant does not, and of that what k others hold. */
  own: GtidSet;
  acknowledged: GtidSet;
}

export type Ruling =
  | { keep: string; reason: string; claims: Claim[] }
  | { keep: null; reason: string; claims: Claim[] };

export function arbitrate(facts: SplitFacts): Ruling {
  const claimants = [facts.primary, ...facts.rivals].filter((n) => facts.held.has(n));
  const claims = claimants.map((node) => claimOf(facts, node, claimants));
  const lacks = (node: string) =>
    claims.filter((c) => c.node !== node && !(facts.held.get(node) as GtidSet).contains(c.acknowledged));
  const lawful = claimants.find((node) => lacks(node).length === 0);
  if (lawful === undefined || !facts.held.has(facts.primary))
    return {
      keep: null,
      reason: claims
        .filter((c) => !c.acknowledged.isEmpty())
        .map((c) => `${c.node} alone has ${c.acknowledged}, which replicas acknowledged`)
        .join("; "),
      claims,
    };
  const others = claims.filter((c) => c.node !== lawful && !c.own.isEmpty());
  const given = others.map(
    (c) => `${c.node}'s ${c.own.count()} of its own were acknowledged by fewer than ${facts.acks}`,
  );
  return {
    keep: lawful,
    reason: [`${lawful} holds every write that replicas acknowledged`, ...given].join("; "),
    claims,
  };
}

function claimOf(facts: SplitFacts, node: string, claimants: readonly string[]): Claim {
  const held = facts.held.get(node) as GtidSet;
  const common = claimants.map((n) => facts.held.get(n) as GtidSet).reduce((a, b) => a.intersect(b));
  const own = held.subtract(common);
  const holders = [...facts.held].filter(([n]) => n !== node).map(([, set]) => set.intersect(own));
  for (const [n, source] of facts.away) if (n !== node && source === node) holders.push(own);
  return { node, own, acknowledged: heldByAtLeast(holders, facts.acks, own) };
}

/** The transactions that at least k of the sets contain. */
function heldByAtLeast(sets: readonly GtidSet[], k: number, none: GtidSet): GtidSet {
  // atLeast[j]: held by at least j+1 of those looked at so far.
  const empty = none.subtract(none);
  const atLeast: GtidSet[] = Array.from({ length: k }, () => empty);
  for (const set of sets) {
    for (let j = k - 1; j > 0; j--)
      atLeast[j] = (atLeast[j] as GtidSet).union((atLeast[j - 1] as GtidSet).intersect(set));
    atLeast[0] = (atLeast[0] as GtidSet).union(set);
  }
  return atLeast[k - 1] as GtidSet;
}
