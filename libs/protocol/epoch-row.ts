/**
 * Does the state in NATS fit the data? The first transaction of each epoch writes on the new primary whose it is (`baton.epoch`), and it
 * replicates: so a state that NATS lost, or was set back, and a second installation show in the data. Pure: the decider asks of the
 * last samples, the executor of what it reads itself before it opens a node.
 */
import type { ClusterState, EpochRow, NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";

export interface EpochFault {
  code: "state-went-back" | "foreign-installation";
  /** Who carries what speaks against the state. */
  node: string;
  why: string;
}

export type Carriers = ReadonlyMap<string, Pick<NodeStatus, "epoch" | "executed">>;

interface Carried {
  node: string;
  row: EpochRow;
  executed: string;
}

/** What the nodes carry, the highest epoch first. */
export function carriedRows(statuses: Carriers): Carried[] {
  return [...statuses]
    .flatMap(([node, { epoch, executed }]) => (epoch == null ? [] : [{ node, row: epoch, executed }]))
    .sort((a, b) => b.row.epoch - a.row.epoch || (a.node < b.node ? -1 : 1));
}

/** The epoch whose primary the state names: in `fencing` the old one still reigns. */
function reigning(state: ClusterState): number {
  return state.phase === "fencing" ? state.epoch - 1 : state.epoch;
}

function isOurs(row: EpochRow, cluster: string, installation: string | undefined): boolean {
  // A state of an older version names none: the epoch alone has to tell.
  return row.cluster === cluster && (installation === undefined || row.installation === installation);
}

/** Null while nothing that was read speaks against the state. While something does, nothing is opened, shut or repointed. */
export function epochFault(
  cluster: string,
  state: ClusterState | null,
  statuses: Carriers,
): EpochFault | null {
  const rows = carriedRows(statuses);
  const [first] = rows;
  if (first === undefined) return null;
  if (state === null) {
    const carriers = rows.map((r) => r.node).join(", ");
    return {
      code: "foreign-installation",
      node: first.node,
      why: `${carriers} carry the mark of a Baton installation (${describeRow(first.row)}), and here is no state of ${cluster}`,
    };
  }
  const ours = rows.filter((r) => isOurs(r.row, cluster, state.installation));
  const reign = reigning(state);
  const ahead = ours.find(
    ({ row }) => row.epoch > reign || (row.epoch === reign && row.primaryUuid !== state.primaryUuid),
  );
  if (ahead !== undefined)
    return {
      code: "state-went-back",
      node: ahead.node,
      why: `${ahead.node} carries epoch ${ahead.row.epoch} with primary ${ahead.row.primaryUuid}, the state says epoch ${reign} with ${state.primary} (${state.primaryUuid})`,
    };
  // Somebody else's server behind a wrong address has no history in common with this cluster, and stops only itself.
  const foreign = rows.find(
    (r) => !ours.includes(r) && (ours.length === 0 || ours.some((o) => shares(r, o))),
  );
  return foreign === undefined
    ? null
    : {
        code: "foreign-installation",
        node: foreign.node,
        why: `${foreign.node} carries the mark of another Baton installation (${describeRow(foreign.row)}); this one is ${state.installation ?? "of no name"} and leads ${cluster} in epoch ${reign}`,
      };
}

/** Some node says of itself what the state says: a state that is remembered may be put back. */
export function dataAgree(cluster: string, state: ClusterState, statuses: Carriers): boolean {
  if (epochFault(cluster, state, statuses) !== null) return false;
  return carriedRows(statuses).some(
    ({ row }) =>
      isOurs(row, cluster, state.installation) &&
      (row.epoch === reigning(state) || (state.phase === "promoting" && row.epoch === state.epoch - 1)),
  );
}

/** What the new primary of the state's epoch is to carry; null in a state that does not name its installation. */
export function rowOf(state: ClusterState): EpochRow | null {
  if (state.installation === undefined) return null;
  const { cluster, epoch, installation, primaryUuid } = state;
  return { installation, cluster, epoch, primaryUuid };
}

export function isSameRow(a: EpochRow | null | undefined, b: EpochRow | null | undefined): boolean {
  if (a == null || b == null) return false;
  return (
    a.installation === b.installation &&
    a.cluster === b.cluster &&
    a.epoch === b.epoch &&
    a.primaryUuid === b.primaryUuid
  );
}

function describeRow(row: EpochRow): string {
  return `installation ${row.installation}, cluster ${row.cluster}, epoch ${row.epoch}`;
}

function shares(a: Carried, b: Carried): boolean {
  const mine = GtidSet.parse(a.executed);
  return !mine.subtract(mine.subtract(GtidSet.parse(b.executed))).isEmpty();
}
