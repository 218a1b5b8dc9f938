/** From witnesses to one named diagnosis. Pure; null means that the evidence does not suffice yet. */
import type {
  Diagnosis,
  DiagnosisCode,
  NodeStatus,
  ProberVote,
  RefusalCode,
  ReplicaVote,
} from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import { answersAlone, isCalm, type Plan, planFailover } from "@baton/protocol";
import { findPrimary } from "./adopt.ts";
import { downtimeNow, downtimesNow, limitNow } from "./brakes.ts";
import { unseenNow } from "./durability.ts";
import { describeEpochFault, epochFaultNow } from "./epoch.ts";
import { mismatchNow, ownNodes } from "./identity.ts";
import { lostNow, markNow, undeclaredNow, unproven } from "./mark.ts";
import { hasLeft } from "./membership.ts";
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

/** A receiver that lost its connection for a moment is no problem of its node. */
const CONNECT_MS = 1_000;

/** Codes that call for a failover. */
export const DEATHS: ReadonlySet<DiagnosisCode> = new Set<DiagnosisCode>([
  "primary-dead",
  "primary-dead-with-some-replicas",
  "primary-gone-other-server",
  "primary-lost-history",
]);

/** Which problem names the whole cluster when there are several. */
const GRAVITY: readonly DiagnosisCode[] = [
  "replica-writable",
  "semi-sync-off",
  "undeclared-acker",
  "semi-sync-waiting",
  "semi-sync-too-few-ackers",
  "semi-sync-broken",
  "durability-degraded",
  "replica-hollow",
  "errant-gtid",
  "gtid-drift",
  "replica-wrong-source",
  "foreign-server",
  "replication-error",
  "replica-not-connected",
  "replication-stopped",
  "credentials-failing",
  "replica-dead",
  "epoch-unmarked",
  "prober-blind",
];

/** Would a failover succeed now, and would Baton make it? What is not safe is said before what is only not due. */
export function planNow(
  picture: Picture,
  now: number,
  s: VoteSettings,
  isDead = false,
  byPerson: { gtids: GtidSet; unproven: boolean; named: string | null } | null = null,
): Plan | null {
  if (picture.declared === null || picture.state === null) return null;
  const { primary, quarantined, undecided = [] } = picture.state.value;
  const epoch = epochFaultNow(picture, now);
  if (epoch !== null) return { possible: false, refusal: epoch.code, reason: epoch.why, notChosen: [] };
  if (undecided.length > 0)
    return {
      possible: false,
      refusal: "diverged",
      reason: `${undecided.join(" and ")} hold two histories; choose: ${undecided.map((n) => `baton repair ${picture.cluster} ${n} --keep`).join(" or ")}`,
      notChosen: [],
    };
  const mismatch = mismatchNow(picture, now, s);
  const statuses = reachedStatuses(picture, now, s);
  const own = ownNodes(picture, statuses);
  if (mismatch !== null || own === null)
    return { possible: false, refusal: "topology-mismatch", reason: mismatch ?? "", notChosen: [] };
  if (own.replaced.length > 0)
    return {
      possible: false,
      refusal: "foreign-server",
      reason: `at the address of ${own.replaced.join(", ")} runs a server that is not of this cluster, and the one that was there may have acknowledged writes`,
      notChosen: [],
    };
  const loses = unseenNow(picture, now);
  const doubt = loses === undefined && byPerson?.unproven !== true ? unproven(picture) : null;
  if (doubt !== null)
    return { possible: false, refusal: "durability-unproven", reason: doubt, notChosen: [] };
  const plan = planFailover({
    declared: own.declared,
    primary,
    quarantined,
    // Who goes on without proof asks whoever is there, whether it counts or not.
    parked: byPerson?.unproven === true ? [] : Object.keys(picture.state.value.parked ?? {}),
    statuses,
    primaryExecuted: primaryExecuted(picture, primary),
    mark: markNow(picture, now, s, isDead).subtract(byPerson?.gtids ?? GtidSet.empty),
    named: byPerson?.named ?? null,
    unproven: byPerson?.unproven ?? false,
    vouches: picture.vouches,
    downtimes: downtimesNow(picture, now),
    ...(loses === undefined ? {} : { loses: { primaryUuid: picture.state.value.primaryUuid, ...loses } }),
  });
  const limit = plan.possible && byPerson === null ? limitNow(picture, now) : null;
  if (limit !== null) return { possible: false, ...limit, notChosen: plan.notChosen };
  return plan.possible ? plan : { ...plan, reason: `${plan.reason}${awaySince(picture, statuses, now)}` };
}

/** Whoever is missed is found sooner by when it was last there. */
function awaySince(picture: Picture, statuses: ReadonlyMap<string, NodeStatus>, now: number): string {
  const { primary, quarantined = [] } = picture.state?.value ?? {};
  const away = Object.keys(picture.declared?.nodes ?? {}).filter(
    (node) => node !== primary && !quarantined.includes(node) && !statuses.has(node),
  );
  const words = away.map((node) => {
    const known = picture.statuses.get(node);
    return known === undefined
      ? `${node} has never answered this decider`
      : `${node} last answered ${Math.max(1, Math.round((now - known.atMs) / 1_000))} s ago`;
  });
  return words.length === 0 ? "" : `; ${words.join(", ")}`;
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
    // Led back by its address to whoever answers there now.
    const target = picture.declared?.nodes[state.primary];
    if (vote.finds === "elsewhere")
      return target !== undefined && r?.sourceHost === target.host && r.sourcePort === target.port;
    return (
      (vote.finds === "lost" || vote.finds === "silent") && (unborn || r?.sourceUuid === state.primaryUuid)
    );
  });
}

