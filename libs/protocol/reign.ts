/**
 * The legal changes of `baton_state`. Each function takes the state as read and gives the one to write by
 * compare-and-set, or says why that change is not legal. `fencing` and `mending` may be undone; after
 * `promoting` there is only forward.
 */
import {
  type Before,
  type ClusterState,
  EARLIER_KEPT,
  type EndedOperation,
  FAILOVERS_KEPT,
  type Intent,
  type Loss,
  type MadeRepair,
  type OperationKind,
  type OperationOutcome,
  Ordered,
  type ParkedMember,
  REPAIRS_KEPT,
  type RefusalCode,
  type RunningOperation,
} from "@baton/contracts";

export class IllegalTransition extends Error {
  constructor(state: ClusterState, wanted: string) {
    super(
      `${wanted} is not legal from ${state.phase}@${state.epoch} (operation ${state.operation?.id ?? "none"})`,
    );
    this.name = "IllegalTransition";
  }
}

function running(intent: Intent, executor: string, nowUnixMs: number, before: Before): RunningOperation {
  return {
    id: intent.operation,
    kind: intent.kind,
    node: intent.node,
    executor,
    takeovers: 0,
    startedUnixMs: nowUnixMs,
    candidate: null,
    before,
    ...(intent.repair === undefined ? {} : { repair: intent.repair }),
    ordered: Ordered.parse(intent),
  };
}

/** A person wants the running operation ended. Said again, the first word stays. */
export function abort(state: ClusterState, by: string, reason: string, nowUnixMs: number): ClusterState {
  const { operation } = state;
  if (operation === null) throw new IllegalTransition(state, "abort");
  return {
    ...state,
    operation: { ...operation, aborted: operation.aborted ?? { by, reason, atUnixMs: nowUnixMs } },
  };
}

/** What `abort` comes to. */
export function abortEnds(state: ClusterState): string {
  if (state.phase === "promoting")
    return `It is past its commit point: ${state.primary} is the primary of epoch ${state.epoch} and cannot be taken back. The operation ends here; Baton opens ${state.primary} as soon as it answers.`;
  if (state.phase === "fencing") return "It is rolled back: what it had stopped or shut is as it was before.";
  return "It ends where it stands; what it has done stays done.";
}

/**
 * The intent of the operation that the state names as running, for when NATS has lost it. Whoever takes it finds the operation in the state
 * and takes it over: it can run once only.
 */
export function intentOfRunning(
  state: ClusterState,
  o: Pick<Intent, "lockRevision" | "decider" | "nodes">,
): Intent | null {
  const { operation, cluster } = state;
  if (operation === null) return null;
  const { id, kind, node, repair, candidate } = operation;
  const ordered = operation.ordered ?? {
    epoch: state.phase === "mending" ? state.epoch : state.epoch - 1,
    stateRevision: 0,
    diagnosis: "warming-up" as const,
    reason: `${id} was running when its intent was lost`,
    candidate,
  };
  return {
    ...ordered,
    ...o,
    operation: id,
    cluster,
    kind,
    node,
    ...(repair === undefined ? {} : { repair }),
  };
}

/** What is mended in calm, also beside a rebuild. */
const MENDS: ReadonlySet<OperationKind> = new Set<OperationKind>([
  "rejoin",
  "reopen",
  "degrade",
  "restore",
  "repair",
  "membership",
]);

/** `steady@e` (or `mending@e`) → `fencing@e+1`, or `steady@e` → `mending@e`. */
export function claim(
  found: ClusterState,
  intent: Intent,
  executor: string,
  nowUnixMs: number,
  before: Before,
): ClusterState {
  const state = withYielded(found, nowUnixMs);
  const operation = running(intent, executor, nowUnixMs, before);
  if (state.epoch !== intent.epoch)
    throw new IllegalTransition(state, `${intent.kind} from epoch ${intent.epoch}`);
  if (intent.kind === "failover" && (state.phase === "steady" || state.phase === "mending")) {
    return { ...state, epoch: state.epoch + 1, phase: "fencing", operation };
  }
  if (intent.kind === "switchover" && state.phase === "steady")
    return { ...state, epoch: state.epoch + 1, phase: "fencing", operation };
  if (intent.kind === "split-brain" && isCalm(state))
    return { ...state, epoch: state.epoch + 1, phase: "fencing", operation };
  if (MENDS.has(intent.kind) && isCalm(state)) return { ...state, phase: "mending", operation };
  if (intent.kind === "rebuild" && state.phase === "steady") return { ...state, phase: "mending", operation };
  throw new IllegalTransition(state, intent.kind);
}

