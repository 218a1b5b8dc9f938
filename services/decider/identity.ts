/** Who answers at the declared addresses, by what the picture holds: strangers, and names that do not fit. */
import type { NodeStatus } from "@baton/contracts";
import {
  type ClusterHistory,
  foreignNodes,
  historyOf,
  replacedAckers,
  topologyMismatch,
  without,
} from "@baton/protocol";
import type { Picture } from "./picture.ts";
import { reachedStatuses, type VoteSettings } from "./votes.ts";

function historyNow(picture: Picture): ClusterHistory | null {
  const state = picture.state?.value;
  if (state === undefined) return null;
  // The primary may have died before this decider saw it: its replicas tell of it.
  const seen = () => [...picture.statuses.values()].map(({ status }) => status);
  return historyOf(state, picture.vouches.values(), seen);
}

/** It is somebody else's server: what is wrong with it there is no fault of this cluster, and nobody touches it. */
export function isForeignNode(picture: Picture, node: string, status: NodeStatus): boolean {
  const history = historyNow(picture);
  if (history === null || picture.declared === null) return false;
  return foreignNodes(picture.declared, new Map([[node, status]]), history).length > 0;
}

/** The last answer: one judgement asks the same several times. */
let last: { of: readonly unknown[]; mismatch: string | null } | null = null;

/** Why the declared names do not fit the servers that answer now, or null. */
export function mismatchNow(picture: Picture, now: number, s: VoteSettings): string | null {
  const { state, declared, seen, statuses, suspectSinceMs } = picture;
  if (state === null || declared === null) return null;
  const of = [state, declared, seen, statuses, suspectSinceMs, now, s.freshMs];
  if (last?.of.every((value, i) => value === of[i])) return last.mismatch;
  const { primary, primaryUuid } = state.value;
  const mismatch = topologyMismatch(declared, primary, primaryUuid, reachedStatuses(picture, now, s));
  last = { of, mismatch };
  return mismatch;
}

/**
 * The declaration without strangers, for a failover: they are neither asked nor counted. Not so where the ledger knows another server by
 * such a name: that one may have acknowledged, and may do so still.
 */
export function ownNodes(
  picture: Picture,
  statuses: ReadonlyMap<string, NodeStatus>,
): { declared: NonNullable<Picture["declared"]>; replaced: string[] } | null {
  const history = historyNow(picture);
  if (history === null || picture.declared === null) return null;
  const foreign = foreignNodes(picture.declared, statuses, history);
  return {
    declared: without(picture.declared, foreign),
    replaced: replacedAckers(foreign, statuses, picture.vouches),
  };
}
