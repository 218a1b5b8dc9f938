/**
 * What a decider knows of one cluster: the last sample of each node from each prober, the declaration, the
 * state, the ledger. A value: every change makes a new one. Times are the decider's own monotonic milliseconds,
 * taken when a message arrives; nobody else's clock decides anything.
 */
import type {
  Brake,
  ClusterState,
  DeclaredCluster,
  Diagnosis,
  Mark,
  NodeStatus,
  Sample,
  Vouch,
} from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import { type Brakes, NO_BRAKES } from "@baton/protocol";
import { dateEnds, type SetAside } from "./brakes.ts";
import type { Ackers } from "./durability.ts";
import { afterChange, type History, learnMark, NO_HISTORY } from "./history.ts";
import type { NewStart } from "./ledger.ts";
import type { Fault } from "./repairs.ts";
import { noteWriting, type Writing } from "./writing.ts";

export interface Seen {
  sample: Sample;
  atMs: number;
}

export interface KnownStatus {
  status: NodeStatus;
  atMs: number;
}

export interface Picture {
  readonly cluster: string;
  /** When this decider began to watch the cluster. */
  readonly startedMs: number;
  /** Wall clock minus our own monotonic one; null before the first tick. Only the dates that a person gave are compared with it. */
  readonly unixOffsetMs: number | null;
  readonly declared: DeclaredCluster | null;
  readonly state: {
    readonly value: ClusterState;
    readonly revision: number;
    readonly sinceMs: number;
  } | null;
  /** The last state that the data did not speak against; it outlives one that NATS lost or set back. */
  readonly remembered: ClusterState | null;
  /** When it was last put back. */
  readonly putBackMs: number;
  /** When it was last looked whether the state's operation still has somebody who runs it. */
  readonly resumedMs: number;
  /** Whether the bucket has been read: before that, "no state" means nothing. */
  readonly stateKnown: boolean;
  /** When anything came last; a tick comes four times a second. */
  readonly inputMs: number;
  /** Samples that come before this were sent while this process slept. */
  readonly deafUntilMs: number;
  readonly brakes: Brakes;
  /** Whether that bucket has been read: before that, nothing is ordered. */
  readonly brakesKnown: boolean;
  /** What was set aside at the last tick, so that its end is noticed. */
  readonly setAside: readonly SetAside[];
  /** The state's date of each failover → when it ended by our own clock */
  readonly failoversMs: ReadonlyMap<number, number>;
  /** The same of each repair. */
  readonly repairsMs: ReadonlyMap<number, number>;
  /** What a person has been advised of in this diagnosis, so that it is said once. */
  readonly advised: { readonly diagnosis: Diagnosis; readonly about: string } | null;
  /** node → prober → last sample */
  readonly seen: ReadonlyMap<string, ReadonlyMap<string, Seen>>;
  /** node → the newest status any prober has read */
  readonly statuses: ReadonlyMap<string, KnownStatus>;
  readonly vouches: ReadonlyMap<string, Vouch>;
  readonly vouchRevisions: ReadonlyMap<string, number>;
  /** Nodes whose present start has no entry in the ledger. */
  readonly newStarts: ReadonlyMap<string, NewStart>;
  /** The high-water mark as it lies in NATS; null before that bucket has been read. */
  readonly mark: { readonly value: Mark | null; readonly revision: number } | null;
  /** What is known of the primary's history. */
  readonly history: History;
  /** `<epoch>:<primary>` of the reign whose healthy baseline this decider has seen itself. */
  readonly baseline: string | null;
  /** Since when something has spoken against the primary; null while nothing does. */
  readonly suspectSinceMs: number | null;
  /** A prober is among those that speak against it. */
  readonly suspectByProber: boolean;
  /** node → since when its receiver has been trying to connect to the primary */
  readonly connectingSince: ReadonlyMap<string, number>;
  readonly lookedMs: number;
  readonly diagnosis: Diagnosis | null;
  /** How fast the primary writes; noted only where a failover may lose something. */
  readonly writing: Writing | null;
  /** Whether the primary has the ackers that its writes need. */
  readonly ackers: Ackers | null;
  /** node → since when it has been out of its place */
  readonly astraySince: ReadonlyMap<string, number>;
  /** node → when an operation on it last ended in vain; not once one has completed */
  readonly inVainMs: ReadonlyMap<string, number>;
  /** What is broken and could be mended, gravest first. */
  readonly faults: readonly Fault[];
  /** When the primary's server started that was last seen writable in this reign, by its own clock. */
  readonly openedStartS: number | null;
  /** It has refused connections since it was last seen to accept writes: its server ended, whatever second it started in again. */
  readonly endedSinceOpen: boolean;
  /** The order given from this revision of the state, so that it is given once; none is given from it again before `untilMs`. */
  readonly ordered: { readonly stateRevision: number; readonly untilMs: number } | null;
  /** node → when its ledger entry was last written from here */
  readonly vouchedMs: ReadonlyMap<string, number>;
}