/** What gives way to the next operation has ended: whoever ran it, or takes its intent again, finds that here and tells it. */
function withYielded(state: ClusterState, endedUnixMs: number): ClusterState {
  if (state.operation === null) return state;
  const { id, kind } = state.operation;
  const yielded = { id, kind, outcome: "rolled-back" as const, code: "lock-lost" as const, endedUnixMs };
  return { ...state, earlier: [...(state.earlier ?? []), yielded].slice(-EARLIER_KEPT) };
}

/**
 * Nothing runs that changes who is primary or holds up what else is to be mended. A rebuild may take hours and touches one
 * quarantined node, so the cluster is watched and mended beside it: it yields.
 */
export function isCalm(state: Pick<ClusterState, "phase" | "operation">): boolean {
  return state.phase === "steady" || (state.phase === "mending" && state.operation?.kind === "rebuild");
}

/** Whom nobody asks when the primary is lost: the quarantined, and members that are parked. */
export function notCounted(state: Pick<ClusterState, "quarantined" | "parked">): string[] {
  return [...state.quarantined, ...Object.keys(state.parked ?? {})];
}

/** It counts no more, until `counted`. */
export function park(state: ClusterState, node: string, member: ParkedMember): ClusterState {
  return { ...state, parked: { ...state.parked, [node]: member } };
}

/** It counts again: written before its receiver may start. */
export function counted(state: ClusterState, node: string): ClusterState {
  const { [node]: _, ...parked } = state.parked ?? {};
  return { ...state, parked };
}

/** The node's data are being replaced from now on: it is no acker, and only a rebuild leads it home. */
export function beginReplacing(state: ClusterState, node: string, nodeUnixS: number): ClusterState {
  return {
    ...state,
    quarantined: [...new Set([...state.quarantined, node])].sort(),
    unbuilt: { ...state.unbuilt, [node]: nodeUnixS },
  };
}

/** The first reign of a cluster that had none. */
export function adopted(
  intent: Intent,
  primaryUuid: string,
  nowUnixMs: number,
  primaryStartedUnixS?: number,
  /** Who follows it: node → server_uuid. */
  followers: Readonly<Record<string, string>> = {},
): ClusterState {
  return {
    cluster: intent.cluster,
    epoch: 1,
    primary: intent.node,
    primaryUuid,
    phase: "steady",
    operation: null,
    last: { id: intent.operation, kind: "adopt", outcome: "completed", code: null, endedUnixMs: nowUnixMs },
    quarantined: [],
    failovers: [],
    servers: { ...followers, [intent.node]: primaryUuid },
    ...(primaryStartedUnixS === undefined ? {} : { primaryStartedUnixS }),
  };
}

/**
 * A brake met the intent before anything was touched: it ends as if it had been claimed and put back at once. The new
 * revision gives the next order another name, so that it is not taken for a copy of this one.
 */
export function declined(
  state: ClusterState,
  intent: Intent,
  executor: string,
  code: RefusalCode,
  nowUnixMs: number,
): ClusterState {
  const nothing = { receiverOn: [], writable: [] };
  return end(claim(state, intent, executor, nowUnixMs, nothing), "rolled-back", code, nowUnixMs);
}

/** Another executor goes on with the same operation. */
export function takeOver(state: ClusterState, executor: string): ClusterState {
  if (state.operation === null) throw new IllegalTransition(state, "take-over");
  return { ...state, operation: { ...state.operation, executor, takeovers: state.operation.takeovers + 1 } };
}

/**
 * `fencing@e+1` → `promoting@e+1`: the point of no return. `loss` is what may be lost, where acks did not prove that nothing is. The new
 * reign begins as the policy says, whatever the old one had come down to.
 */
export function commit(
  state: ClusterState,
  candidate: string,
  candidateUuid: string,
  nowUnixMs: number,
  loss: Loss | null = null,
): ClusterState {
  if (state.phase !== "fencing" || state.operation === null) throw new IllegalTransition(state, "commit");
  const { degraded: _, ...rest } = leaving(state, [], [candidate]);
  return {
    ...rest,
    phase: "promoting",
    primary: candidate,
    primaryUuid: candidateUuid,
    servers: { ...state.servers, [state.primary]: state.primaryUuid, [candidate]: candidateUuid },
    operation: {
      ...state.operation,
      candidate,
      committedUnixMs: nowUnixMs,
      ...(loss === null ? {} : { loss }),
    },
  };
}

/** Written before the first write is let go without acks: from here on a failover counts with a loss. */
export function degraded(state: ClusterState, executed: string, nowUnixMs: number): ClusterState {
  return { ...state, degraded: state.degraded ?? { sinceUnixMs: nowUnixMs, executed } };
}

