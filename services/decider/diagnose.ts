/** From witnesses to one named diagnosis. Pure; null means that the evidence does not suffice yet. */
import type { Diagnosis, DiagnosisCode, ProberVote, RefusalCode, ReplicaVote } from "@baton/contracts";
import type { GtidSet } from "@baton/mysql/gtid";
import { answersAlone, isCalm, type Plan, planFailover } from "@baton/protocol";
import { findPrimary } from "./adopt.ts";
import { downtimeNow, downtimesNow, limitNow } from "./brakes.ts";
import { unseenNow } from "./durability.ts";
import { type Picture, primaryExecuted } from "./picture.ts";
import { placeReplica } from "./placement.ts";
import { standingFaults } from "./repairs.ts";
import {
  majorityFindsDead,
  proberVotes,
  reachable,
  reachedStatuses,
  replicaVotes,
  tally,
  type VoteSettings,
} from "./votes.ts";

export type Verdict = Pick<Diagnosis, "code" | "node" | "summary" | "probers" | "replicas" | "refusal">;

/** A decider that starts in the middle of a failure concludes nothing before it has watched for so long. */
export const WARM_UP_MS = 5_000;

/** A status that arrives this soon after a change of state may have been read before it: a primary is opened just then. */
const SETTLE_MS = 200;

/** Codes that call for a failover. */
export const DEATHS: ReadonlySet<DiagnosisCode> = new Set<DiagnosisCode>([
  "primary-dead",
  "primary-dead-with-some-replicas",
]);

/** Which problem names the whole cluster when there are several. */
const GRAVITY: readonly DiagnosisCode[] = [
  "replica-writable",
  "semi-sync-off",
  "semi-sync-waiting",
  "semi-sync-too-few-ackers",
  "semi-sync-broken",
  "durability-degraded",
  "replica-hollow",
  "errant-gtid",
  "gtid-drift",
  "replica-wrong-source",
  "replication-error",
  "replication-stopped",
  "credentials-failing",
  "replica-dead",
  "prober-blind",
];

/**
 * The N−k+1 rule rests on every write having waited for k acks. Where the primary was last seen, in this reign, to answer
 * without them, no replica can prove anything.
 */
function durabilityUnproven(picture: Picture): string | null {
  const { primary } = picture.state?.value ?? {};
  const known = picture.statuses.get(primary ?? "");
  if (known === undefined || known.atMs <= (picture.state?.sinceMs ?? 0) || known.status.readOnly)
    return null;
  const semi = known.status.semiSync;
  const acks = picture.declared?.policy.acks ?? 1;
  if (semi?.source !== true || !semi.sourceActive)
    return `${primary} was last seen answering writes that wait for no ack (semi-sync ${semi === null ? "not installed" : "off"})`;
  return semi.acks >= acks
    ? null
    : `${primary} was last seen answering writes that wait for ${semi.acks} acks, and a failover reckons with ${acks}`;
}

/** Would a failover succeed now, and would Baton make it? What is not safe is said before what is only not due. */
export function planNow(picture: Picture, now: number, s: VoteSettings): Plan | null {
  if (picture.declared === null || picture.state === null) return null;
  const { primary, quarantined, undecided = [] } = picture.state.value;
  if (undecided.length > 0)
    return {
      possible: false,
      refusal: "diverged",
      reason: `${undecided.join(" and ")} hold two histories; choose: ${undecided.map((n) => `baton repair ${picture.cluster} ${n} --keep`).join(" or ")}`,
      notChosen: [],
    };
  const loses = unseenNow(picture, now);
  const unproven = loses === undefined ? durabilityUnproven(picture) : null;
  if (unproven !== null)
    return { possible: false, refusal: "durability-unproven", reason: unproven, notChosen: [] };
  const plan = planFailover({
    declared: picture.declared,
    primary,
    quarantined,
    statuses: reachedStatuses(picture, now, s),
    primaryExecuted: primaryExecuted(picture, primary),
    vouches: picture.vouches,
    downtimes: downtimesNow(picture, now),
    ...(loses === undefined ? {} : { loses: { primaryUuid: picture.state.value.primaryUuid, ...loses } }),
  });
  const limit = plan.possible ? limitNow(picture, now) : null;
  return limit === null ? plan : { possible: false, ...limit, notChosen: plan.notChosen };
}

