/** Is each node where it belongs? Problems of single nodes, and which of them Baton leads home by itself. */
import type { DeclaredNode, DiagnosisCode, NodeStatus, Vouch } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import { isSameStart } from "@baton/protocol";
import type { Picture } from "./picture.ts";

/** Whether the node's channel points at the primary, by uuid or by declared address. */
export function follows(status: NodeStatus, primaryUuid: string, primary: DeclaredNode | undefined): boolean {
  const r = status.replica;
  if (r === null) return false;
  if (r.sourceUuid !== "" && r.sourceUuid === primaryUuid) return true;
  return primary !== undefined && r.sourceHost === primary.host && r.sourcePort === primary.port;
}

/** A server restarted since it last followed stands still by its boot configuration, not because a person wants it. */
function restartedSince(status: NodeStatus, vouch: Vouch | undefined): boolean {
  return (
    vouch === undefined ||
    vouch.serverUuid !== status.serverUuid ||
    !isSameStart(vouch.startedUnixS, status.startedUnixS)
  );
}

export interface Placement {
  problems: DiagnosisCode[];
  /** Why Baton should lead it home, or null when it is at home or a person must look first. */
  astray: string | null;
}

/** Judges a replica by a status read in the present reign. `primaryExecuted` is the primary's own last known set. */
export function placeReplica(
  picture: Picture,
  node: string,
  status: NodeStatus,
  primaryExecuted: GtidSet,
): Placement {
  const state = picture.state?.value;
  if (state === undefined) return { problems: [], astray: null };
  const problems: DiagnosisCode[] = [];
  const r = status.replica;
  const atHome = follows(status, state.primaryUuid, picture.declared?.nodes[state.primary]);
  let astray: string | null = null;
  if (!status.readOnly) {
    problems.push("replica-writable");
    astray = "it accepts writes and is not the primary";
  }
  if (r === null || !atHome) {
    problems.push("replica-wrong-source");
    astray ??=
      r === null ? "it follows nobody" : `it follows ${r.sourceHost}:${r.sourcePort}, not ${state.primary}`;
  } else if (r.receiverErrno !== 0 && r.receiver === "off") problems.push("replication-error");
  else if (r.applierErrno !== 0) problems.push("replication-error");
  else if (r.receiver === "off" || r.applier === "off") {
    problems.push("replication-stopped");
    if (restartedSince(status, picture.vouches.get(node)))
      astray ??= "it restarted and its replication stands still";
    else if (state.unrestored?.includes(node))
      astray ??= "an operation that was given up stopped its replication and could not start it again";
  }
  // A node that follows may be ahead of the primary's last sample, but only in what this primary wrote itself.
  const ahead = GtidSet.parse(status.executed).subtract(primaryExecuted);
  const extra = r === null || !atHome ? ahead : ahead.subtract(ahead.onlyFrom(state.primaryUuid));
  const primarySeenMs = picture.statuses.get(state.primary)?.atMs ?? Number.NEGATIVE_INFINITY;
  if (!extra.isEmpty() && primarySeenMs > (picture.state?.sinceMs ?? 0)) problems.push("errant-gtid");
  if (state.quarantined.includes(node)) {
    if (!problems.includes("errant-gtid") && astray === null) problems.push("errant-gtid");
    if (!extra.isEmpty() || state.unbuilt?.[node] !== undefined) astray = null;
  }
  return { problems, astray };
}
