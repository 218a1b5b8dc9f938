/**
 * What this decider knows of the primary's history: the high-water mark, whether each acknowledged write is proven to be held by k
 * replicas, and whether the primary has lost what it was seen to hold. Kept in `baton_marks`, so that a decider that has just started knows
 * what the one before it saw. Pure. (SAFETY.md, "What the promises rest on"; docs/decisions/0018)
 */
import type { DiagnosisCode, Mark, NodeStatus, Sample } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import {
  describeMissing,
  follows,
  heldBy,
  isSameStart,
  mayLose,
  notCounted,
  requiredOf,
} from "@baton/protocol";
import { nowUnixMs } from "./brakes.ts";
import { type History, raise, SKEW_MS } from "./history.ts";
import type { Picture } from "./picture.ts";
import { reachedStatuses, type VoteSettings } from "./votes.ts";

/** The mark is written at most so often while it only rises. */
const RISE_EVERY_MS = 500;
/** A change that was not stored, because another decider wrote first, is written again. */
const WRITE_AGAIN_MS = 100;
/** A server counts clients whose host or connection has gone until it hears of it; meanwhile the mark alone protects. */
const UNDECLARED_STANDS_MS = 3_000;
/** So long a connection whose other end is gone may hang: TCP gives up what it sends after a quarter of an hour (tcp_retries2). */
const HANGS_MS = 20 * 60_000;
/** Samples of several probers overtake each other, and a commit's ack is under way: what is missing longer than this is lost. */
const LOST_STANDS_MS = 2_000;
/** Replicas that keep up hold within this time what the primary had; meanwhile they are looked at more often. */
const PROVES_WITHIN_MS = 2_000;

/** Folds a sample into the history. What another server at the primary's address says is no word of the primary's. */
export function noteHistory(
  picture: Picture,
  { node, status: told }: Pick<Sample, "node" | "status">,
  now: number,
  s: VoteSettings,
): Picture {
  const { state, declared } = picture;
  if (state === null || declared === null) return picture;
  const { primary, primaryUuid, phase } = state.value;
  const status = picture.statuses.get(primary)?.status;
  if (told === null || (node === primary && told.serverUuid !== primaryUuid)) return picture;
  if (phase === "fencing" || phase === "promoting" || status?.serverUuid !== primaryUuid) return picture;
  let history = picture.history;
  if (node === primary) {
    if (!status.readOnly) history = noteWritable(picture, history, status, now, s);
    history = noteLost(picture, history, status, now, s);
  } else if (history.proving !== null) history = prove(picture, history, now, s);
  return history === picture.history ? picture : { ...picture, history };
}

function noteWritable(
  picture: Picture,
  before: History,
  status: NodeStatus,
  now: number,
  s: VoteSettings,
): History {
  const declared = picture.declared as NonNullable<Picture["declared"]>;
  const state = (picture.state as NonNullable<Picture["state"]>).value;
  let history = { ...before, undeclaredSinceMs: undeclared(picture, status, before, now, s) };
  const against = speaksAgainst(picture, history, status, now);
  const count = status.semiSync?.timesOff;
  history = {
    ...history,
    timesOff: count === undefined ? null : { startedUnixS: status.startedUnixS, count },
  };
  const { acks } = declared.policy;
  const at = { acks, sinceUnixMs: dateOf(picture, now) };
  if (against !== null) {
    const doubt = history.durability;
    if (doubt === null || doubt.proven)
      history = { ...history, durability: { ...at, proven: false, why: against } };
    history = { ...history, proving: null };
  } else if (history.durability?.proven !== true || history.durability.acks < acks) {
    if (history.proving === null) history = { ...history, proving: status.executed, provingSinceMs: now };
    history = prove(picture, history, now, s);
  }
  const rises =
    mayLose(declared, state) ||
    (against === null && history.durability?.proven === true && status.semiSync?.afterSync !== false);
  return rises ? raise(history, seenHeld(picture, status, now, s), now) : history;
}

