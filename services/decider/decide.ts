/**
 * The decider's core: one input in, the next picture and what is to be done out. Pure: every decider that sees the
 * same inputs orders the same operation, by the same name.
 */
import type {
  AcceptLoss,
  ClusterState,
  Diagnosis,
  DiagnosisCode,
  Mark,
  OperationKind,
  RepairCode,
} from "@baton/contracts";
import { DIAGNOSES } from "@baton/contracts";
import { chooseDonor, isCalm, isSameStart } from "@baton/protocol";
import { type Advice, adviceFor } from "./advise.ts";
import {
  adoptionHeldBack,
  downtimeNow,
  downtimesNow,
  endedByThemselves,
  heldBackNow,
  limitNow,
  type SetAside,
  setAsideNow,
} from "./brakes.ts";
import { DEATHS, diagnose, type Verdict } from "./diagnose.ts";
import { durabilityWish, noteAckers, unseenNow } from "./durability.ts";
import { epochFaultNow, remember, stateToPutBack } from "./epoch.ts";
import { isForeignNode, mismatchNow } from "./identity.ts";
import { type DueVouch, looksForLedger, vouchesDue } from "./ledger.ts";
import { markDue, noteHistory, provesSoon } from "./mark.ts";
import { isLeaving, membershipWish } from "./membership.ts";
import { awaken, fold, forgetGone, type Input, type Picture, primaryExecuted } from "./picture.ts";
import { placeReplica } from "./placement.ts";
import { mayMend, newlyLimited, noteFaults, pressing, standingFaults } from "./repairs.ts";
import {
  findingOfServer,
  inDoubt,
  liveProbers,
  reachable,
  reachedStatuses,
  replicaVotes,
  stands,
  triesElsewhere,
  type VoteSettings,
} from "./votes.ts";

export interface Settings extends VoteSettings {
  decider: string;
  /** After a rolled-back or blocked operation, before the next try. */
  retryMs: number;
}

export interface Order {
  kind: OperationKind;
  node: string;
  epoch: number;
  stateRevision: number;
  diagnosis: DiagnosisCode;
  reason: string;
  /** Whom a person named; null or absent: the executor chooses. */
  candidate?: string | null;
  /** A person goes on although a check that is not about safety fails. */
  force?: boolean;
  /** A person asked for it: no brake holds it back. */
  byPerson?: boolean;
  /** The fault that it mends. */
  repair?: RepairCode;
  /** A person wants empty transactions in place of a quarantine. */
  inject?: boolean;
  /** Failover and reopen: what a person gives up. */
  acceptLoss?: AcceptLoss;
  /** Failover, where it may lose something: what nobody has seen of the primary's writes. */
  unseen?: { ms: number; transactions: number };
}

export type Effect =
  /** `againMs`: the evidence may come in at any moment; unless something comes by then, it is asked again. */
  | { type: "look-now"; reason: string; againMs?: number }
  | { type: "diagnosed"; diagnosis: Diagnosis }
  | { type: "order"; order: Order }
  /** In mode `advise`: what Baton would do now. */
  | { type: "advise"; advice: Advice }
  /** The flap limit was reached just now: the next failover will be refused. */
  | { type: "flapping"; reason: string }
  /** A repair has been made as often as its limit allows: it is a person's now. */
  | { type: "repair-limit"; code: RepairCode; node: string }
  /** A maintenance or a downtime has reached its end. */
  | { type: "set-aside-ended"; ended: SetAside }
  | ({ type: "vouch" } & DueVouch)
  /** The high-water mark, to be written behind this revision. */
  | { type: "mark"; mark: Mark; revision: number }
  /** The state names an operation and has not moved for a while: where nobody holds its lock, its intent is given again. */
  | { type: "resume"; state: ClusterState; revision: number }
  /** The state in NATS is gone or went back, and the data say what this decider remembers: written over that revision. */
  | { type: "put-back"; state: ClusterState; over: number; found: string };