export function emptyPicture(cluster: string, now: number): Picture {
  return {
    cluster,
    startedMs: now,
    unixOffsetMs: null,
    declared: null,
    state: null,
    remembered: null,
    putBackMs: Number.NEGATIVE_INFINITY,
    resumedMs: Number.NEGATIVE_INFINITY,
    stateKnown: false,
    inputMs: now,
    deafUntilMs: Number.NEGATIVE_INFINITY,
    brakes: NO_BRAKES,
    brakesKnown: false,
    setAside: [],
    failoversMs: new Map(),
    repairsMs: new Map(),
    advised: null,
    seen: new Map(),
    statuses: new Map(),
    vouches: new Map(),
    vouchRevisions: new Map(),
    newStarts: new Map(),
    mark: null,
    history: NO_HISTORY,
    baseline: null,
    suspectSinceMs: null,
    suspectByProber: false,
    connectingSince: new Map(),
    lookedMs: Number.NEGATIVE_INFINITY,
    diagnosis: null,
    writing: null,
    ackers: null,
    astraySince: new Map(),
    inVainMs: new Map(),
    faults: [],
    openedStartS: null,
    endedSinceOpen: false,
    ordered: null,
    vouchedMs: new Map(),
  };
}

export type Input =
  | { type: "sample"; sample: Sample }
  | { type: "declared"; declared: DeclaredCluster | null }
  | { type: "state"; state: ClusterState | null; revision: number; nowUnixMs: number }
  | { type: "state-known" }
  | { type: "brake"; of: keyof Brakes; brake: Brake | null }
  | { type: "brakes-known" }
  | { type: "vouch"; node: string; vouch: Vouch | null; revision: number }
  | { type: "mark"; mark: Mark | null; revision: number; decider: string }
  | { type: "marks-known" }
  | { type: "order-failed"; stateRevision: number }
  | { type: "tick"; nowUnixMs: number };

function sameReign(a: ClusterState | undefined, b: ClusterState | null): boolean {
  return a !== undefined && b !== null && a.primaryUuid === b.primaryUuid;
}

/** All that the primary is known to have executed. */
export function primaryExecuted(picture: Picture, primary: string): GtidSet {
  return GtidSet.parse(picture.statuses.get(primary)?.status.executed ?? "");
}
/** An order that could not be given, because of the lock of an operation that is ending above all: soon, but not as fast as NATS answers. */
const ORDER_AGAIN_MS = 100;

/** A lower count within this time is a late message, after it a prober that started again. */
const LATE_MS = 1_000;

/** Folds one input into the picture. Pure. A sample older than the one known of the same prober is ignored. */
export function fold(picture: Picture, input: Input, now: number): Picture {
  switch (input.type) {
    case "sample":
      return foldSample(picture, input.sample, now);
    case "declared":
      return declare(picture, input.declared);
    case "state":
      return {
        ...picture,
        state: input.state === null ? null : { value: input.state, revision: input.revision, sinceMs: now },
        statuses: ofTheirServers(picture.statuses, input.state),
        failoversMs: dateEnds(
          picture.failoversMs,
          input.state?.failovers ?? [],
          picture.state !== null,
          now,
          input.nowUnixMs,
        ),
        repairsMs: dateEnds(
          picture.repairsMs,
          (input.state?.repairs ?? []).map((r) => r.endedUnixMs),
          picture.state !== null,
          now,
          input.nowUnixMs,
        ),
        faults: [],
        history: afterChange(picture.history),
        openedStartS: sameReign(picture.state?.value, input.state) ? picture.openedStartS : null,
        endedSinceOpen: sameReign(picture.state?.value, input.state) && picture.endedSinceOpen,
        astraySince: new Map(),
        connectingSince: new Map(),
      };
    case "state-known":
      return { ...picture, stateKnown: true };
    case "brake":
      return { ...picture, brakes: { ...picture.brakes, [input.of]: input.brake } };
    case "brakes-known":
      return { ...picture, brakesKnown: true };
    case "vouch": {
      // Read again, or written by ourselves, before the watch had told of something older.
      if (input.revision < (picture.vouchRevisions.get(input.node) ?? 0)) return picture;
      const vouches = new Map(picture.vouches);
      const vouchRevisions = new Map(picture.vouchRevisions);
      if (input.vouch === null) {
        vouches.delete(input.node);
        vouchRevisions.delete(input.node);
      } else {
        vouches.set(input.node, input.vouch);
        vouchRevisions.set(input.node, input.revision);
      }
      return { ...picture, vouches, vouchRevisions };
    }
    case "mark":
      return {
        ...picture,
        mark: { value: input.mark, revision: input.revision },
        history: learnMark(picture.history, input.mark, input.decider),
      };
    case "marks-known":
      return picture.mark === null ? { ...picture, mark: { value: null, revision: 0 } } : picture;
    case "order-failed":
      return picture.ordered?.stateRevision === input.stateRevision
        ? { ...picture, ordered: { ...picture.ordered, untilMs: now + ORDER_AGAIN_MS } }
        : picture;
    case "tick":
      return { ...picture, unixOffsetMs: input.nowUnixMs - now };
  }
}

