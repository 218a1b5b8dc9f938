/** Who is promoted, and for each of the others why not (SAFETY.md, Failover 3). */
import type { PromotionRule, RefusalCode } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import { markMissed } from "./mark.ts";

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
  /** Its replication is filtered: it may lack rows of transactions that its sets name. */
  filtered?: boolean;
  /** How late it applies; null when that is not known. */
  lagMs: number | null;
  /** Nobody could follow it: it writes no binary log, or not what it applies. */
  cannotBeFollowed: boolean;
  quarantined: boolean;
  /** Why a person keeps it from being promoted; null: nobody does. */
  downtime: string | null;
}

export interface ChooseFacts {
  contenders: readonly Contender[];
  /** Declared replicas that are no contenders, and why. */
  absent?: readonly NotChosen[];
  /** Contenders that were to catch up, from another or with what they had received, and did not make it, and why. */
  missed?: ReadonlyMap<string, string>;
  oldPrimaryRegion: string;
  /** The last that is known of the old primary's own set; empty when nothing is. */
  primaryExecuted: GtidSet;
  /** The high-water mark: all of it must be found among the contenders. Empty where writes need not wait for acks. */
  mark?: GtidSet;
  acks: number;
  /** Who applies later than this comes after all others. */
  lagCeilingMs: number;
}

export interface NotChosen {
  node: string;
  reason: string;
}

export type Choice =
  | {
      ok: true;
      candidate: string;
      /** The candidate is behind, and this one, which holds all, is to bring it forward first; null: it holds all itself. */
      source: string | null;
      union: GtidSet;
      notChosen: NotChosen[];
      followers: string[];
    }
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
export function errantOf(
  contender: Contender,
  facts: Pick<ChooseFacts, "contenders" | "primaryExecuted">,
): GtidSet {
  let rest = contender.held.subtract(facts.primaryExecuted).onlyFrom(contender.serverUuid);
  for (const other of facts.contenders) {
    // The same server under another name knows nothing of its own.
    if (other.serverUuid !== contender.serverUuid) rest = rest.subtract(other.held);
  }
  return rest;
}

/** The candidate among stopped replicas. Pure; the same facts always give the same choice. */
export function choose(facts: ChooseFacts): Choice {
  const notChosen: NotChosen[] = [...(facts.absent ?? [])];
  const sound: Contender[] = [];
  let union = GtidSet.empty;
  const errant = new Map<string, GtidSet>();
  for (const contender of facts.contenders) {
    if (contender.quarantined) {
      notChosen.push({ node: contender.node, reason: QUARANTINED });
      continue;
    }
    const own = errantOf(contender, facts);
    errant.set(contender.node, own);
    union = union.union(contender.held.subtract(own));
    sound.push(contender);
  }
  const lacks = (c: Contender) => union.subtract(c.held);
  const refused = (refusal: RefusalCode, reason: string): Choice => ({
    ok: false,
    refusal,
    reason,
    union,
    notChosen,
  });

  // First of all: what is missing was acknowledged, and may be on a node that was not read.
  const missed =
    sound.length === 0
      ? null
      : markMissed(
          `${sound.map((c) => c.node).join(", ")} together`,
          union,
          facts.mark ?? GtidSet.empty,
          facts.contenders.filter((c) => c.quarantined).map((c) => [c.node, c.held] as const),
        );
  if (missed !== null) return refused("mark-missed", missed.reason);

  const complete = sound.filter((c) => lacks(c).isEmpty());
  if (sound.length > 0 && complete.length === 0) {
    for (const c of sound) notChosen.push({ node: c.node, reason: `lacks ${lacks(c)} that others hold` });
    return refused("diverged", "no replica holds all that the others hold");
  }

  // One that holds all, nothing else, and can hand it on. It need not be one that may be promoted itself.
  const sources = complete.filter(
    (c) =>
      errant.get(c.node)?.isEmpty() &&
      c.applierErrno === 0 &&
      c.stranded.isEmpty() &&
      !c.cannotBeFollowed &&
      !c.filtered,
  );
  const eligible: Eligible[] = [];
  for (const c of sound) {
    const behind = lacks(c);
    const bar = barTo(c, sound, errant.get(c.node) ?? GtidSet.empty);
    const source = behind.isEmpty() ? null : sourceFor(c, sources);
    if (bar !== null) notChosen.push({ node: c.node, reason: bar });
    else if (source === undefined)
      notChosen.push({
        node: c.node,
        reason: `behind by ${behind.count()} transactions (${behind}), and nobody that it can follow has them`,
      });
    else if (facts.missed?.has(c.node))
      notChosen.push({ node: c.node, reason: facts.missed.get(c.node) as string });
    else
      eligible.push({
        ...c,
        behind,
        source: source?.node ?? null,
        // It gets nothing sooner than its source has applied it.
        lagMs: source === null ? c.lagMs : Math.max(c.lagMs ?? 0, source.lagMs ?? 0),
      });
  }
  if (eligible.length === 0)
    return refused(
      (facts.missed?.size ?? 0) > 0 ? "catch-up-timeout" : "no-candidate",
      `no reachable replica may be promoted: ${notChosen.map((n) => `${n.node}: ${n.reason}`).join("; ")}`,
    );

  const { best, notChosen: after } = prefer(eligible, facts.oldPrimaryRegion, facts.lagCeilingMs);
  notChosen.push(...after);
  const followers = sound
    .filter(
      (c, i) =>
        c.serverUuid !== best.serverUuid && i === sound.findIndex((s) => s.serverUuid === c.serverUuid),
    )
    .map((c) => c.node);
  if (followers.length < facts.acks) {
    const reason = `${followers.length} replicas would be left to acknowledge, ${facts.acks} are needed`;
    notChosen.push({ node: best.node, reason });
    return refused("too-few-ackers-left", reason);
  }
  return { ok: true, candidate: best.node, source: best.source, union, notChosen, followers };
}