/** Between two requests to look now while the evidence is incomplete: an answer takes about 2 ms. */
const LOOK_AGAIN_MS = 15;
const LOOK_FOR_PROOF_MS = 250;
/** A node that accepts writes beside the primary is shut when it was seen so for a tenth of a second. */
const LOOK_AT_PEN_MS = 30;
/** After so long the probers' own pace is as good as asking. */
const LOOK_HARD_FOR_MS = 500;
/** A node must be out of place for so long: reads that are under way during a change of reign settle in this time. */
const ASTRAY_MS = 1_000;
/** A copy that failed is costly and seldom mends itself. */
const REBUILD_RETRY_MS = 60_000;
/** An order whose operation has not shown itself is given again: the same order, so that it can run once only. */
const REORDER_MS = 10_000;
/** Longer than the stream takes to give a dead executor's intent to another. */
const LEFT_MS = 6_000;
const RESUME_EVERY_MS = 2_000;
const ABORTED_EVERY_MS = 500;

export function decide(
  before: Picture,
  input: Input,
  now: number,
  s: Settings,
): { picture: Picture; effects: Effect[] } {
  const effects: Effect[] = [];
  let picture = fold(awaken(before, now), input, now);
  if (input.type === "tick") picture = forgetGone(picture, now);
  if (picture.declared === null || !picture.stateKnown) return { picture, effects };

  if (input.type === "sample") picture = noteHistory(picture, input.sample, now, s);
  // What was read before all was known counts, too: a state that does not change is told once.
  if (input.type === "state" || input.type === "state-known" || input.type === "declared")
    picture = remember(picture);
  const fault = epochFaultNow(picture, now);
  const back = fault?.code === "state-went-back" ? stateToPutBack(picture, now) : null;
  if (fault !== null && back !== null) {
    picture = { ...picture, putBackMs: now };
    effects.push({ type: "put-back", ...back, found: fault.why });
  }
  if (input.type === "state") picture = noteInVain(picture, before, now);
  picture = noteFaults(suspect(picture, now, s), now, s);
  const verdict = diagnose(picture, now, s);
  picture = noteBaseline(picture, verdict, now, s);
  picture = noteAstray(picture, now, s);
  picture = noteConnecting(picture, now, s);
  picture = noteAckers(picture, now);

  if (verdict === null || verdict.code === "primary-unreachable-replicas-fine") {
    const look = lookAgain(picture, now);
    if (look !== null) {
      picture = { ...picture, lookedMs: now };
      effects.push(look);
    }
  }
  const pen = pressing(picture, now);
  if (pen !== null && now - picture.lookedMs >= LOOK_AT_PEN_MS) {
    picture = { ...picture, lookedMs: now };
    effects.push({ type: "look-now", reason: `${pen.found}: seen once`, againMs: LOOK_AT_PEN_MS + 1 });
  }
  if (input.type === "state" && before.state !== null && isCalm(input.state ?? before.state.value)) {
    picture = { ...picture, lookedMs: now };
    const reason = "the state has changed: what was read before it says little";
    effects.push({ type: "look-now", reason, againMs: LOOK_AGAIN_MS + 1 });
  }
  if (provesSoon(picture, now) && now - picture.history.askedMs >= LOOK_FOR_PROOF_MS) {
    picture = { ...picture, history: { ...picture.history, askedMs: now } };
    effects.push({ type: "look-now", reason: "whether writes wait for acks is not proven yet" });
  }
  if (verdict !== null && differs(picture.diagnosis, verdict, picture)) {
    const diagnosis = announce(picture, verdict, now, s);
    picture = { ...picture, diagnosis };
    effects.push({ type: "diagnosed", diagnosis });
  }
  if (fault === null && mayBeLeft(picture, now)) {
    const { value: state, revision } = picture.state as NonNullable<Picture["state"]>;
    picture = { ...picture, resumedMs: now };
    effects.push({ type: "resume", state, revision });
  }
  const order = fault === null ? orderFor(picture, verdict, now, s) : null;
  if (order !== null && mayOrder(picture, order, now)) {
    picture = { ...picture, ordered: { stateRevision: order.stateRevision, untilMs: now + REORDER_MS } };
    effects.push({ type: "order", order });
  }
  const advice = verdict === null ? null : adviceFor(picture, verdict, order, now, s);
  if (advice !== null && picture.diagnosis !== null) {
    picture = { ...picture, advised: { diagnosis: picture.diagnosis, about: advice.about } };
    effects.push({ type: "advise", advice });
  }
  if (input.type === "state" && before.state !== null) {
    const limit = limitNow(picture, now);
    if (limit?.refusal === "flapping" && limitNow(before, now)?.refusal !== "flapping")
      effects.push({ type: "flapping", reason: limit.reason });
    for (const limited of newlyLimited(before, picture, now))
      effects.push({ type: "repair-limit", ...limited });
  }
  if ((input.type === "tick" || input.type === "state") && looksForLedger(picture, now, s)) {
    picture = { ...picture, lookedMs: now };
    effects.push({ type: "look-now", reason: "the ledger does not know a start that was seen" });
  }
  if (input.type === "tick" && picture.brakesKnown) {
    for (const ended of endedByThemselves(picture, now)) effects.push({ type: "set-aside-ended", ended });
    picture = { ...picture, setAside: setAsideNow(picture, now) };
  }
  if (fault === null && input.type === "sample" && input.sample.status !== null) {
    const ledger = vouchesDue(picture, input.sample.node, now, s);
    picture = ledger.picture;
    for (const due of ledger.due) effects.push({ type: "vouch", ...due });
  }
  const due = markDue(picture, now, s.decider);
  if (due !== null) {
    picture = { ...picture, history: { ...picture.history, writtenMs: now } };
    effects.push({ type: "mark", ...due });
  }
  return { picture, effects };
}

