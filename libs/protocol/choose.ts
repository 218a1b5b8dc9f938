/** Who is promoted, and for each of the others why not (SAFETY.md, Failover 3). */
import type { PromotionRule, RefusalCode } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";

export interface Contender {
  node: string;
  region: string;
  promotion: PromotionRule;
  serverUuid: string;
  version: string;
  executed: GtidSet;
  /** received ∪ executed */
  held: GtidSet;
  /** The applier stopped with an error: it cannot catch up. 0 when it is well. */
  applierErrno: number;
  /** Received, and lost as soon as its applier is started (MariaDB). */
  stranded: GtidSet;
  quarantined: boolean;
  /** Why a person keeps it from being promoted; null: nobody does. */
  downtime: string | null;
}

export interface ChooseFacts {
  contenders: readonly Contender[];
  oldPrimaryRegion: string;
  /** The last that is known of the old primary's own set; empty when nothing is. */
  primaryExecuted: GtidSet;
  acks: number;
}

export interface NotChosen {
  node: string;
  reason: string;
}

export type Choice =
  | { ok: true; candidate: string; union: GtidSet; notChosen: NotChosen[]; followers: string[] }
  | { ok: false; refusal: RefusalCode; reason: string; union: GtidSet; notChosen: NotChosen[] };

/** `9.7.4` → 9.7 as a number that sorts: 9007. Patch levels replicate both ways. */
export function series(version: string): number {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10) || 0);
  return major * 1000 + minor;
}

const preference: Record<PromotionRule, number> = { prefer: 0, neutral: 1, never: 2 };

/**
 * Transactions that a replica wrote itself: of its own server uuid, unknown to the last known primary and to every
 * other contender. What it wrote while it was primary itself is in the primary's set, since no reign begins
 * without the union of what came before.
 */
export function errantOf(contender: Contender, facts: ChooseFacts): GtidSet {
  let rest = contender.held.subtract(facts.primaryExecuted).onlyFrom(contender.serverUuid);
  for (const other of facts.contenders) {
    if (other.node !== contender.node) rest = rest.subtract(other.held);
  }
  return rest;
}

/** The candidate among stopped replicas. Pure; the same facts always give the same choice. */
export function choose(facts: ChooseFacts): Choice {
  const notChosen: NotChosen[] = [];
  const sound: Contender[] = [];
  let union = GtidSet.empty;
  const errant = new Map<string, GtidSet>();
  for (const contender of facts.contenders) {
    if (contender.quarantined) {
      notChosen.push({
        node: contender.node,
        reason: "quarantined: it holds transactions outside the history",
      });
      continue;
    }
    const own = errantOf(contender, facts);
    errant.set(contender.node, own);
    union = union.union(contender.held.subtract(own));
    sound.push(contender);
  }

  const complete = sound.filter((c) => c.held.contains(union));
  if (sound.length > 0 && complete.length === 0) {
    for (const c of sound)
      notChosen.push({ node: c.node, reason: `lacks ${union.subtract(c.held)} that others hold` });
    return {
      ok: false,
      refusal: "diverged",
      reason: "no replica holds all that the others hold",
      union,
      notChosen,
    };
  }

  const eligible: Contender[] = [];
  for (const c of sound) {
    const own = errant.get(c.node) ?? GtidSet.empty;
    const lacks = union.subtract(c.held);
    if (!own.isEmpty()) notChosen.push({ node: c.node, reason: `errant transactions ${own}` });
    else if (c.downtime !== null) notChosen.push({ node: c.node, reason: c.downtime });
    else if (c.promotion === "never") notChosen.push({ node: c.node, reason: "promotion rule is never" });
    else if (c.applierErrno !== 0)
      notChosen.push({ node: c.node, reason: `applier stopped with error ${c.applierErrno}` });
    else if (!c.stranded.isEmpty())
      notChosen.push({
        node: c.node,
        reason: `its applier stands, and starting it would throw away ${c.stranded}`,
      });
    else if (!lacks.isEmpty())
      notChosen.push({ node: c.node, reason: `behind by ${lacks.count()} transactions (${lacks})` });
    else eligible.push(c);
  }
  if (eligible.length === 0) {
    return {
      ok: false,
      refusal: "no-candidate",
      reason: "no reachable replica may be promoted",
      union,
      notChosen,
    };
  }

  const { best, notChosen: after } = prefer(eligible, facts.oldPrimaryRegion);
  notChosen.push(...after);

  const followers = sound.filter((c) => c.node !== best.node).map((c) => c.node);
  if (followers.length < facts.acks) {
    return {
      ok: false,
      refusal: "too-few-ackers-left",
      reason: `${followers.length} replicas would be left to acknowledge, ${facts.acks} are needed`,
      union,
      notChosen,
    };
  }
  return { ok: true, candidate: best.node, union, notChosen, followers };
}

/** The best of those that may be promoted, and for each other one why it comes after. `eligible` must not be empty. */
export function prefer(
  eligible: readonly Contender[],
  oldPrimaryRegion: string,
): { best: Contender; notChosen: NotChosen[] } {
  const rank = (c: Contender): (number | string)[] => [
    preference[c.promotion],
    c.region === oldPrimaryRegion ? 0 : 1,
    series(c.version), // replicas may be newer than their source, not older
    c.held.subtract(c.executed).count(),
    c.node,
  ];
  const [best, ...others] = [...eligible].sort((a, b) => compare(rank(a), rank(b))) as [
    Contender,
    ...Contender[],
  ];
  return {
    best,
    notChosen: others.map((c) => ({ node: c.node, reason: whyAfter(best, c, oldPrimaryRegion) })),
  };
}

function compare(a: (number | string)[], b: (number | string)[]): number {
  for (let i = 0; i < a.length; i++) {
    const x = a[i] as number | string;
    const y = b[i] as number | string;
    if (x < y) return -1;
    if (x > y) return 1;
  }
  return 0;
}

function whyAfter(best: Contender, c: Contender, oldPrimaryRegion: string): string {
  if (preference[c.promotion] > preference[best.promotion])
    return `${best.node} is preferred by its promotion rule`;
  if (c.region !== oldPrimaryRegion && best.region === oldPrimaryRegion)
    return `${best.node} is in the old primary's region`;
  if (series(c.version) > series(best.version))
    return `${best.node} runs an older version, which this one can follow`;
  if (c.held.subtract(c.executed).count() > best.held.subtract(best.executed).count())
    return `${best.node} has less left to apply`;
  return `equal to ${best.node}, which comes first by name`;
}