export const FILTERED =
  "filtered: its replication filters leave out rows of transactions that its GTIDs say it has";

export const QUARANTINED = "quarantined: it holds transactions outside the history";

type Eligible = Contender & {
  /** What it lacks. */
  behind: GtidSet;
  /** Who brings it forward; null when nothing is lacking. */
  source: string | null;
};

/** Why this one can be promoted in no case, or null. */
function barTo(c: Contender, sound: readonly Contender[], errant: GtidSet): string | null {
  if (!errant.isEmpty()) return `errant transactions ${errant}`;
  if (c.filtered) return FILTERED;
  if (c.downtime !== null) return c.downtime;
  if (c.promotion === "never") return "promotion rule is never";
  if (c.applierErrno !== 0) return `applier stopped with error ${c.applierErrno}`;
  if (c.cannotBeFollowed)
    return "it writes no binary log of what it applies: nobody could follow it (log_bin, log_replica_updates)";
  if (!c.stranded.isEmpty()) return `its applier stands, and starting it would throw away ${c.stranded}`;
  const older = sound.find((other) => series(other.version) < series(c.version));
  if (older !== undefined) return `${older.node} runs ${older.version} and cannot follow ${c.version}`;
  return null;
}

/** A replica may be newer than its source, not older. The one with the least left to apply can hand on first. */
function sourceFor(c: Contender, sources: readonly Contender[]): Contender | undefined {
  const left = (s: Contender) => s.held.subtract(s.executed).count();
  return sources
    .filter((s) => s.node !== c.node && series(s.version) <= series(c.version))
    .sort((a, b) => (a.lagMs ?? 0) - (b.lagMs ?? 0) || left(a) - left(b) || (a.node < b.node ? -1 : 1))[0];
}

/** The best of those that may be promoted, and for each other one why it comes after. `eligible` must not be empty. */
export function prefer<C extends Contender & { behind?: GtidSet }>(
  eligible: readonly C[],
  oldPrimaryRegion: string,
  lagCeilingMs: number,
): { best: C; notChosen: NotChosen[] } {
  const rank = (c: C): (number | string)[] => [
    late(c, lagCeilingMs) ? 1 : 0,
    preference[c.promotion],
    c.region === oldPrimaryRegion ? 0 : 1,
    series(c.version), // replicas may be newer than their source, not older
    // From here on nothing is worth making clients wait for: who holds all comes before who must catch up.
    isBehind(c) ? 1 : 0,
    c.held.subtract(c.executed).count(),
    c.node,
  ];
  const [best, ...others] = [...eligible].sort((a, b) => compare(rank(a), rank(b))) as [C, ...C[]];
  return {
    best,
    notChosen: others.map((c) => ({
      node: c.node,
      reason: whyAfter(best, c, oldPrimaryRegion, lagCeilingMs),
    })),
  };
}

function isBehind(c: { behind?: GtidSet }): boolean {
  return c.behind !== undefined && !c.behind.isEmpty();
}

function late(c: Contender, lagCeilingMs: number): boolean {
  return c.lagMs !== null && c.lagMs > lagCeilingMs;
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

function whyAfter<C extends Contender & { behind?: GtidSet }>(
  best: C,
  c: C,
  oldPrimaryRegion: string,
  lagCeilingMs: number,
): string {
  if (late(c, lagCeilingMs) && !late(best, lagCeilingMs))
    return `it applies ${((c.lagMs ?? 0) / 1_000).toFixed(1)} s late, the ceiling is ${lagCeilingMs / 1_000} s`;
  if (preference[c.promotion] > preference[best.promotion])
    return `${best.node} is preferred by its promotion rule`;
  if (c.region !== oldPrimaryRegion && best.region === oldPrimaryRegion)
    return `${best.node} is in the old primary's region`;
  if (series(c.version) > series(best.version))
    return `${best.node} runs an older version, which this one can follow`;
  if (isBehind(c) && !isBehind(best)) return `behind by ${c.behind?.count()} transactions (${c.behind})`;
  if (c.held.subtract(c.executed).count() > best.held.subtract(best.executed).count())
    return `${best.node} has less left to apply`;
  return `equal to ${best.node}, which comes first by name`;
}
