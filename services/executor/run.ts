/**
 * One intent, from its arrival to the end of its operation: fresh, taken over from a dead executor, or too late.
 */
import type { Before, ClusterState, DeclaredCluster, Intent, OperationKind } from "@baton/contracts";
import {
  ackersOf,
  claim,
  declined,
  describeWindow,
  downtimeOf,
  endOf,
  heldBack,
  notCounted,
  ORDER_VALID_MS,
  takeOver,
} from "@baton/protocol";
import { adopt } from "./adopt.ts";
import { primaryChanged, reignEnded } from "./announcement.ts";
import { degrade, restore } from "./degrade.ts";
import { carriersOf, heedEpoch, lookForEpochs, withInstallation } from "./epoch.ts";
import { failover } from "./failover.ts";
import { meant } from "./identity.ts";
import { membership } from "./membership.ts";
import { Operation, type Ports } from "./operation.ts";
import { endAborted, giveUpOverdue, isOverdue } from "./overdue.ts";
import { rebuild } from "./rebuild.ts";
import { Refusal, Superseded } from "./refusal.ts";
import { rejoin } from "./rejoin.ts";
import { reopen } from "./reopen.ts";
import { repair } from "./repair.ts";
import { splitBrain } from "./split-brain.ts";
import { switchover } from "./switchover.ts";

/** What was published is stored within this time, or its loss is logged. */
const PUBLISH_MS = 5_000;
/** Replicas answer in a round trip; one that has not answered by now is asked again when it is fenced. */
const REACH_MS = 20;
/** A decider that lives answers in less than a millisecond, or as soon as its machine lets it; only for one that has died is this waited out. */
const CONFIRM_MS = 500;

export type Found = { value: ClusterState; revision: number } | null;

export type Entry = "fresh" | "take-over" | "ended" | "too-late";

/** How the intent stands to the state as it is now. Pure. */
export function entryOf(intent: Intent, found: Found): Entry {
  if (found !== null && found.value.operation?.id === intent.operation) return "take-over";
  if (found !== null && endOf(found.value, intent.operation) !== null) return "ended";
  if ((found?.revision ?? 0) === intent.stateRevision) return "fresh";
  return "too-late";
}

/** What was running when the intent was given: what a rolled-back operation puts back. Pure. */
export function beforeOf(intent: Intent): Before {
  const entries = Object.entries(intent.nodes);
  return {
    receiverOn: entries
      .filter(([node, s]) => node !== intent.node && s?.replica != null && s.replica.receiver !== "off")
      .map(([node]) => node),
    writable: entries.filter(([, s]) => s?.readOnly === false).map(([node]) => node),
    sources: Object.fromEntries(
      entries.flatMap(([node, s]) =>
        s?.replica == null ? [] : [[node, { host: s.replica.sourceHost, port: s.replica.sourcePort }]],
      ),
    ),
    applierOff: entries.filter(([, s]) => s?.replica?.applier === "off").map(([node]) => node),
  };
}

export interface RunResult {
  entry: Entry;
  operation: Operation | null;
  /** It belongs to another now, or to nobody: whether it has ended is not known here. */
  left: boolean;
}

/**
 * Runs the intent. Returns when nothing is left to do for it; throws when it must be delivered again (NATS
 * away, an error that the protocol has no name for before anything was claimed).
 */