/** A MariaDB server counts among its own what no replica has acknowledged yet: of it only what one of them holds. */
function seenHeld(picture: Picture, status: NodeStatus, now: number, s: VoteSettings): string {
  if (status.flavour !== "mariadb") return status.executed;
  const held = [...reachedStatuses(picture, now, s)]
    .filter(([node]) => node !== picture.state?.value.primary)
    .reduce((all, [, of]) => all.union(heldBy(of)), GtidSet.empty);
  return GtidSet.parse(status.executed).intersect(held).toString();
}

/** Why writes may have been answered that fewer than k members hold; null: nothing says so. */
function speaksAgainst(picture: Picture, history: History, status: NodeStatus, now: number): string | null {
  const { primary } = (picture.state as NonNullable<Picture["state"]>).value;
  const acks = picture.declared?.policy.acks ?? 1;
  const semi = status.semiSync;
  const seen = `${primary} was last seen answering writes that wait for`;
  if (semi?.source !== true || !semi.sourceActive)
    return `${seen} no ack (semi-sync ${semi === null ? "not installed" : "off"})`;
  if (semi.acks < acks) return `${seen} ${semi.acks} acks, and a failover reckons with ${acks}`;
  if (status.logBin === false) return `${seen} no ack: ${primary} writes no binary log`;
  const { timesOff } = history;
  if (
    timesOff !== null &&
    semi.timesOff !== undefined &&
    timesOff.startedUnixS === status.startedUnixS &&
    semi.timesOff > timesOff.count
  )
    return `${primary} has stopped waiting for acks in between (Rpl_semi_sync_source_no_times went from ${timesOff.count} to ${semi.timesOff})`;
  if (undeclaredStands(history, now))
    return `${semi.clients} semi-sync replicas are attached to ${primary}, more than are declared and follow it: one that Baton does not know acknowledges writes`;
  return null;
}

/** Since when more semi-sync clients are attached than declared members can be. */
function undeclared(
  picture: Picture,
  status: NodeStatus,
  history: History,
  now: number,
  s: VoteSettings,
): number | null {
  const state = (picture.state as NonNullable<Picture["state"]>).value;
  const statuses = reachedStatuses(picture, now, s);
  const others = notCounted(state).filter((node) => !hangs(picture, node, now));
  // One that cannot be read may be attached.
  const possible = Object.keys(picture.declared?.nodes ?? {}).filter((node) => {
    if (node === state.primary || others.includes(node)) return false;
    const of = statuses.get(node);
    return (
      of === undefined ||
      (of.replica !== null &&
        of.replica.receiver !== "off" &&
        // The setting counts from the receiver's next start on: until then it acknowledges as before.
        (of.semiSync?.replica !== false || of.semiSync.replicaActive) &&
        follows(of, state.primaryUuid, picture.declared?.nodes[state.primary]))
    );
  });
  if ((status.semiSync?.clients ?? 0) <= possible.length) return null;
  return history.undeclaredSinceMs ?? now;
}

/** A node that a person has said will not come back hangs on the primary until the network notices: for ever, it would hide a stranger. */
function hangs(picture: Picture, node: string, now: number): boolean {
  const parked = picture.state?.value.parked?.[node];
  if (parked?.byPerson !== true || parked.left === true) return false;
  const date = nowUnixMs(picture, now);
  return date !== null && date - parked.sinceUnixMs < HANGS_MS;
}

function undeclaredStands(history: History, now: number): boolean {
  return history.undeclaredSinceMs !== null && now - history.undeclaredSinceMs >= UNDECLARED_STANDS_MS;
}

export function undeclaredNow(
  picture: Picture,
  now: number,
): { code: Extract<DiagnosisCode, "undeclared-acker">; node: string; text: string } | null {
  const primary = picture.state?.value.primary;
  const semi = picture.statuses.get(primary ?? "")?.status.semiSync;
  if (primary === undefined || semi == null || !undeclaredStands(picture.history, now)) return null;
  return {
    code: "undeclared-acker",
    node: primary,
    text: `${semi.clients} semi-sync replicas acknowledge writes of ${primary}, more than are declared and follow it`,
  };
}

