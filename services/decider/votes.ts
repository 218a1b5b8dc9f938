/**
 * The witnesses (DETECTION.md): what each live prober finds of the primary, and what each replica's
 * receiver says of it. Votes are facts with their age; what follows from them is in diagnose.ts.
 */
import {
  type DeclaredNode,
  type NodeStatus,
  OUTCOMES_OF_DEATH,
  type ProberVote,
  type ReplicaStatus,
  type ReplicaVote,
  type Sample,
} from "@baton/contracts";
import { follows, notCounted } from "@baton/protocol";
import { answersAsAnother, type Picture, type Seen } from "./picture.ts";

export interface VoteSettings {
  freshMs: number;
  heartbeatSilentMs: number;
}

type Live = ReadonlyMap<string, { region: string; atMs: number }>;

/** The last answer: one judgement asks the same a dozen times. */
let lastLive: { seen: Picture["seen"]; now: number; freshMs: number; live: Live } | null = null;

/** prober → region, for every prober heard of lately, whatever node the sample was about. */
export function liveProbers(picture: Picture, now: number, s: VoteSettings): Live {
  if (lastLive?.seen === picture.seen && lastLive.now === now && lastLive.freshMs === s.freshMs)
    return lastLive.live;
  const live = findLive(picture, now, s);
  lastLive = { seen: picture.seen, now, freshMs: s.freshMs, live };
  return live;
}

function findLive(picture: Picture, now: number, s: VoteSettings): Live {
  const live = new Map<string, { region: string; atMs: number }>();
  for (const byProber of picture.seen.values()) {
    for (const [prober, seen] of byProber) {
      if (now - seen.atMs > s.freshMs) continue;
      const known = live.get(prober);
      if (known === undefined || known.atMs < seen.atMs) {
        live.set(prober, { region: seen.sample.region, atMs: seen.atMs });
      }
    }
  }
  return live;
}

/**
 * Dead: refused twice in a row, or silent for longer than the threshold. A held connection that closed, a first
 * refusal, a server shutting down: unsure. Anything that answers at all is alive, also with an error.
 */
export function findingOf(sample: Sample): "alive" | "dead" | "unsure" {
  if (sample.outcome === "refused") return sample.attempts >= 2 ? "dead" : "unsure";
  if (OUTCOMES_OF_DEATH.has(sample.outcome)) return sample.silentMs >= sample.thresholdMs ? "dead" : "unsure";
  if (sample.outcome === "closed" || sample.outcome === "shutting-down" || sample.outcome === "error")
    return "unsure";
  return "alive";
}

/** As `findingOf`, for the server that the state means: where another one answers, it is gone from there. */
export function findingOfServer(picture: Picture, sample: Sample): ReturnType<typeof findingOf> {
  return answersAsAnother(picture, sample) ? "dead" : findingOf(sample);
}

/**
 * Tried for longer than the threshold and no server has said a word, though nothing speaks of its death: its name cannot be
 * resolved. For the primary that is no vote; but such a replica is no witness that may be waited for.
 */
function isUnheard(sample: Sample): boolean {
  return sample.outcome === "error" && sample.errno === null && sample.silentMs >= sample.thresholdMs;
}

/** A prober that finds every node of the cluster dead, or hears of none, is the one that is cut off. */
function isBlind(picture: Picture, prober: string, nodes: readonly string[]): boolean {
  return nodes.every((node) => {
    const sample = picture.seen.get(node)?.get(prober)?.sample;
    return sample !== undefined && (OUTCOMES_OF_DEATH.has(sample.outcome) || isUnheard(sample));
  });
}

export function proberVotes(picture: Picture, primary: string, now: number, s: VoteSettings): ProberVote[] {
  const nodes = Object.keys(picture.declared?.nodes ?? {});
  const votes: ProberVote[] = [];
  for (const [prober, { region }] of liveProbers(picture, now, s)) {
    const seen: Seen | undefined = picture.seen.get(primary)?.get(prober);
    if (seen === undefined) continue;
    const { sample } = seen;
    votes.push({
      prober,
      region,
      finds: isBlind(picture, prober, nodes) ? "blind" : findingOfServer(picture, sample),
      outcome: sample.outcome,
      attempts: sample.attempts,
      silentMs: sample.silentMs,
      thresholdMs: sample.thresholdMs,
      ...(answersAsAnother(picture, sample) && sample.status !== null
        ? { otherUuid: sample.status.serverUuid }
        : {}),
    });
  }
  return votes.sort((a, b) => (a.prober < b.prober ? -1 : 1));
}

/** After so long a replica that alone cannot hear the primary has a fault of its own. */
const OWN_FAULT_MS = 2_000;

/**
 * Something speaks against the primary, and the probers have not answered that: what is seen of other nodes then will pass, and nothing of
 * theirs is repaired. A replica that alone cannot connect to a primary that every prober reaches stops nothing.
 */
export function inDoubt(picture: Picture, now: number, s: VoteSettings): boolean {
  const { suspectSinceMs } = picture;
  if (suspectSinceMs === null) return false;
  if (picture.suspectByProber || now - suspectSinceMs < OWN_FAULT_MS) return true;
  const ofPrimary = picture.seen.get(picture.state?.value.primary ?? "");
  const live = [...liveProbers(picture, now, s).keys()];
  return !(
    live.length > 0 &&
    live.every((prober) => {
      const seen = ofPrimary?.get(prober);
      return seen !== undefined && seen.sample.outcome === "ok" && seen.atMs > suspectSinceMs;
    })
  );
}