function hasBaseline(picture: Picture, replicas: readonly ReplicaVote[], now: number): boolean {
  const state = picture.state?.value;
  if (state === undefined) return false;
  if (picture.baseline === `${state.epoch}:${state.primary}`) return true;
  // A decider that was restarted in the middle: that replicas followed this very server and lost it is a
  // baseline that they remember for us.
  if (now - picture.startedMs < WARM_UP_MS) return false;
  // Nor did anybody see a reign that was lost before it began; Baton itself had seen to it that the replicas follow.
  const unborn = state.last?.outcome === "blocked" && ["failover", "switchover"].includes(state.last.kind);
  return replicas.some((vote) => {
    const r = picture.statuses.get(vote.node)?.status.replica;
    return (
      (vote.finds === "lost" || vote.finds === "silent") && (unborn || r?.sourceUuid === state.primaryUuid)
    );
  });
}

export function diagnose(picture: Picture, now: number, s: VoteSettings): Verdict | null {
  if (picture.declared === null || !picture.stateKnown) return null;
  const base = { node: null, probers: [] as ProberVote[], replicas: [] as ReplicaVote[], refusal: null };
  if (picture.state === null) {
    const found = findPrimary(picture, now, s);
    if ("primary" in found)
      return {
        ...base,
        code: "warming-up",
        node: found.primary,
        summary: `${found.primary} is to be adopted as primary.`,
      };
    if (now - picture.startedMs < WARM_UP_MS)
      return { ...base, code: "warming-up", summary: "Looking at the nodes for the first time." };
    return { ...base, code: "no-primary", summary: `No primary: ${found.why}.` };
  }
  const { value: state } = picture.state;
  if (state.phase === "fencing" || state.phase === "promoting") return null;
  const primary = state.primary;
  const probers = proberVotes(picture, primary, now, s);
  const count = tally(probers);
  if (probers.length === 0) return null;
  const replicas = replicaVotes(picture, primary, now, s);
  const evidence = { node: primary, probers, replicas, refusal: null as RefusalCode | null };
  if (count.voters === 0) {
    return {
      ...evidence,
      code: "primary-and-all-replicas-unreachable",
      summary: `No prober reaches any node: ${probers.map((v) => blindly(picture, primary, v)).join("; ")}.`,
    };
  }
  if (majorityFindsDead(count)) return diagnoseDeath(picture, evidence, now, s);
  if (count.alive * 2 > count.voters) return diagnoseLife(picture, evidence, now, s);
  return null;
}

type Evidence = Pick<Verdict, "node" | "probers" | "replicas" | "refusal">;

function diagnoseDeath(picture: Picture, evidence: Evidence, now: number, s: VoteSettings): Verdict | null {
  const { probers, replicas } = evidence;
  const primary = evidence.node as string;
  const found = describeProbers(primary, probers);
  if (!hasBaseline(picture, replicas, now)) {
    return {
      ...evidence,
      code: "warming-up",
      summary: `${found} No healthy baseline has been seen, so nothing is done.`,
    };
  }
  if (replicas.some((r) => r.finds === "unknown")) return null;
  const hearing = replicas.filter((r) => r.finds === "hears");
  if (hearing.length > 0) {
    return {
      ...evidence,
      code: "primary-unreachable-replicas-fine",
      summary: `${found} But ${hearing.map((r) => r.node).join(", ")} still hear it: it is alive.`,
    };
  }
  const away = replicas.filter((r) => r.finds === "unreachable");
  if (away.length === replicas.length) {
    return {
      ...evidence,
      code: "primary-and-all-replicas-unreachable",
      summary: `${found} No replica is reachable either.`,
    };
  }
  const said = describeReplicas(replicas);
  const plan = planNow(picture, now, s);
  if (plan !== null && !plan.possible) {
    return {
      ...evidence,
      code: "failover-not-possible",
      refusal: plan.refusal,
      summary: `${found} ${said} No failover now (${plan.refusal}): ${plan.reason}.`,
    };
  }
  return {
    ...evidence,
    code: away.length > 0 ? "primary-dead-with-some-replicas" : "primary-dead",
    summary: `${found} ${said}`,
  };
}