/**
 * Its executor writes the state with every take-over and change of phase, and holds the lock in between; a dead one's lock expires, and the
 * stream gives its intent to another before that.
 */
function mayBeLeft(picture: Picture, now: number): boolean {
  const { state, resumedMs } = picture;
  if (state === null || state.value.operation === null) return false;
  // Its executor lets go as soon as it sees that.
  if (state.value.operation.aborted !== undefined) return now - resumedMs >= ABORTED_EVERY_MS;
  return now - state.sinceMs >= LEFT_MS && now - resumedMs >= RESUME_EVERY_MS;
}

/** Opens the suspicion with the first word against the primary, closes it when none is left. */
function suspect(picture: Picture, now: number, s: Settings): Picture {
  const primary = picture.state?.value.primary;
  if (primary === undefined)
    return picture.suspectSinceMs === null ? picture : { ...picture, suspectSinceMs: null };
  const live = liveProbers(picture, now, s);
  const against = [...(picture.seen.get(primary) ?? [])].filter(
    ([prober, seen]) =>
      stands(seen, live.has(prober), now, s) && findingOfServer(picture, seen.sample) !== "alive",
  );
  const target = picture.declared?.nodes[primary];
  // One that is off tries no more, so what it lost once is no word of now; nor is it one of the primary where that has moved.
  const lost = replicaVotes({ ...picture, suspectSinceMs: null }, primary, now, s).some(
    (v) =>
      (v.finds === "lost" || v.finds === "silent") &&
      picture.statuses.get(v.node)?.status.replica?.receiver !== "off" &&
      !triesElsewhere(picture.statuses.get(v.node)?.status.replica, target),
  );
  const byProber = against.length > 0;
  if (!byProber && !lost)
    return picture.suspectSinceMs === null
      ? picture
      : { ...picture, suspectSinceMs: null, suspectByProber: false };
  if (picture.suspectSinceMs === null) return { ...picture, suspectSinceMs: now, suspectByProber: byProber };
  // A replica that could not connect for an hour says nothing of the moment at which a prober lost the primary, too.
  if (byProber && !picture.suspectByProber) return { ...picture, suspectSinceMs: now, suspectByProber: true };
  return byProber === picture.suspectByProber ? picture : { ...picture, suspectByProber: byProber };
}

function lookAgain(picture: Picture, now: number): Effect | null {
  if (picture.suspectSinceMs === null || now - picture.suspectSinceMs > LOOK_HARD_FOR_MS) return null;
  // Once it is in an executor's hands, looking harder only takes its processor time.
  const phase = picture.state?.value.phase;
  if (
    phase === "fencing" ||
    phase === "promoting" ||
    picture.ordered?.stateRevision === picture.state?.revision
  )
    return null;
  if (now - picture.lookedMs < LOOK_AGAIN_MS) return null;
  const reason = `${picture.state?.value.primary ?? "the primary"} is suspect`;
  return { type: "look-now", reason, againMs: LOOK_AGAIN_MS + 1 };
}