export interface Tally {
  voters: number;
  dead: number;
  alive: number;
  blind: number;
  regions: number;
  regionsDead: number;
}

export function tally(votes: readonly ProberVote[]): Tally {
  const sighted = votes.filter((v) => v.finds !== "blind");
  const byRegion = Map.groupBy(sighted, (v) => v.region);
  let regionsDead = 0;
  for (const ofRegion of byRegion.values()) {
    if (ofRegion.filter((v) => v.finds === "dead").length * 2 > ofRegion.length) regionsDead++;
  }
  return {
    voters: sighted.length,
    dead: sighted.filter((v) => v.finds === "dead").length,
    alive: sighted.filter((v) => v.finds === "alive").length,
    blind: votes.length - sighted.length,
    regions: byRegion.size,
    regionsDead,
  };
}

/** More than half of the live probers, in more than half of the regions that have any. */
export function majorityFindsDead(t: Tally): boolean {
  return t.dead * 2 > t.voters && t.regionsDead * 2 > t.regions;
}

/**
 * Does a sample still hold? A node that answers is looked at every second, so an old `ok` means nothing. A dead one is tried
 * ever more seldom: that it is dead holds for as long as the prober that says so is heard of at all.
 */
export function stands(seen: Seen, proberLives: boolean, now: number, s: VoteSettings): boolean {
  return seen.sample.outcome === "ok" ? now - seen.atMs <= s.freshMs : proberLives;
}

/** Does any prober that can see anything reach this node now? null: nobody has looked since `sinceMs`. */
export function reachable(
  picture: Picture,
  node: string,
  sinceMs: number,
  now: number,
  s: VoteSettings,
): boolean | null {
  const live = liveProbers(picture, now, s);
  let looked = false;
  let allAway = true;
  for (const [prober, seen] of picture.seen.get(node) ?? []) {
    if (!stands(seen, live.has(prober), now, s)) continue;
    if (seen.atMs < sinceMs) continue;
    if (isBlind(picture, prober, Object.keys(picture.declared?.nodes ?? {}))) continue;
    looked = true;
    const finding = findingOfServer(picture, seen.sample);
    if (seen.sample.outcome === "ok" && finding === "alive") return true;
    if (finding !== "dead" && !isUnheard(seen.sample)) allAway = false;
  }
  return looked && allAway ? false : null;
}

/** The statuses of nodes that some prober reaches now. */
export function reachedStatuses(picture: Picture, now: number, s: VoteSettings): Map<string, NodeStatus> {
  const out = new Map<string, NodeStatus>();
  for (const [node, known] of picture.statuses) {
    // While the primary is suspect, only what was reached since then counts.
    const sinceMs = picture.suspectSinceMs ?? Number.NEGATIVE_INFINITY;
    if (reachable(picture, node, sinceMs, now, s) === true) out.set(node, known.status);
  }
  return out;
}

/** It tries to connect where the primary is not declared to be: it will not find it there once the primary has moved. */
export function triesElsewhere(
  r: ReplicaStatus | null | undefined,
  primary: DeclaredNode | undefined,
): boolean {
  if (r?.receiver !== "connecting" || primary === undefined) return false;
  return r.sourceHost !== primary.host || r.sourcePort !== primary.port;
}

/** What each declared replica says of the primary, by statuses read since the suspicion began. */
export function replicaVotes(picture: Picture, primary: string, now: number, s: VoteSettings): ReplicaVote[] {
  const declared = picture.declared?.nodes ?? {};
  const target = declared[primary];
  const primaryUuid = picture.state?.value.primaryUuid;
  const sinceMs = picture.suspectSinceMs ?? Number.NEGATIVE_INFINITY;
  const state = picture.state?.value;
  const others = state === undefined ? [] : notCounted(state);
  return Object.keys(declared)
    .filter((node) => node !== primary && !others.includes(node))
    .map((node): ReplicaVote => {
      const reached = reachable(picture, node, sinceMs, now, s);
      if (reached === false) return { node, finds: "unreachable", heardAgeMs: null };
      const known = picture.statuses.get(node);
      // A status outlives its server: it counts only with a sample that reaches the node now.
      if (reached === null || known === undefined || known.atMs < sinceMs || now - known.atMs > s.freshMs) {
        return { node, finds: "unknown", heardAgeMs: null };
      }
      const r = known.status.replica;
      if (r === null) return { node, finds: "stopped", heardAgeMs: null };
      const vote = (finds: ReplicaVote["finds"]): ReplicaVote => ({ node, finds, heardAgeMs: r.heardAgeMs });
      if (!follows(known.status, primaryUuid ?? "", target)) return vote("elsewhere");
      if (r.receiver === "connecting") return vote("lost");
      if (r.receiver === "off") return vote(r.receiverErrno !== 0 ? "lost" : "stopped");
      if (r.heardAgeMs !== null && r.heardAgeMs > s.heartbeatSilentMs) return vote("silent");
      // What it heard before the suspicion arose proves nothing about now; the next heartbeat will.
      const heardMs = known.atMs - (r.heardAgeMs ?? 0);
      return vote(picture.suspectSinceMs !== null && heardMs <= picture.suspectSinceMs ? "unknown" : "hears");
    });
}