function describeProbers(primary: string, votes: readonly ProberVote[]): string {
  const sighted = votes.filter((v) => v.finds !== "blind");
  const dead = sighted.filter((v) => v.finds === "dead");
  const how = [...new Set(dead.map((v) => v.outcome))].join(", ");
  const regions = new Set(sighted.map((v) => v.region)).size;
  const silent = Math.round(Math.max(0, ...dead.map((v) => v.silentMs)));
  return `${dead.length} of ${sighted.length} probers in ${regions} region${regions === 1 ? "" : "s"} find ${primary} dead (${how}, silent for ${silent} ms).`;
}

function describeReplicas(votes: readonly ReplicaVote[]): string {
  const words = votes.map((v) => {
    if (v.finds === "silent") return `${v.node} has heard nothing for ${Math.round(v.heardAgeMs ?? 0)} ms`;
    if (v.finds === "lost") return `${v.node} lost its connection to it`;
    if (v.finds === "unreachable") return `${v.node} is unreachable`;
    if (v.finds === "stopped") return `${v.node} has its receiver stopped and is no witness`;
    return `${v.node} follows another server`;
  });
  return `${words.join(", ")}.`;
}

function diagnoseLife(picture: Picture, evidence: Evidence, now: number, s: VoteSettings): Verdict {
  const primary = evidence.node as string;
  const state = picture.state as NonNullable<Picture["state"]>;
  const alive = evidence.probers.filter((v) => v.finds === "alive");
  const mostly = (outcome: ProberVote["outcome"]) =>
    alive.filter((v) => v.outcome === outcome).length * 2 > alive.length;
  if (mostly("too-many-connections"))
    return {
      ...evidence,
      code: "primary-overloaded",
      summary: `${primary} answers "too many connections": it is alive and full.`,
    };
  if (mostly("auth"))
    return { ...evidence, code: "credentials-failing", summary: `${primary} refuses Baton's account.` };

  const split = picture.faults.find((f) => f.code === "split-brain");
  if (split !== undefined) return { ...evidence, code: "split-brain", summary: `${split.found}.` };

  const known = picture.statuses.get(primary);
  // Right after a change of state the last status may be of the time before it.
  const present = known !== undefined && known.atMs > state.sinceMs ? known.status : null;
  if (present?.readOnly === true && (known?.atMs ?? 0) > state.sinceMs + SETTLE_MS && isCalm(state.value))
    return {
      ...evidence,
      code: "primary-read-only",
      summary: `${primary} is read-only, and no operation made it so.`,
    };

  const problems: { code: DiagnosisCode; node: string; text: string }[] = [];
  const semi = present?.semiSync;
  const policy = picture.declared?.policy;
  const available = policy?.durability === "available";
  const degraded = state.value.degraded !== undefined;
  if (
    present?.readOnly === false &&
    state.value.phase === "steady" &&
    !available &&
    semi !== null &&
    answersAlone(present, degraded)
  )
    problems.push({
      code: "semi-sync-off",
      node: primary,
      text: `${primary} answers writes that no replica has acknowledged`,
    });
  if (semi?.source === true && semi.clients < semi.acks)
    problems.push({
      code: "semi-sync-too-few-ackers",
      node: primary,
      text: `${semi.clients} ackers are attached to ${primary}, a write needs ${semi.acks}: ${
        available || degraded
          ? "writes go on without"
          : policy?.onAckLoss === "degrade"
            ? `writes wait, for ${policy.degradeAfterMs / 1_000} s at most`
            : "writes wait, by design"
      }`,
    });
  if (degraded)
    problems.push({
      code: "durability-degraded",
      node: primary,
      text: `${primary} answers writes without waiting for acks`,
    });
  for (const fault of standingFaults(picture, now))
    if (fault.node === primary && fault.by === "repair" && fault.code !== "semi-sync-off")
      problems.push({ code: fault.code, node: primary, text: fault.found });
  for (const fault of standingFaults(picture, now))
    if (fault.code === "replica-hollow")
      problems.push({ code: fault.code, node: fault.node, text: fault.found });
  const executed = primaryExecuted(picture, primary);
  for (const node of Object.keys(picture.declared?.nodes ?? {})) {
    if (node === primary) continue;
    const inHand = downtimeNow(picture, node, now) !== null;
    for (const code of nodeProblems(picture, node, executed, now, s))
      if (!inHand || code === "replica-writable")
        problems.push({ code, node, text: wordsFor(picture, node, code) });
  }
  for (const v of evidence.probers.filter((p) => p.finds === "blind"))
    problems.push({
      code: "prober-blind",
      node: primary,
      text: `prober ${blindly(picture, primary, v)}`,
    });
  problems.sort((a, b) => GRAVITY.indexOf(a.code) - GRAVITY.indexOf(b.code));
  const [worst] = problems;
  if (worst === undefined) {
    const inHand = [...downtimesNow(picture, now)].map(([node, why]) => ` ${node} is ${why}.`);
    const summary = `${primary} answers and its replicas follow it.${inHand.join("")}`;
    return { ...evidence, code: "healthy", summary };
  }
  return {
    ...evidence,
    code: worst.code,
    node: worst.code === "prober-blind" ? null : worst.node,
    summary: `${problems.map((p) => p.text).join("; ")}.`,
  };
}