function noteBaseline(picture: Picture, verdict: Verdict | null, now: number, s: Settings): Picture {
  if (verdict === null || picture.state === null) return picture;
  const { epoch, primary } = picture.state.value;
  const known = picture.statuses.get(primary);
  const well =
    isCalm(picture.state.value) &&
    !inDoubt(picture, now, s) &&
    known !== undefined &&
    known.atMs > picture.state.sinceMs &&
    !known.status.readOnly &&
    verdict.probers.some((v) => v.finds === "alive" && v.outcome === "ok") &&
    verdict.replicas.some((v) => v.finds === "hears");
  return well ? { ...picture, baseline: `${epoch}:${primary}` } : picture;
}

/** Keeps, for each node out of its place, since when it has been so. */
function noteAstray(picture: Picture, now: number, s: Settings): Picture {
  if (picture.state === null || !isCalm(picture.state.value)) {
    return picture.astraySince.size === 0 ? picture : { ...picture, astraySince: new Map() };
  }
  const { primary } = picture.state.value;
  const executed = primaryExecuted(picture, primary);
  const astray = new Map<string, number>();
  for (const [node, known] of picture.statuses) {
    if (node === primary || picture.declared?.nodes[node] === undefined) continue;
    if (
      known.atMs <= picture.state.sinceMs ||
      reachable(picture, node, Number.NEGATIVE_INFINITY, now, s) !== true
    )
      continue;
    if (placeReplica(picture, node, known.status, executed).astray === null) continue;
    astray.set(node, picture.astraySince.get(node) ?? now);
  }
  return { ...picture, astraySince: astray };
}

/** Keeps, for each replica whose receiver tries to connect to a primary that probers reach, since when it has done so. */
function noteConnecting(picture: Picture, now: number, s: Settings): Picture {
  const { primary } = picture.state?.value ?? {};
  const known = [...picture.statuses].filter(
    ([node, { status, atMs }]) =>
      node !== primary &&
      status.replica?.receiver === "connecting" &&
      atMs > (picture.state?.sinceMs ?? 0) &&
      picture.declared?.nodes[node] !== undefined,
  );
  if (known.length === 0)
    return picture.connectingSince.size === 0 ? picture : { ...picture, connectingSince: new Map() };
  // While the primary itself cannot be reached, that is what there is to say.
  if (inDoubt(picture, now, s) && picture.suspectByProber)
    return picture.connectingSince.size === 0 ? picture : { ...picture, connectingSince: new Map() };
  return {
    ...picture,
    connectingSince: new Map(known.map(([node]) => [node, picture.connectingSince.get(node) ?? now])),
  };
}

function differs(last: Diagnosis | null, verdict: Verdict, picture: Picture): boolean {
  return (
    last === null ||
    last.code !== verdict.code ||
    last.node !== verdict.node ||
    last.refusal !== verdict.refusal ||
    last.epoch !== (picture.state?.value.epoch ?? 0)
  );
}

function announce(picture: Picture, verdict: Verdict, now: number, s: Settings): Diagnosis {
  return {
    ...verdict,
    cluster: picture.cluster,
    previous: picture.diagnosis?.code ?? null,
    severity: DIAGNOSES[verdict.code].severity,
    epoch: picture.state?.value.epoch ?? 0,
    decider: s.decider,
    suspectedForMs: picture.suspectSinceMs === null ? 0 : now - picture.suspectSinceMs,
  };
}

/**
 * A pause holds back every order of Baton's own, a mode other than `auto` every one that would touch a node, a downtime those
 * that are about its node.
 */
function mayOrder(picture: Picture, order: Order, now: number): boolean {
  if (order.kind === "adopt") return !adoptionHeldBack(picture, now);
  // Who counts is no matter of the node that a person has in hand: nothing is done to it.
  if (order.kind === "membership") return order.byPerson === true || heldBackNow(picture, now) === null;
  return heldBackNow(picture, now) === null && downtimeNow(picture, order.node, now) === null;
}