export function diagnose(picture: Picture, now: number, s: VoteSettings): Verdict | null {
  if (picture.declared === null || !picture.stateKnown) return null;
  const base = { node: null, probers: [] as ProberVote[], replicas: [] as ReplicaVote[], refusal: null };
  const epoch = epochFaultNow(picture, now);
  if (epoch !== null)
    return { ...base, code: epoch.code, node: epoch.node, summary: describeEpochFault(picture, epoch) };
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
  const mismatch = mismatchNow(picture, now, s);
  if (mismatch !== null)
    return {
      ...base,
      code: "topology-mismatch",
      probers,
      summary: `Names and servers do not fit: ${mismatch}. Nothing is done until baton.yaml says who is who.`,
    };
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
  if (count.alive * 2 > count.voters)
    return standing(picture, diagnoseLife(picture, evidence, now, s), now, s);
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
  const plan = planNow(picture, now, s, true);
  if (plan !== null && !plan.possible) {
    return {
      ...evidence,
      code: "failover-not-possible",
      refusal: plan.refusal,
      summary: `${found} ${said} No failover now (${plan.refusal}): ${plan.reason}.`,
    };
  }
  const gone = probers.filter((v) => v.finds === "dead");
  const replaced = gone.filter((v) => v.otherUuid !== undefined).length * 2 > gone.length;
  const dead = away.length > 0 ? "primary-dead-with-some-replicas" : "primary-dead";
  return {
    ...evidence,
    code: replaced ? "primary-gone-other-server" : dead,
    summary: `${found} ${said}`,
  };
}

function describeProbers(primary: string, votes: readonly ProberVote[]): string {
  const sighted = votes.filter((v) => v.finds !== "blind");
  const dead = sighted.filter((v) => v.finds === "dead");
  const other = dead.find((v) => v.otherUuid !== undefined)?.otherUuid;
  const how = [...new Set(dead.map((v) => (v.otherUuid === undefined ? v.outcome : "another server")))].join(
    ", ",
  );
  const regions = new Set(sighted.map((v) => v.region)).size;
  const silent = Math.round(Math.max(0, ...dead.map((v) => v.silentMs)));
  const find = `${dead.length} of ${sighted.length} probers in ${regions} region${regions === 1 ? "" : "s"} find ${primary}`;
  return other === undefined
    ? `${find} dead (${how}, silent for ${silent} ms).`
    : `${find} gone (${how}): ${other} answers at its address.`;
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

/** Nodes are looked at once a second in calm, and at once after a change of state. */
const SETTLED_MS = 1_500;

/**
 * Right after a change of state, and while something is mended, few nodes have been read since. What was wrong is not well for that: it
 * stands until the nodes have been read again, so that nobody is told of an end and a new beginning. Something graver is told at once.
 */
function standing(picture: Picture, found: Verdict, now: number, s: VoteSettings): Verdict {
  const last = picture.diagnosis;
  const state = picture.state as NonNullable<Picture["state"]>;
  if (last === null || last.epoch !== state.value.epoch || !(rank(last) < rank(found))) return found;
  if (now - state.sinceMs >= SETTLED_MS || (isCalm(state.value) && isReadSince(picture, now, s)))
    return found;
  const { code, node, summary, refusal } = last;
  return { ...found, code, node, summary, refusal };
}

/** The smaller, the graver; what calls for an order by its name does not stand on by itself. */
function rank({ code, refusal }: Pick<Verdict, "code" | "refusal">): number {
  if (code === "primary-lost-history") return refusal === null ? Number.NaN : -1;
  if (code === "healthy") return GRAVITY.length;
  const i = GRAVITY.indexOf(code);
  return i < 0 ? Number.NaN : i;
}

function isReadSince(picture: Picture, now: number, s: VoteSettings): boolean {
  const sinceMs = picture.state?.sinceMs ?? 0;
  return Object.keys(picture.declared?.nodes ?? {}).every((node) => {
    const reached = reachable(picture, node, sinceMs, now, s);
    return reached === false || (reached === true && (picture.statuses.get(node)?.atMs ?? 0) > sinceMs);
  });
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
  const lost = present !== null && isCalm(state.value) ? lostNow(picture) : null;
  if (lost !== null) {
    const plan = planNow(picture, now, s, true);
    const refusal = plan === null || plan.possible ? null : plan.refusal;
    return {
      ...evidence,
      code: "primary-lost-history",
      refusal,
      summary: `${lost}.${plan === null || plan.possible ? "" : ` No failover now (${refusal}): ${plan.reason}.`}`,
    };
  }
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
    answersAlone(present, available || degraded)
  )
    problems.push({
      code: "semi-sync-off",
      node: primary,
      text: `${primary} answers writes that no replica has acknowledged`,
    });
  const stranger = undeclaredNow(picture, now);
  if (stranger !== null && !available) problems.push(stranger);
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
    if (node === primary || hasLeft(picture, node)) continue;
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
    case "replica-not-connected":
      return `${node} cannot connect to the primary${r?.receiverErrno ? `: error ${r.receiverErrno}: ${r.receiverError}` : " (no error yet)"}`;
    case "errant-gtid":
    case "gtid-drift":
      return `${node} holds transactions that the primary has not`;
    case "foreign-server":
      return `the server of ${node} has data of its own and nothing of this cluster's: it is left alone`;
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
  const { problems } = placeReplica(picture, node, known.status, executed);
  const sinceMs = picture.connectingSince.get(node);
  const trying = sinceMs !== undefined && now - sinceMs >= CONNECT_MS && problems.length === 0;
  return trying ? ["replica-not-connected"] : problems;
}