/** Proven once k members hold all that the primary had when its writes began to wait for acks. */
function prove(picture: Picture, history: History, now: number, s: VoteSettings): History {
  if (history.proving === null) return history;
  const state = (picture.state as NonNullable<Picture["state"]>).value;
  const { nodes, policy } = picture.declared as NonNullable<Picture["declared"]>;
  const all = GtidSet.parse(history.proving);
  const holders = [...reachedStatuses(picture, now, s)]
    .filter(
      ([node, of]) =>
        node !== state.primary &&
        of.serverUuid !== state.primaryUuid &&
        nodes[node] !== undefined &&
        !notCounted(state).includes(node) &&
        of.replica?.receiver === "on" &&
        follows(of, state.primaryUuid, nodes[state.primary]) &&
        heldBy(of).contains(all),
    )
    // A server behind two addresses holds it once.
    .filter(([, of], i, all) => i === all.findIndex(([, other]) => other.serverUuid === of.serverUuid))
    .map(([node]) => node)
    .sort();
  if (holders.length < policy.acks) return history;
  return {
    ...raise(history, history.proving, now),
    proving: null,
    durability: {
      proven: true,
      acks: policy.acks,
      why: `writes wait for ${policy.acks} acks, and ${holders.join(", ")} hold what was written before`.slice(
        0,
        500,
      ),
      sinceUnixMs: dateOf(picture, now),
    },
  };
}

/** For people alone. */
function dateOf(picture: Picture, now: number): number {
  return Math.max(0, Math.round(nowUnixMs(picture, now) ?? 0));
}

/** Under load a replica that was read with the primary lacks what was just written: soon it holds that. */
export function provesSoon({ history }: Picture, now: number): boolean {
  return history.proving !== null && now - history.provingSinceMs < PROVES_WITHIN_MS;
}

/** What it was seen to hold, or replicas hold of its own, and it has not. */
function noteLost(
  picture: Picture,
  history: History,
  status: NodeStatus,
  now: number,
  s: VoteSettings,
): History {
  const state = (picture.state as NonNullable<Picture["state"]>).value;
  const executed = GtidSet.parse(status.executed);
  const forgone = GtidSet.parse(state.forgone?.gtids ?? "");
  const required = requiredOf(GtidSet.parse(history.executed), state);
  const own = [...reachedStatuses(picture, now, s)]
    // What a quarantined node holds beyond the others is outside the history.
    .filter(
      ([node]) =>
        node !== state.primary &&
        picture.declared?.nodes[node] !== undefined &&
        !state.quarantined.includes(node),
    )
    .map(
      ([node, of]) =>
        [node, heldBy(of).onlyFrom(status.serverUuid).subtract(forgone).subtract(executed)] as const,
    )
    .filter(([, set]) => !set.isEmpty());
  const gap = own.reduce((all, [, set]) => all.union(set), required.subtract(executed));
  if (gap.isEmpty()) return history.lost === null ? history : { ...history, lost: null };
  const { lost } = history;
  // What was missing then and is still.
  const still = lost === null ? GtidSet.empty : gap.intersect(GtidSet.parse(lost.missing));
  const missing = still.isEmpty() ? gap : still;
  // Who holds it may be away when the primary is to be opened: the mark remembers.
  const known = hasRestarted(picture, status) ? raise(history, missing.toString(), now) : history;
  return {
    ...known,
    lost: {
      missing: missing.toString(),
      holders: own.filter(([, set]) => !set.intersect(missing).isEmpty()).map(([node]) => node),
      sinceMs: lost === null || still.isEmpty() ? now : lost.sinceMs,
      untilMs: now,
      executed: lost === null || still.isEmpty() ? status.executed : lost.executed,
    },
  };
}