/** What Baton would order now if nothing held it back. */
function orderFor(picture: Picture, verdict: Verdict | null, now: number, s: Settings): Order | null {
  if (verdict === null) return null;
  const revision = picture.state?.revision ?? 0;
  if (picture.ordered?.stateRevision === revision && now < picture.ordered.untilMs) return null;
  const order = (kind: OperationKind, node: string, reason: string, repair?: RepairCode): Order => ({
    kind,
    node,
    epoch: picture.state?.value.epoch ?? 0,
    stateRevision: revision,
    diagnosis: verdict.code,
    reason,
    ...(repair === undefined ? {} : { repair }),
  });
  if (picture.state === null) {
    return verdict.code === "warming-up" && verdict.node !== null
      ? order("adopt", verdict.node, verdict.summary)
      : null;
  }
  // By which name a server would be touched nobody could say.
  if (mismatchNow(picture, now, s) !== null) return null;
  const { value: state, sinceMs } = picture.state;
  // Two histories compete: a person chooses, and until then every further step might be the wrong one.
  if ((state.undecided ?? []).length > 0) return null;
  const failedLast = state.last !== null && state.last.outcome !== "completed";
  // A failover whose order came too late was none: it is judged anew, and at once.
  const tooLate = state.last?.kind === "failover" && state.last.code === "state-changed";
  const mayTry = (kind: OperationKind) =>
    !failedLast || tooLate || state.last?.kind !== kind || now - sinceMs >= s.retryMs;
  if (DEATHS.has(verdict.code))
    return verdict.refusal === null && mayTry("failover")
      ? { ...order("failover", state.primary, verdict.summary), ...stated(picture, now) }
      : null;
  const shut = verdict.code === "primary-read-only" && isCalm(state) ? whyShut(picture) : null;
  if (shut !== null)
    return mayTry("reopen") ? order("reopen", state.primary, `${verdict.summary} ${shut}`) : null;
  if (!isCalm(state)) return null;
  // Replicas that have lost a primary which most probers reach are just what is to be dealt with.
  const wish = mostReachIt(verdict) ? durabilityWish(picture, now, s) : null;
  if (wish !== null && mayTry(wish.kind)) return order(wish.kind, state.primary, wish.reason);
  if (!verdict.probers.some((v) => v.finds === "alive" && v.outcome === "ok") || inDoubt(picture, now, s))
    return null;
  const rejoins = picture.declared?.policy.rejoin === true && mayTry("rejoin");
  const faults = standingFaults(picture, now);
  const wishFor = (wanted: (node: string) => boolean): Order | null => {
    for (const [node, since] of rejoins ? picture.astraySince : []) {
      if (isLeaving(picture, node)) continue;
      if (!wanted(node) || node === state.operation?.node || downtimeNow(picture, node, now) !== null)
        continue;
      const known = picture.statuses.get(node);
      if (known === undefined || now - since < ASTRAY_MS) continue;
      const { astray } = placeReplica(picture, node, known.status, primaryExecuted(picture, state.primary));
      // The others are repairs, each under a policy of its own.
      if (astray !== null && astray.repair === null)
        return order("rejoin", node, `${node} is not where it belongs: ${astray.why}.`);
    }
    for (const fault of faults) {
      if (!wanted(fault.node) || isLeaving(picture, fault.node) || !fault.unasked || !mayTry(fault.by))
        continue;
      if (mayMend(picture, fault.code, fault.node, now) === "auto")
        return order(fault.by, fault.node, `${fault.found}.`, fault.code);
    }
    return null;
  };
  // Whoever was tried in vain may wait for what the others bring: it comes after them, and whose turn was last comes last.
  const inVain = [...picture.inVainMs].sort(([, a], [, b]) => a - b).map(([node]) => node);
  let home = wishFor((node) => !picture.inVainMs.has(node));
  // What is broken elsewhere counts only once it has stood for a while.
  if (now - sinceMs >= s.retryMs) for (const turn of inVain) home ??= wishFor((node) => node === turn);
  if (home !== null) return home;
  const node = nodeToRebuild(picture, now, s);
  if (node !== null) return order("rebuild", node, `${node} is quarantined and is to be rebuilt.`);
  const member = membershipWish(picture, now, s);
  if (member === null || !mayTry("membership")) return null;
  const { node: of, reason, byPerson = false } = member;
  return { ...order("membership", of, reason), byPerson };
}

