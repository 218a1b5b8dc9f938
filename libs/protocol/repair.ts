/**
 * What is broken on a node that Baton can mend, by what the node says of itself. Pure: a decider asks of the last sample, the
 * executor asks the same again of the node while it holds it.
 */
import type { NodeStatus, ReplicaStatus, SemiSyncStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import type { Pen } from "./durability.ts";
import { heldBy } from "./vouch.ts";

/** The largest that the server takes: semi-sync never degrades by itself. */
const FOREVER_MS = 4_294_967_295;

/**
 * Errors of an applier that say nothing of the data: a thread was killed (1317; 1756 where no worker has an error of its own), locks or
 * a deadlock outlasted the retries, memory or the disk was full. After any other the data differ, and starting
 * again would only fail again.
 */
const PASSING: ReadonlySet<number> = new Set([1021, 1037, 1038, 1041, 1205, 1213, 1317, 1756]);

/**
 * Errors of a receiver that say nothing of the data: an event came torn over the network (1743, 13115), or could not be queued in the
 * relay log (1595, 13122), as when the connection is cut in the handshake or the disk is full. Started again, it asks for what it lacks.
 */
const PASSING_ON_THE_WAY: ReadonlySet<number> = new Set([1595, 1743, 13_115, 13_122]);

/** A fatal error (1593, 13117) is mostly one for a person; not so where semi-sync could not answer because its connection was cut. */
const CUT_IN_SEMI_SYNC = /Failed to run '\w+' hook/;

export interface Stopped {
  code: "replication-stopped" | "replication-error";
  /** May it be started without a person? */
  startable: boolean;
  /** `its applier is stopped by error 1756: …` */
  why: string;
}

/**
 * Why replication stands still; null while it does not. A receiver that fails to connect tries on by itself, so one that is
 * off with such an error, or with none, was stopped on purpose (STOP REPLICA; KILL leaves no error either). Where the
 * receiver was, the applier is left alone too. `excused`: it stands still since a restart of its server, or since Baton
 * itself stopped it.
 */
export function whyStopped(r: ReplicaStatus, excused: boolean): Stopped | null {
  if (r.receiver === "off" && r.receiverErrno !== 0 && !isConnectError(r.receiverErrno))
    return {
      code: "replication-error",
      startable: PASSING_ON_THE_WAY.has(r.receiverErrno) || CUT_IN_SEMI_SYNC.test(r.receiverError),
      why: `its receiver stopped with error ${r.receiverErrno}: ${r.receiverError}`,
    };
  if (r.receiver === "off")
    return { code: "replication-stopped", startable: excused, why: "its receiver is stopped" };
  if (r.applierErrno !== 0)
    return {
      code: "replication-error",
      startable: PASSING.has(r.applierErrno),
      why: `its applier stopped with error ${r.applierErrno}: ${r.applierError}`,
    };
  if (r.applier === "off")
    return { code: "replication-stopped", startable: excused, why: "its applier is stopped" };
  return null;
}

/** The client's own errors, and those with which a source refuses a connection: the receiver retries after them. */
function isConnectError(errno: number): boolean {
  return (
    (errno >= 2_000 && errno < 3_000) || [1040, 1045, 1129, 1130, 1158, 1159, 1160, 1161].includes(errno)
  );
}

/** What is wrong with the semi-sync settings of the writable primary; empty when nothing is. Plugins that are missing are no setting. */
export function primarySemiSyncFaults(semi: SemiSyncStatus | null, pen: Pen): string[] {
  if (semi === null) return [];
  // How long a write waits where it need not wait for ever is for degrade.ts and whoever opens a primary.
  const waits = pen.timeoutMs !== null || semi.timeoutMs >= FOREVER_MS;
  return [
    ...(semi.acks === pen.acks ? [] : [`waits for ${semi.acks} acks and not for ${pen.acks}`]),
    ...(waits ? [] : [`goes on without acks after ${semi.timeoutMs} ms`]),
    ...(semi.waitNoReplica ? [] : ["does not wait while too few replicas are attached"]),
    ...(semi.afterSync ? [] : ["shows others a write before it is acknowledged (AFTER_COMMIT)"]),
  ];
}

/** The same of a replica that follows and is to acknowledge. */
export function replicaSemiSyncFaults(status: NodeStatus): string[] {
  const semi = status.semiSync;
  if (semi === null) return [];
  const attached = status.replica?.receiver === "on";
  return [
    ...(semi.source ? ["has the source role on, which blocks its own applier"] : []),
    ...(semi.replica ? [] : ["has the replica role off"]),
    ...(semi.replica && attached && !semi.replicaActive ? ["receives without acknowledging"] : []),
  ];
}

/** Does the primary answer writes without waiting for an ack? `mayLose`: those that waited long enough may go on without. */
export function answersAlone(status: NodeStatus, mayLose: boolean): boolean {
  const semi = status.semiSync;
  return semi !== null && !(semi.source && (semi.sourceActive || mayLose));
}

/**
 * The transactions that wait on the primary although enough ackers hold them; null when none does. A moment of this is how
 * semi-sync works, so the caller looks for how long the primary stands at one place. `ackers` are those that follow.
 */
export function waitingThoughHeld(
  primary: NodeStatus,
  ackers: readonly NodeStatus[],
  acks: number,
): GtidSet | null {
  const semi = primary.semiSync;
  if (semi?.source !== true || semi.waiting === 0 || semi.clients < semi.acks) return null;
  const executed = GtidSet.parse(primary.executed);
  const ahead = ackers.map((s) => heldBy(s).subtract(executed).onlyFrom(primary.serverUuid));
  const holding = ahead.filter((set) => !set.isEmpty());
  if (holding.length < acks) return null;
  const common = holding.reduce((a, b) => a.intersect(b));
  return common.isEmpty() ? null : common;
}

/** What a node holds of its own: what the primary has not, but for what it can only have from this primary itself. */
export function ownTransactions(status: NodeStatus, primaryExecuted: GtidSet, primaryUuid: string): GtidSet {
  const ahead = GtidSet.parse(status.executed).subtract(primaryExecuted);
  return ahead.subtract(ahead.onlyFrom(primaryUuid));
}