export async function runIntent(
  intent: Intent,
  declared: DeclaredCluster,
  found: Found,
  ports: Ports,
  redelivered: boolean,
  onOperation: (op: Operation) => void,
): Promise<RunResult> {
  let entry = entryOf(intent, found);
  if (entry === "too-late" || entry === "ended") {
    // The watched copy may be a moment behind or ahead of the intent: ask once before giving it up.
    found = await ports.readState(intent.cluster);
    entry = entryOf(intent, found);
  }
  if (entry === "ended" && found !== null) await tellAgain(intent, found.value, declared, ports);
  // Another may have begun what comes again, and told its end.
  if (entry === "too-late" && !redelivered)
    await tellNeverBegan(new Operation(intent, declared, found, ports, false));
  if (entry === "too-late" || entry === "ended") return { entry, operation: null, left: false };

  const who = found === null ? null : meant(intent, declared, found.value, ports.vouches(intent.cluster));
  const op = new Operation(intent, who?.declared ?? declared, found, ports, entry === "take-over");
  onOperation(op);
  if (entry === "take-over" && (await isOfThePast(op))) return { entry, operation: op, left: true };
  try {
    if (intent.kind === "adopt") await adopt(op);
    else {
      await op.step("claim", async () => {
        const learning = op.learnMark();
        learning.catch(() => undefined);
        if (entry === "fresh") {
          await heedEpochs(op);
          if (who !== null) await heedIdentity(op, who.refusal);
          if (intent.kind === "failover") {
            const ackers = ackersOf(op.declared, intent.node, notCounted(op.state));
            // Only asked, and held: a brake that is on lets all of it go again.
            const [judgedAgoMs] = await Promise.all([
              ports.judgedAgoMs(intent, CONFIRM_MS),
              heedBrakes(op),
              learning,
              op.reach(ackers, declared.policy.deadlines.fenceMs, REACH_MS),
            ]);
            await heedAge(op, judgedAgoMs);
          } else await heedBrakes(op);
        }
        await learning;
        const next =
          entry === "take-over"
            ? takeOver(op.state, ports.executor)
            : claim(op.state, intent, ports.executor, ports.nowUnixMs(), beforeOf(intent));
        await op.change(withInstallation(op, next));
        return {
          value: null,
          summary:
            entry === "take-over"
              ? `taken over (${next.operation?.takeovers})`
              : `${next.phase} for epoch ${next.epoch}`,
        };
      });
      if (op.state.operation?.aborted !== undefined) await endAborted(op);
      else if (intent.kind === "failover") await failover(op);
      else if (intent.kind === "switchover") await switchover(op);
      else if (intent.kind === "reopen") await reopen(op);
      else if (intent.kind === "degrade") await degrade(op);
      else if (intent.kind === "restore") await restore(op);
      else if (intent.kind === "rebuild") await rebuild(op);
      else if (intent.kind === "repair") await repair(op);
      else if (intent.kind === "membership") await membership(op);
      else if (intent.kind === "split-brain") await splitBrain(op);
      else await rejoin(op);
    }
  } catch (error) {
    if (error instanceof Superseded) {
      op.supersede(error.code, error.message);
      if (entry === "fresh" && !redelivered && (await neverBegan(op))) {
        await tellNeverBegan(op);
        return { entry: "too-late", operation: op, left: false };
      }
      // Whoever took it may come to nothing; while the state names this operation, somebody must go on with it.
      return { entry, operation: op, left: true };
    }
    if (error instanceof Refusal && (intent.kind === "adopt" || op.hasEnded))
      return { entry, operation: op, left: false };
    if (intent.kind !== "adopt" && isOverdue(op)) {
      await giveUpOverdue(op, error);
      return { entry, operation: op, left: false };
    }
    // After the commit point there is no way but forward: the intent comes again, to this executor or another.
    op.supersede("internal", error instanceof Error ? error.message : String(error));
    throw error;
  } finally {
    op.tellEnd();
    await op.letGo(PUBLISH_MS);
  }
  return { entry, operation: op, left: false };
}

/**
 * A brake that was put on while the intent was under way: it ends here, with nothing touched. What runs already is
 * never interrupted: half an operation is worse than a whole one. What a person asked for passes every brake.
 */
async function heedBrakes(op: Operation): Promise<void> {
  const { intent, declared, ports } = op;
  if (intent.kind === "switchover" || intent.byPerson === true) return;
  const brakes = await ports.brakes(op.cluster);
  const nowUnixMs = ports.nowUnixMs();
  // A downtime keeps nobody from replacing or reopening a primary: that outage is the whole cluster's.
  // Nor does it change what counts.
  const passes = intent.node === op.state.primary || intent.kind === "membership";
  const inHand = passes ? null : downtimeOf(brakes, intent.node, nowUnixMs);
  const why =
    heldBack(declared, brakes, nowUnixMs) ?? describeWindow(`${intent.node} is in downtime`, inHand);
  if (why === null) return;
  await op.change(declined(op.state, intent, ports.executor, "paused", ports.nowUnixMs()));
  throw new Refusal("paused", `nothing was touched: ${why}`);
}

/** The names do not fit the servers, or the node is somebody else's: whom it would touch nobody can say. */
async function heedIdentity(op: Operation, refusal: ReturnType<typeof meant>["refusal"]): Promise<void> {
  if (refusal === null) return;
  const { intent, ports } = op;
  await op.change(declined(op.state, intent, ports.executor, refusal.code, ports.nowUnixMs()));
  throw new Refusal(refusal.code, `nothing was touched: ${refusal.reason}`);
}