/**
 * The primary has lost history: it has restarted and lacks what it was seen to hold, or what replicas have of its own; or it lacks that for
 * longer than any ack takes, while nobody waits for one or later writes have been acknowledged. Null: it has not.
 */
export function lostNow(picture: Picture): string | null {
  const { primary } = picture.state?.value ?? {};
  const { lost } = picture.history;
  const status = picture.statuses.get(primary ?? "")?.status;
  if (primary === undefined || lost === null || status === undefined) return null;
  const missing = GtidSet.parse(lost.missing);
  const words = `${describeMissing(primary, missing).replace(" that the primary was seen to have executed", "")} ${
    lost.holders.length === 0
      ? "that it was seen to have executed"
      : `of its own, which ${lost.holders.join(", ")} hold`
  }`;
  if (hasRestarted(picture, status)) return words;
  if (lost.untilMs - lost.sinceMs < LOST_STANDS_MS) return null;
  if (status.readOnly) return words;
  const grown = !GtidSet.parse(status.executed)
    .subtract(GtidSet.parse(lost.executed))
    .onlyFrom(status.serverUuid)
    .isEmpty();
  return status.semiSync?.waiting === 0 || grown ? words : null;
}

/**
 * It is closed and its start is another than when it was open. A server that starts commits all that its binary log holds before anybody
 * can ask it: what is missing then is gone.
 */
function hasRestarted(picture: Picture, status: NodeStatus): boolean {
  const opened = picture.openedStartS ?? picture.state?.value.primaryStartedUnixS;
  const another = opened !== undefined && !isSameStart(opened, status.startedUnixS);
  return status.readOnly && (picture.endedSinceOpen || another);
}

/** The mark that a plan is to reckon with, without what was given up: while the primary lives, as old as the oldest sample of a replica. */
export function markNow(picture: Picture, now: number, s: VoteSettings, isDead: boolean): GtidSet {
  const { history, state } = picture;
  const primary = state?.value.primary;
  const read = [...reachedStatuses(picture, now, s).keys()]
    .filter((node) => node !== primary)
    .map((node) => picture.statuses.get(node)?.atMs ?? now);
  const oldestMs = Math.min(now, ...read) - SKEW_MS;
  const executed = isDead
    ? history.executed
    : (history.remembered.find((m) => m.atMs <= oldestMs)?.executed ?? "");
  return requiredOf(GtidSet.parse(executed), state?.value ?? {});
}

/** Why it is not proven that k replicas hold each acknowledged write; null: it is. */
export function unproven(picture: Picture): string | null {
  const { durability } = picture.history;
  const acks = picture.declared?.policy.acks ?? 1;
  if (durability === null)
    return "nobody has seen yet that writes wait for acks and that replicas hold what was written before";
  if (!durability.proven) return durability.why;
  return durability.acks >= acks
    ? null
    : `it was proven for ${durability.acks} acks, and a failover reckons with ${acks}`;
}

/** The entry to write, and behind which revision; null: the one in NATS says it all, or was written just now. */
export function markDue(
  picture: Picture,
  now: number,
  decider: string,
): { mark: Mark; revision: number } | null {
  const { history, state, mark } = picture;
  if (state === null || mark === null || history.durability === null) return null;
  const { value, revision } = mark;
  const told = value?.durability;
  const changed =
    value === null || told?.proven !== history.durability.proven || told.acks !== history.durability.acks;
  const { epoch, primary, primaryUuid, phase } = state.value;
  if (phase === "fencing" || phase === "promoting") return null;
  const risen = value?.executed !== history.executed || value.epoch !== epoch;
  if (!changed && !risen) return null;
  if (now - history.writtenMs < (changed ? WRITE_AGAIN_MS : RISE_EVERY_MS)) return null;
  return {
    mark: {
      cluster: picture.cluster,
      epoch,
      primary,
      primaryUuid,
      executed: history.executed,
      durability: history.durability,
      decider,
    },
    revision,
  };
}