/** What a prober that reaches no node says. An error of its own, as of its resolver, is told as it is. */
function blindly(picture: Picture, primary: string, { prober, outcome }: ProberVote): string {
  const error = picture.seen.get(primary)?.get(prober)?.sample.error;
  return outcome === "error" && error != null
    ? `${prober} reaches no node (${error})`
    : `${prober} finds every node dead`;
}

/** A node's problem as an on-call person would put it, with what the node itself says. */
function wordsFor(picture: Picture, node: string, code: DiagnosisCode): string {
  const r = picture.statuses.get(node)?.status.replica;
  const outcomes = [...(picture.seen.get(node)?.values() ?? [])].map(({ sample }) =>
    sample.outcome === "error" ? (sample.error ?? sample.outcome) : sample.outcome,
  );
  switch (code) {
    case "replica-dead":
      return `${node} cannot be reached (${[...new Set(outcomes)].join(", ")})`;
    case "replica-writable":
      return `${node} accepts writes and is not the primary`;
    case "replica-wrong-source":
      return r == null
        ? `${node} follows nobody`
        : `${node} follows ${r.sourceHost}:${r.sourcePort}, not the primary`;
    case "replication-stopped":
      return `${node}'s ${r?.receiver === "off" ? "receiver" : "applier"} is stopped`;
    case "replication-error":
      return `${node}'s replication stopped with error ${r?.receiverErrno || r?.applierErrno}: ${r?.receiverError || r?.applierError}`;
    case "errant-gtid":
    case "gtid-drift":
      return `${node} holds transactions that the primary has not`;
    case "replica-hollow":
      return `${node} is quarantined: it lacks a part of the history, and following does not bring it`;
    case "semi-sync-broken":
      return `${node}'s semi-sync settings are not a replica's`;
    case "credentials-failing":
      return `${node} refuses Baton's account`;
    default:
      return `${node}: ${code}`;
  }
}

/** The problems of a node that is not the primary. */
export function nodeProblems(
  picture: Picture,
  node: string,
  executed: GtidSet,
  now: number,
  s: VoteSettings,
): DiagnosisCode[] {
  const reached = reachable(picture, node, Number.NEGATIVE_INFINITY, now, s);
  if (reached === false) return ["replica-dead"];
  const refused = [...(picture.seen.get(node)?.values() ?? [])].some(
    (seen) => seen.sample.outcome === "auth" && now - seen.atMs <= s.freshMs,
  );
  if (refused) return ["credentials-failing"];
  const known = picture.statuses.get(node);
  if (reached !== true || known === undefined || known.atMs <= (picture.state?.sinceMs ?? 0)) return [];
  return placeReplica(picture, node, known.status, executed).problems;
}
