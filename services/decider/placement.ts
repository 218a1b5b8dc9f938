/** Is each node where it belongs? Problems of single nodes, and which of them Baton leads home or mends by itself. */
import type { DiagnosisCode, NodeStatus, RepairCode, Vouch } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import {
  follows,
  heldBy,
  isSameStart,
  ownTransactions,
  replicaSemiSyncFaults,
  whyStopped,
} from "@baton/protocol";
import { isForeignNode } from "./identity.ts";
import type { Picture } from "./picture.ts";
import { triesElsewhere } from "./votes.ts";

/**
 * A server restarted since it last followed stands still by its boot configuration, not because a person wants it. Two starts within
 * a second look like one; but only a boot leaves semi-sync's replica role off, which STOP REPLICA does not touch.
 */
function restartedSince(status: NodeStatus, vouch: Vouch | undefined): boolean {
  return (
    status.semiSync?.replica === false ||
    vouch === undefined ||
    vouch.serverUuid !== status.serverUuid ||
    !isSameStart(vouch.startedUnixS, status.startedUnixS)
  );
}

/** Out of its place: shut, compared and led home, or quarantined (the executor's rejoin.ts). */
export interface Astray {
  why: string;
  /** The policy under which; null: `policy.rejoin`, a former primary. */
  repair: RepairCode | null;
}

export interface Placement {
  problems: DiagnosisCode[];
  /** Null when it is at home, or a person must look first. */
  astray: Astray | null;
  /** What is wrong with it where it is. */
  faults: { code: RepairCode; found: string; unasked: boolean; by: "rejoin" | "repair"; mark?: string }[];
}

/**
 * What it lacks of what came before the primary's own: for one that receives and only has to catch up this shrinks. Of MariaDB nothing of
 * the kind can be told.
 */
function leftOutBy(status: NodeStatus, primaryExecuted: GtidSet, primaryUuid: string): GtidSet {
  if (status.flavour === "mariadb") return GtidSet.empty;
  const lacking = primaryExecuted.subtract(heldBy(status));
  return lacking.subtract(lacking.onlyFrom(primaryUuid));
}

/** Judges a replica by a status read in the present reign. `primaryExecuted` is the primary's own last known set. */
export function placeReplica(
  picture: Picture,
  node: string,
  status: NodeStatus,
  primaryExecuted: GtidSet,
): Placement {
  const state = picture.state?.value;
  if (state === undefined) return { problems: [], astray: null, faults: [] };
  if (isForeignNode(picture, node, status)) return { problems: ["foreign-server"], astray: null, faults: [] };
  const problems: DiagnosisCode[] = [];
  const faults: Placement["faults"] = [];
  const r = status.replica;
  const target = picture.declared?.nodes[state.primary];
  const atHome = follows(status, state.primaryUuid, target) && !triesElsewhere(r, target);
  const quarantined = state.quarantined.includes(node);
  let astray: Astray | null = null;
  if (!status.readOnly) {
    problems.push("replica-writable");
    astray = { why: "it accepts writes and is not the primary", repair: "replica-writable" };
  }
  if (r === null || !atHome) {
    problems.push("replica-wrong-source");
    astray ??=
      r === null
        ? { why: "it follows nobody", repair: null }
        : {
            why: `it follows ${r.sourceHost}:${r.sourcePort}, not ${state.primary}`,
            repair: "replica-wrong-source",
          };
  } else {
    const left = state.unrestored?.includes(node) === true;
    const stopped = whyStopped(r, left || restartedSince(status, picture.vouches.get(node)));
    if (stopped !== null) problems.push(stopped.code);
    if (stopped?.code === "replication-stopped" && stopped.startable)
      astray ??= {
        why: left
          ? "an operation that was given up stopped its replication and could not start it again"
          : "it restarted and its replication stands still",
        repair: "replication-stopped",
      };
    else if (stopped !== null)
      faults.push({
        code: stopped.code,
        found: `${node}: ${stopped.why}`,
        unasked: stopped.startable,
        by: "repair",
      });
    const semi =
      quarantined || r.receiver !== "on" || status.flavour === "mariadb" ? [] : replicaSemiSyncFaults(status);
    if (semi.length > 0) {
      problems.push("semi-sync-broken");
      faults.push({
        code: "semi-sync-broken",
        found: `${node} ${semi.join(", ")}`,
        unasked: true,
        by: "repair",
      });
    }
  }
  // A node that follows may be ahead of the primary's last sample, but only in what this primary wrote itself.
  const extra =
    r === null || !atHome
      ? GtidSet.parse(status.executed).subtract(primaryExecuted)
      : ownTransactions(status, primaryExecuted, state.primaryUuid);
  const primarySeenMs = picture.statuses.get(state.primary)?.atMs ?? Number.NEGATIVE_INFINITY;
  if (!extra.isEmpty() && primarySeenMs > (picture.state?.sinceMs ?? 0)) {
    const drift = atHome && status.readOnly && !quarantined;
    problems.push(drift ? "gtid-drift" : "errant-gtid");
    if (drift)
      faults.push({
        code: "gtid-drift",
        found: `${node} follows ${state.primary} and holds ${extra.count()} transactions of its own: ${extra}`,
        unasked: true,
        by: "rejoin",
      });
  }
  if (quarantined) {
    const hollow =
      state.hollow?.[node] === status.serverId &&
      !leftOutBy(status, primaryExecuted, state.primaryUuid).isEmpty();
    if (hollow) problems.push("replica-hollow");
    else if (!problems.includes("errant-gtid") && astray === null) problems.push("errant-gtid");
    if (!extra.isEmpty() || hollow || state.unbuilt?.[node] !== undefined) astray = null;
    return { problems, astray, faults: [] };
  }
  // Nothing is parsed for what is seen to be equal.
  const equal = status.executed === picture.statuses.get(state.primary)?.status.executed;
  const receives = atHome && r?.receiver === "on" && !equal;
  const leftOut = receives ? leftOutBy(status, primaryExecuted, state.primaryUuid) : GtidSet.empty;
  if (!leftOut.isEmpty())
    faults.push({
      code: "replica-hollow",
      found: `${node} follows ${state.primary} and does not get ${leftOut.count()} transactions that ${state.primary} has: ${leftOut}`,
      unasked: true,
      by: "rejoin",
      // One that is catching up gets some of it.
      mark: leftOut.toString(),
    });
  return { problems, astray, faults };
}