/** Keeps who was tried in vain, and when: with several of them each gets its turn. */
function noteInVain(picture: Picture, before: Picture, now: number): Picture {
  const last = picture.state?.value.last ?? null;
  if (last === null || last.id === before.state?.value.last?.id) return picture;
  const node = Object.keys(picture.declared?.nodes ?? {}).find((name) => isOf(last.id, picture, name));
  if (node === undefined) return picture;
  const inVainMs = new Map(picture.inVainMs);
  if (last.outcome === "completed") inVainMs.delete(node);
  else inVainMs.set(node, now);
  return { ...picture, inVainMs };
}

/** Operations are named by their kind, cluster, node and the revision that they left. */
function isOf(operation: string, { cluster }: Picture, node: string): boolean {
  return new RegExp(`^[a-z-]+-${cluster}-${node}-\\d+$`).test(operation);
}

function mostReachIt(verdict: Verdict): boolean {
  const reach = verdict.probers.filter((v) => v.finds === "alive" && v.outcome === "ok");
  return reach.length * 2 > verdict.probers.filter((v) => v.finds !== "blind").length;
}

function stated(picture: Picture, now: number): Pick<Order, "unseen"> {
  const unseen = unseenNow(picture, now)?.unseen;
  return unseen == null ? {} : { unseen };
}

/** By policy an errant node; whatever the policy, a node whose rebuilding was begun and interrupted. */
function nodeToRebuild(picture: Picture, now: number, s: Settings): string | null {
  const { declared, state } = picture;
  if (declared === null || state === null || state.value.phase !== "steady") return null;
  const { last, primary, primaryUuid, quarantined, unbuilt } = state.value;
  const pauseMs = last?.kind === "rebuild" && last.outcome !== "completed" ? REBUILD_RETRY_MS : ASTRAY_MS;
  if (now - state.sinceMs < pauseMs) return null;
  const statuses = reachedStatuses(picture, now, s);
  const executed = primaryExecuted(picture, primary);
  const downtimes = downtimesNow(picture, now);
  for (const node of quarantined) {
    const known = picture.statuses.get(node);
    if (known === undefined || known.atMs <= state.sinceMs || !statuses.has(node)) continue;
    if (downtimes.has(node) || isLeaving(picture, node) || isForeignNode(picture, node, known.status))
      continue;
    // It has nothing to be rebuilt with: a person does it.
    if (known.status.flavour === "mariadb") continue;
    const begun = unbuilt?.[node] !== undefined;
    if (!begun && declared.policy.rebuild !== "auto") continue;
    // A clean one is led home without a copy.
    const { problems } = placeReplica(picture, node, known.status, executed);
    if (!begun && !problems.includes("errant-gtid") && !problems.includes("replica-hollow")) continue;
    const facts = { declared, primary, primaryUuid, quarantined, node, named: null, statuses, downtimes };
    if (chooseDonor(facts).ok) return node;
  }
  return null;
}

/**
 * Why the primary is shut without anybody's wish, as words; null: a person may have shut it. One that restarted is read-only by its boot
 * configuration, its semi-sync role is off, and its start is not the one at which it was open. A person's hand changes the first two at
 * most. An operation that closed it, or was about to open it, and lost it, leaves all three as they were.
 */
function whyShut(picture: Picture): string | null {
  const { last, primary, primaryUuid, primaryStartedUnixS, unrestored } = picture.state?.value ?? {};
  if (primary !== undefined && unrestored?.includes(primary)) return "An operation could not open it again.";
  // With too few followers it was opened, and writes only wait.
  const unopened = last?.outcome === "blocked" && last.code !== "too-few-ackers-left";
  if (unopened && (last.kind === "switchover" || last.kind === "failover")) return `${last.id} left it shut.`;
  const status = picture.statuses.get(primary ?? "")?.status;
  if (status?.serverUuid !== primaryUuid || status?.semiSync?.source !== false) return null;
  if (picture.endedSinceOpen) return "Its server was seen ended since it was open.";
  const openedS = picture.openedStartS ?? primaryStartedUnixS;
  if (openedS !== undefined && isSameStart(openedS, status.startedUnixS)) return null;
  const at = (startS: number) => new Date(startS * 1000).toISOString();
  const before = openedS === undefined ? "" : `, and was open in its start of ${at(openedS)}`;
  return `It started at ${at(status.startedUnixS)}${before}.`;
}
