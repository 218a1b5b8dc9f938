import type { DeclaredNode, NodeStatus } from "@baton/contracts";

/**
 * Whether the node's channel points at the primary. The server that it has spoken to says which that is; the declared address counts only
 * until it has connected. A MariaDB replica keeps the last source's id after it was pointed elsewhere.
 */
export function follows(status: NodeStatus, primaryUuid: string, primary: DeclaredNode | undefined): boolean {
  const r = status.replica;
  if (r === null) return false;
  if (r.sourceUuid !== "" && r.sourceUuid === primaryUuid) return true;
  if (r.sourceUuid !== "" && status.flavour === "mysql") return false;
  return primary !== undefined && r.sourceHost === primary.host && r.sourcePort === primary.port;
}