/** Written when every write waits for acks again, and k ackers hold all that was written without. */
export function restored(state: ClusterState): ClusterState {
  const { degraded: _, ...rest } = state;
  return rest;
}

/** What an abort could not put back is written down, so that somebody does it later; what it could is written off. */
export function leaving(
  state: ClusterState,
  unrestored: readonly string[],
  restoredNodes: readonly string[] = [],
): ClusterState {
  if (unrestored.length === 0 && state.unrestored === undefined) return state;
  const still = (state.unrestored ?? []).filter((n) => !restoredNodes.includes(n));
  return { ...state, unrestored: [...new Set([...still, ...unrestored])].sort() };
}

/**
 * The end of an operation. Before the commit point a failover's epoch is given back; a split brain that ends there has
 * left the pen where it was.
 */
export function end(
  state: ClusterState,
  outcome: OperationOutcome,
  code: RefusalCode | null,
  nowUnixMs: number,
  quarantined: readonly string[] = state.quarantined,
): ClusterState {
  if (state.operation === null) throw new IllegalTransition(state, "end");
  if (state.phase === "promoting" && outcome === "rolled-back")
    throw new IllegalTransition(state, "roll back");
  if (state.phase === "fencing" && outcome === "completed" && state.operation.kind !== "split-brain")
    throw new IllegalTransition(state, "complete");
  const last: EndedOperation = {
    id: state.operation.id,
    kind: state.operation.kind,
    outcome,
    code,
    endedUnixMs: nowUnixMs,
    ...(state.operation.loss === undefined ? {} : { loss: state.operation.loss }),
  };
  return {
    ...state,
    epoch: state.phase === "fencing" ? state.epoch - 1 : state.epoch,
    phase: "steady",
    operation: null,
    last,
    ...(state.last === null ? {} : { earlier: [...(state.earlier ?? []), state.last].slice(-EARLIER_KEPT) }),
    quarantined: [...quarantined].sort(),
    ...(state.unrestored === undefined
      ? {}
      : { unrestored: state.unrestored.filter((n) => !ledHome(state.operation, outcome, n)) }),
    ...(state.unbuilt === undefined ? {} : { unbuilt: only(state.unbuilt, quarantined) }),
    ...(state.hollow === undefined ? {} : { hollow: only(state.hollow, quarantined) }),
    failovers: failoversAfter(state, nowUnixMs),
    ...repairsAfter(state, outcome, nowUnixMs),
  };
}

/** How the operation ended, if it is among the last that did; null: it is not. */
export function endOf(state: ClusterState, operation: string): EndedOperation | null {
  const ends = [...(state.earlier ?? []), ...(state.last === null ? [] : [state.last])];
  return ends.find(({ id }) => id === operation) ?? null;
}

/**
 * A repair counts when it was made; one of the `repair` kind also when it failed. A new reign begins anew: what is out of place
 * then has other causes.
 */
function repairsAfter(
  state: ClusterState,
  outcome: OperationOutcome,
  nowUnixMs: number,
): { repairs?: MadeRepair[] } {
  const { operation } = state;
  const before = state.phase === "promoting" ? [] : (state.repairs ?? []);
  // A node that restarted again stands still for a new reason: that is no repair that did not last.
  const restarted = operation?.kind === "rejoin" && operation.repair === "replication-stopped";
  const counts =
    operation?.repair !== undefined && !restarted && (outcome === "completed" || operation.kind === "repair");
  if (!counts) return state.repairs === undefined ? {} : { repairs: before };
  const endedUnixMs = Math.max(nowUnixMs, (before.at(-1)?.endedUnixMs ?? 0) + 1);
  const made = { code: operation.repair as MadeRepair["code"], node: operation.node, endedUnixMs };
  return { repairs: [...before, made].slice(-REPAIRS_KEPT) };
}

/** A failover counts when it has changed the primary. No later date than an earlier one's: `baton ack` compares them. */
function failoversAfter(state: ClusterState, nowUnixMs: number): number[] {
  if (state.operation?.kind !== "failover" || state.phase !== "promoting") return state.failovers;
  const last = state.failovers.at(-1) ?? 0;
  return [...state.failovers, Math.max(nowUnixMs, last + 1)].slice(-FAILOVERS_KEPT);
}

function ledHome(operation: RunningOperation | null, outcome: OperationOutcome, node: string): boolean {
  const leads = operation !== null && ["rejoin", "rebuild", "reopen", "repair"].includes(operation.kind);
  return leads && outcome === "completed" && operation.node === node;
}

/** What is no longer quarantined is built. */
function only<T>(of: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(of).filter(([name]) => names.includes(name)));
}
