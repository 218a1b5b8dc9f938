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

/** Is it this very start of this very server? */
export function isStartOf(
  entry: Pick<Vouch, "serverUuid" | "startedUnixS">,
  status: Pick<NodeStatus, "serverUuid" | "startedUnixS">,
): boolean {
  return entry.serverUuid === status.serverUuid && isSameStart(entry.startedUnixS, status.startedUnixS);
}

/**
 * May this replica vouch for everything that it ever acknowledged?
 * No, when the ledger does not know it, for then nobody has seen it whole; when it lacks what the ledger saw it hold; nor when it is another server, or restarted with
 * `relay_log_recovery=ON`, since the ledger last saw it: what it acknowledged in between may be gone without trace.
 */
export function canVouch(
  status: Pick<NodeStatus, "executed" | "replica" | "serverUuid" | "startedUnixS" | "relayLogRecovery">,
  ledger: Vouch | undefined,
): VouchFinding {
  const no = (reason: string, missing = GtidSet.empty): VouchFinding => ({
    canVouch: false,
    missing,
    reason,
  });
  if (ledger === undefined)
    return no("was not seen yet to hold all that its primary had, so it cannot say what it may have lost");
  const missing = GtidSet.parse(ledger.held).subtract(heldBy(status));
  if (!missing.isEmpty()) return no(`no longer holds ${missing}`, missing);
  if (ledger.serverUuid !== status.serverUuid)
    return no(`is server ${status.serverUuid} and was ${ledger.serverUuid}: its data were replaced`);
  const restarted = !isSameStart(ledger.startedUnixS, status.startedUnixS);
  if (restarted && status.relayLogRecovery)
    return no("restarted with relay_log_recovery=ON, which discards acknowledged relay logs");
  return {
    canVouch: true,
    missing,
    reason: restarted ? "restarted with its relay logs kept" : "never restarted",
  };
}

export interface VouchFacts {
  /** For a first entry, or another start: what the primary had executed after that start was first seen. */
  required?: GtidSet;
  /** It has left the members: what is not in the history binds it no more. */
  quarantined?: boolean;
}

/**
 * The ledger's next entry for a node of which the primary's history is known, or null when nothing changes. An entry is made, and moves to
 * a new start of the server, only once that start holds all that the old entry did and all that was executed when it was first seen.
 * Transactions unknown to the primary are left out: errant ones would bind every later incarnation of the node.
 */
export function nextVouch(
  cluster: string,
  node: string,
  status: Pick<NodeStatus, "executed" | "replica" | "serverUuid" | "startedUnixS">,
  primaryExecuted: GtidSet,
  ledger: Vouch | undefined,
  { required, quarantined = false }: VouchFacts = {},
): Vouch | null {
  const held = heldBy(status).intersect(primaryExecuted);
  const was = ledger === undefined ? GtidSet.empty : GtidSet.parse(ledger.held);
  const binds = quarantined ? was.intersect(primaryExecuted) : was;
  if (!held.contains(binds)) return null;
  const same = ledger !== undefined && isStartOf(ledger, status);
  if (same && held.equals(was)) return null;
  if (!same && (required === undefined || !held.contains(required))) return null;
  return {
    cluster,
    node,
    serverUuid: status.serverUuid,
    startedUnixS: same ? ledger.startedUnixS : status.startedUnixS,
    held: held.toString(),
  };
}
