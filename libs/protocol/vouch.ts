/**
 * A replica's word counts only for what it still has. One that restarted with its relay logs discarded may
 * have acknowledged writes that it lost; the ledger remembers the highest it was seen to hold.
 */
import type { NodeStatus, Vouch } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";

/** received ∪ executed: all that a node can contribute. */
export function heldBy(status: Pick<NodeStatus, "executed" | "replica">): GtidSet {
  const executed = GtidSet.parse(status.executed);
  return status.replica === null ? executed : executed.union(GtidSet.parse(status.replica.received));
}

/**
 * What a MariaDB server has received and not applied while both its replication threads stand: the next START SLAVE would throw
 * it away. Empty for MySQL, which keeps its relay logs.
 */
export function strandedIn(status: Pick<NodeStatus, "executed" | "replica" | "flavour">): GtidSet {
  const r = status.replica;
  if (status.flavour !== "mariadb" || r === null || r.receiver !== "off" || r.applier !== "off")
    return GtidSet.empty;
  return GtidSet.parse(r.received).subtract(GtidSet.parse(status.executed));
}

/**
 * A server keeps the second of its start, and gives its clock and its uptime in one statement: two readings of one start are equal, whatever
 * is done to the clock meanwhile. A server that dies again a second after Baton has opened it stands still for a new reason.
 */
export function isSameStart(aUnixS: number, bUnixS: number): boolean {
  return aUnixS === bUnixS;
}

export interface VouchFinding {
  canVouch: boolean;
  /** What the ledger says it held and it does not hold now. */
  missing: GtidSet;
  reason: string;
}

/**
 * May this replica vouch for everything that it ever acknowledged?
 * No, when it lacks what the ledger saw it hold; nor when it restarted, with `relay_log_recovery=ON`, since the
 * ledger last saw it: what it acknowledged in between may be gone without trace.
 */
export function canVouch(
  status: Pick<NodeStatus, "executed" | "replica" | "serverUuid" | "startedUnixS" | "relayLogRecovery">,
  ledger: Vouch | undefined,
): VouchFinding {
  if (ledger === undefined)
    return { canVouch: true, missing: GtidSet.empty, reason: "not in the ledger yet" };
  const missing = GtidSet.parse(ledger.held).subtract(heldBy(status));
  if (!missing.isEmpty()) return { canVouch: false, missing, reason: `no longer holds ${missing}` };
  const restarted =
    ledger.serverUuid !== status.serverUuid || !isSameStart(ledger.startedUnixS, status.startedUnixS);
  if (restarted && status.relayLogRecovery) {
    return {
      canVouch: false,
      missing,
      reason: "restarted with relay_log_recovery=ON, which discards acknowledged relay logs",
    };
  }
  return {
    canVouch: true,
    missing,
    reason: restarted ? "restarted with its relay logs kept" : "never restarted",
  };
}

/**
 * The ledger's next entry for a replica that hears its primary, or null when nothing changes. The entry moves to
 * a new start of the server only once that start holds all that the old entry did. Transactions unknown
 * to the primary are left out: errant ones would bind every later incarnation of the node.
 */
export function nextVouch(
  cluster: string,
  node: string,
  status: NodeStatus,
  primaryExecuted: GtidSet,
  ledger: Vouch | undefined,
): Vouch | null {
  const held = heldBy(status).intersect(primaryExecuted);
  const before = ledger === undefined ? GtidSet.empty : GtidSet.parse(ledger.held);
  if (!held.contains(before)) return null;
  const sameStart =
    ledger !== undefined &&
    ledger.serverUuid === status.serverUuid &&
    isSameStart(ledger.startedUnixS, status.startedUnixS);
  if (sameStart && held.equals(before)) return null;
  return {
    cluster,
    node,
    serverUuid: status.serverUuid,
    startedUnixS: sameStart ? ledger.startedUnixS : status.startedUnixS,
    held: held.toString(),
  };
}
