/**
 * Who is who: a server is its server_uuid, an address or a name only says where it is looked for. Pure. A server that shares
 * nothing with the cluster's history is somebody else's until a person says otherwise: it is never touched.
 */
import type { ClusterState, DeclaredCluster, NodeStatus, Vouch } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import { heldBy } from "./vouch.ts";

export interface ClusterHistory {
  /**
   * What the servers that are known to be of the cluster have executed, empty in a new cluster; null while none of them has been read. Asked
   * for only when a server is not known: it may be long.
   */
  executed(): GtidSet | null;
  /** Servers known to be of the cluster. */
  uuids: ReadonlySet<string>;
}

/**
 * Known are its primaries, and the replicas that the ledger has seen following: what they hold, of the servers just seen, is the history.
 */
export function historyOf(
  state: Pick<ClusterState, "primaryUuid" | "servers">,
  vouches: Iterable<Pick<Vouch, "serverUuid">>,
  seen: () => Iterable<Pick<NodeStatus, "serverUuid" | "executed">>,
): ClusterHistory {
  const uuids = new Set([
    state.primaryUuid,
    ...Object.values(state.servers ?? {}),
    ...[...vouches].map((v) => v.serverUuid),
  ]);
  const executed = () => {
    const known = [...seen()].filter(({ serverUuid }) => uuids.has(serverUuid));
    if (known.length === 0) return null;
    // A replica that was led to somebody else's server holds what that wrote: while the primary is known, its word is enough.
    const primary = known.find(({ serverUuid }) => serverUuid === state.primaryUuid);
    if (primary !== undefined) return GtidSet.parse(primary.executed);
    return known.reduce((all, s) => all.union(GtidSet.parse(s.executed)), GtidSet.empty);
  };
  return { executed, uuids };
}

/**
 * It has data of its own and nothing of the cluster's. A server that was ever known, that follows a known one, that wrote a part of the history, or holds
 * transactions which a known one wrote, is of the cluster; one that is empty, or holds a part of the history and nothing else, may join it. What both
 * may have from one golden image (written by neither) proves nothing. MariaDB's GTIDs name no server that is unique: of it nothing is said.
 */
export function isForeign(
  status: Pick<NodeStatus, "serverUuid" | "executed" | "replica" | "flavour">,
  history: ClusterHistory,
): boolean {
  if (status.flavour === "mariadb" || history.uuids.has(status.serverUuid)) return false;
  const source = status.replica?.sourceUuid ?? "";
  if (source !== "" && history.uuids.has(source)) return false;
  const held = heldBy(status);
  const executed = history.executed();
  if (executed === null || held.subtract(executed).isEmpty()) return false;
  if (!executed.onlyFrom(status.serverUuid).isEmpty()) return false;
  const shared = held.intersect(executed);
  return [...history.uuids].every((uuid) => shared.onlyFrom(uuid).isEmpty());
}

type Statuses = ReadonlyMap<string, NodeStatus>;

/** The declared nodes whose servers are somebody else's, and were not taken in when they were declared. */
export function foreignNodes(
  declared: DeclaredCluster,
  statuses: Statuses,
  history: ClusterHistory,
): string[] {
  return [...statuses]
    .filter(
      ([node, status]) =>
        declared.nodes[node] !== undefined &&
        declared.accepted?.[node] !== status.serverUuid &&
        isForeign(status, history),
    )
    .map(([node]) => node);
}

/** The declaration without these nodes: for whoever must neither count nor touch them. */
export function without(declared: DeclaredCluster, nodes: readonly string[]): DeclaredCluster {
  if (nodes.length === 0) return declared;
  const kept = Object.entries(declared.nodes).filter(([node]) => !nodes.includes(node));
  return { ...declared, nodes: Object.fromEntries(kept) };
}

/**
 * Under the name of a foreign node the ledger knows another server, which may acknowledge to this day, wherever it is: these names
 * cannot be left out of the count of ackers.
 */
export function replacedAckers(
  foreign: readonly string[],
  statuses: Statuses,
  vouches: ReadonlyMap<string, Pick<Vouch, "serverUuid">>,
): string[] {
  return foreign.filter((node) => {
    const known = vouches.get(node)?.serverUuid;
    return known !== undefined && known !== statuses.get(node)?.serverUuid;
  });
}

/**
 * Why the names do not fit the servers that answer, or null. Whoever acts by names would then shut the primary for a rival, or take
 * one server's word for two.
 */
export function topologyMismatch(
  declared: DeclaredCluster,
  primary: string,
  primaryUuid: string,
  statuses: Statuses,
): string | null {
  const at = (node: string) => {
    const d = declared.nodes[node];
    return d === undefined ? node : `${node} (${d.host}:${d.port})`;
  };
  const answering = [...statuses].filter(([node]) => declared.nodes[node] !== undefined);
  const moved = answering.find(
    ([node, s]) => node !== primary && s.flavour === "mysql" && s.serverUuid === primaryUuid,
  );
  if (moved !== undefined)
    return `the server at ${at(moved[0])} is the primary, which is known as ${primary}`;
  if (declared.nodes[primary] === undefined) return `the primary ${primary} is not declared any more`;
  for (const [i, [node, status]] of answering.entries()) {
    const twin = answering.slice(i + 1).find(([, s]) => s.serverUuid === status.serverUuid);
    if (twin !== undefined && status.flavour === "mysql")
      return `${at(node)} and ${at(twin[0])} answer with one server_uuid, ${status.serverUuid}`;
  }
  return null;
}