/** What was seen at an address that is not the node's any more says nothing of it. */
function declare(picture: Picture, declared: DeclaredCluster | null): Picture {
  const before = picture.declared?.nodes ?? {};
  const stays = (node: string) => {
    const [was, is] = [before[node], declared?.nodes[node]];
    return was === undefined || is === undefined || (was.host === is.host && was.port === is.port);
  };
  const kept = <T>(of: ReadonlyMap<string, T>) => new Map([...of].filter(([node]) => stays(node)));
  return { ...picture, declared, seen: kept(picture.seen), statuses: kept(picture.statuses) };
}

/** Samples came before the state did: who answered at the primary's address then may not have been the primary. */
function ofTheirServers(statuses: Picture["statuses"], state: ClusterState | null): Picture["statuses"] {
  const known = state === null ? undefined : statuses.get(state.primary);
  if (known === undefined || known.status.serverUuid === state?.primaryUuid) return statuses;
  return new Map([...statuses].filter(([node]) => node !== state?.primary));
}

/** Another server answers at the primary's address: a word for its death, none for its life. */
export function answersAsAnother(picture: Picture, sample: Sample): boolean {
  const { primary, primaryUuid } = picture.state?.value ?? {};
  return sample.node === primary && sample.status !== null && sample.status.serverUuid !== primaryUuid;
}

/** So long without even a tick means that this process slept: stopped, or its host stalled. */
const SLEPT_MS = 1_000;
/** What has piled up in the socket meanwhile is read within this time. */
const DRAIN_MS = 100;

/**
 * Notes that something came. What a decider finds in its socket on waking was sent while it slept, and looks new to it: none of that
 * counts, and nothing that it knew before.
 */
export function awaken(picture: Picture, now: number): Picture {
  if (now - picture.inputMs <= SLEPT_MS) return { ...picture, inputMs: now };
  return { ...picture, inputMs: now, deafUntilMs: now + DRAIN_MS, seen: new Map(), suspectSinceMs: null };
}

function foldSample(picture: Picture, sample: Sample, now: number): Picture {
  if (now < picture.deafUntilMs) return picture;
  const known = picture.seen.get(sample.node);
  const last = known?.get(sample.prober);
  // A restarted prober keeps its name and counts from the beginning; what was overtaken on the way is not so late.
  if (last !== undefined && last.sample.seq >= sample.seq && now - last.atMs < LATE_MS) return picture;
  const ofNode = new Map(known);
  // A ping that went without its status does not say who answered: who it was last.
  const unnamed = sample.outcome === "ok" && sample.status === null && last !== undefined;
  const status = unnamed && answersAsAnother(picture, last.sample) ? last.sample.status : sample.status;
  ofNode.set(sample.prober, { sample: { ...sample, status }, atMs: now });
  const seen = new Map(picture.seen);
  seen.set(sample.node, ofNode);
  const isPrimary = sample.node === picture.state?.value.primary;
  // Twice, so that it is a fact (DETECTION.md, Threshold).
  const ended = isPrimary && sample.outcome === "refused" && sample.attempts >= 2;
  if (sample.status === null) return { ...picture, seen, endedSinceOpen: picture.endedSinceOpen || ended };
  // What another server says at the primary's address is not the primary's word; its last one stands.
  if (answersAsAnother(picture, sample)) return { ...picture, seen };
  const statuses = new Map(picture.statuses);
  statuses.set(sample.node, { status: sample.status, atMs: now });
  const { readOnly, serverUuid, startedUnixS } = sample.status;
  const open = !readOnly && serverUuid === picture.state?.value.primaryUuid;
  return {
    ...picture,
    seen,
    statuses,
    writing: writingAfter(picture, sample, now),
    openedStartS: open ? startedUnixS : picture.openedStartS,
    endedSinceOpen: picture.endedSinceOpen && !(isPrimary && open),
  };
}

function writingAfter(picture: Picture, { node, status }: Sample, now: number): Writing | null {
  const { policy } = picture.declared ?? {};
  if (node !== picture.state?.value.primary || status === null || status.readOnly) return picture.writing;
  if (policy?.durability !== "available" && policy?.onAckLoss !== "degrade") return null;
  return noteWriting(picture.writing, status, now);
}

/** Forgets probers that have been silent for a minute, so that instances that came and went do not pile up. */
export function forgetGone(picture: Picture, now: number): Picture {
  let changed = false;
  const seen = new Map<string, ReadonlyMap<string, Seen>>();
  for (const [node, byProber] of picture.seen) {
    const kept = new Map([...byProber].filter(([, s]) => now - s.atMs < 60_000));
    if (kept.size !== byProber.size) changed = true;
    if (kept.size > 0 && picture.declared?.nodes[node] !== undefined) seen.set(node, kept);
    else changed = true;
  }
  return changed ? { ...picture, seen } : picture;
}
