/**
 * Before anything is touched: are the servers that answer those that the operation means? Somebody else's server is neither asked nor
 * shut nor rebuilt, and where the names do not fit the servers nothing runs (libs/protocol/identity.ts has the rules).
 */
import type { ClusterState, DeclaredCluster, Intent, NodeStatus, RefusalCode, Vouch } from "@baton/contracts";
import {
  type ClusterHistory,
  foreignNodes,
  historyOf,
  replacedAckers,
  topologyMismatch,
  without,
} from "@baton/protocol";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

type Vouches = ReadonlyMap<string, Vouch>;
type Known = Pick<ClusterState, "primaryUuid" | "servers">;
type Statuses = ReadonlyMap<string, NodeStatus>;

function historyIn(state: Known, statuses: Statuses, vouches: Vouches): ClusterHistory {
  return historyOf(state, vouches.values(), () => statuses.values());
}

function statusesIn(intent: Intent): Map<string, NodeStatus> {
  return new Map(Object.entries(intent.nodes).flatMap(([node, s]) => (s === null ? [] : [[node, s]])));
}

/**
 * The declaration as the operation is to see it, without servers that are somebody else's; and why it must not run at all. Pure: it rests on what
 * the decider saw when it gave the order.
 */
export function meant(
  intent: Intent,
  declared: DeclaredCluster,
  state: Known & Pick<ClusterState, "primary">,
  vouches: Vouches,
): { declared: DeclaredCluster; refusal: { code: RefusalCode; reason: string } | null } {
  const statuses = statusesIn(intent);
  const mismatch = topologyMismatch(declared, state.primary, state.primaryUuid, statuses);
  if (mismatch !== null) return { declared, refusal: { code: "topology-mismatch", reason: mismatch } };
  const foreign = foreignNodes(declared, statuses, historyIn(state, statuses, vouches));
  const ours = without(declared, foreign);
  const replaced = intent.kind === "failover" ? replacedAckers(foreign, statuses, vouches) : [];
  const about = foreign.includes(intent.node) ? [intent.node] : replaced;
  if (about.length === 0) return { declared: ours, refusal: null };
  const why =
    replaced.length > 0
      ? "; the one that was there before may have acknowledged writes, and cannot be asked"
      : "";
  return {
    declared: ours,
    refusal: { code: "foreign-server", reason: `${words(about.join(", "))}${why}` },
  };
}

function words(node: string): string {
  return `the server of ${node} has data of its own and shares nothing with this cluster's history`;
}

/** Those of the servers just read that are not somebody else's. */
export function ours<T extends { status: NodeStatus }>(
  op: Operation,
  looks: ReadonlyMap<string, T>,
): Map<string, T> {
  const statuses = new Map([...looks].map(([node, { status }]) => [node, status]));
  const foreign = foreignIn(op, statuses);
  return new Map([...looks].filter(([node]) => !foreign.includes(node)));
}

function foreignIn(op: Operation, fresh: Statuses): string[] {
  const statuses = new Map([...statusesIn(op.intent), ...fresh]);
  const history = historyIn(op.state, statuses, op.ports.vouches(op.cluster));
  return foreignNodes(op.declared, fresh, history);
}

/**
 * Asked with a status just read, right before the node is shut or its data are replaced: its address may lead elsewhere since the decider
 * looked. @throws Refusal foreign-server, topology-mismatch
 */
export function assertOurs(
  op: Operation,
  node: string,
  status: NodeStatus,
  ofPrimary: NodeStatus | null,
): void {
  const { primary, primaryUuid } = op.state;
  if (node !== primary && status.flavour === "mysql" && status.serverUuid === primaryUuid)
    throw new Refusal(
      "topology-mismatch",
      `the server at ${node}'s address is the primary ${primary} itself`,
    );
  const fresh = new Map([[node, status]]);
  if (ofPrimary !== null) fresh.set(primary, ofPrimary);
  if (foreignIn(op, fresh).includes(node)) throw new Refusal("foreign-server", words(node));
}