/** The state that the order leaves does not fit what the nodes carry: nothing is begun. */
async function heedEpochs(op: Operation): Promise<void> {
  try {
    heedEpoch(op, carriersOf(op.intent.nodes));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    await op.change(declined(op.state, op.intent, op.ports.executor, error.code, op.ports.nowUnixMs()));
    throw error;
  }
}

/**
 * An operation that a restored state names as running may have ended long since: every node is asked before anything is opened in its name.
 * It is left as it stands, and comes again: by then somebody has put the state right.
 */
async function isOfThePast(op: Operation): Promise<boolean> {
  const { cluster, intent } = op;
  try {
    heedEpoch(op, await lookForEpochs(op));
    return false;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    op.alert({
      severity: "critical",
      code: error.code,
      title: `${cluster}: ${intent.kind} ${intent.operation} is not gone on with (${error.code})`,
      summary: `${error.message}. Nothing was touched.`,
      action: `baton status ${cluster} says what the nodes carry; baton recover ${cluster} proposes the state that fits them.`,
      node: intent.node,
    });
    await op.letGo(PUBLISH_MS);
    return true;
  }
}

/** Its claim came too late, and nobody else has begun it. */
async function neverBegan(op: Operation): Promise<boolean> {
  if (op.hasWritten) return false;
  const entry = entryOf(op.intent, await op.ports.readState(op.cluster));
  return entry === "too-late";
}

/** Who waits for the end of what was ordered is told that there was no beginning. An adoption is ordered by each decider. */
async function tellNeverBegan(op: Operation): Promise<void> {
  if (op.intent.kind === "adopt") return;
  op.event({
    type: "operation-ended",
    node: op.intent.node,
    outcome: "rolled-back",
    code: "state-changed",
    summary: `${op.intent.kind} of ${op.intent.node} in ${op.cluster}: nothing was touched, the cluster's state had been changed by another`,
    primary: null,
    previous: null,
    next: null,
    detail: {},
  });
  await op.letGo(PUBLISH_MS);
}

/**
 * A decider that slept between its judgement and its order may have slept through the primary's return. Whoever ordered it says by its
 * own clock how old the judgement is; where it says nothing (null), it is gone, and another would have judged alike.
 */
async function heedAge(op: Operation, judgedAgoMs: number | null): Promise<void> {
  if (judgedAgoMs === null || judgedAgoMs <= ORDER_VALID_MS) return;
  const { intent, ports } = op;
  await op.change(declined(op.state, intent, ports.executor, "state-changed", ports.nowUnixMs()));
  throw new Refusal(
    "state-changed",
    `nothing was touched: the order rests on what was judged ${(judgedAgoMs / 1_000).toFixed(1)} s ago, and is judged anew`,
  );
}

const REIGN_CHANGING: ReadonlySet<OperationKind> = new Set<OperationKind>([
  "failover",
  "switchover",
  "split-brain",
]);

/** Another reign has begun since this operation ended, or is about to. */
function reignedSince({ earlier = [], last, operation, phase }: ClusterState, intent: Intent): boolean {
  const ends = [...earlier, ...(last === null ? [] : [last])];
  const after = ends.slice(ends.findIndex(({ id }) => id === intent.operation) + 1);
  return (
    after.some(({ kind }) => REIGN_CHANGING.has(kind)) ||
    (phase !== "steady" && operation !== null && REIGN_CHANGING.has(operation.kind))
  );
}

/** An executor that died right after its last compare-and-set may have told nobody. What was told is not told twice. */
async function tellAgain(
  intent: Intent,
  state: ClusterState,
  declared: DeclaredCluster,
  ports: Ports,
): Promise<void> {
  const atItsEnd = { ...state, operation: null, last: endOf(state, intent.operation) };
  const op = new Operation(intent, declared, { value: atItsEnd, revision: 0 }, ports, true);
  // One that was rolled back, or a split brain after which the primary is who it was, has changed no reign; of one that is over the state
  // does not say any more who reigned.
  if (!REIGN_CHANGING.has(intent.kind) || state.primary === intent.node || reignedSince(state, intent)) {
    op.tellEnd();
    await op.letGo(PUBLISH_MS);
    return;
  }
  const told = reignEnded(intent, atItsEnd);
  op.event(primaryChanged(intent, atItsEnd, declared));
  op.event(told.event);
  op.alert(told.alert);
  await op.letGo(PUBLISH_MS);
}
