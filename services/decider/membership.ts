/**
 * Who counts among the members, and who is to be parked or to count again (SAFETY.md, "Parked members"). A member that is merely unreachable
 * may go on acknowledging. One whose process is gone cannot, and does not after a boot either where `skip_replica_start` is on, until Baton
 * starts its receiver. Pure.
 */
import { ackersOf, ackersToStop, follows, mayLose, notCounted } from "@baton/protocol";
import type { Picture } from "./picture.ts";
import { liveProbers, reachable, reachedStatuses, type VoteSettings } from "./votes.ts";

/** A server that is restarted comes back within this time, as a rule; and what it acknowledged last has long been committed. */
const GONE_MS = 3_000;
/** A try to leave asks the members that are to hold what it holds: what kept it back lasts longer than a moment. */
const LEAVE_AGAIN_MS = 30_000;

/** A person has taken it out: it is led nowhere, and counts until it has left. */
export function isLeaving({ declared }: Pick<Picture, "declared">, node: string): boolean {
  return declared?.leaving?.includes(node) === true;
}

/** It has left, and is declared only until `baton apply` ends. */
export function hasLeft(picture: Picture, node: string): boolean {
  return isLeaving(picture, node) && picture.state?.value.parked?.[node] !== undefined;
}

/** The first node whose membership is to change, and why; null: each counts as it should. */
export function membershipWish(
  picture: Picture,
  now: number,
  s: VoteSettings,
): { node: string; reason: string; byPerson?: true } | null {
  const { declared, state } = picture;
  if (declared === null || state === null) return null;
  for (const node of declared.leaving ?? []) {
    if (notCounted(state.value).includes(node) || node === state.value.operation?.node) continue;
    // One that cannot leave keeps nobody else waiting.
    if (now - (picture.inVainMs.get(node) ?? Number.NEGATIVE_INFINITY) < LEAVE_AGAIN_MS) continue;
    if (reachable(picture, node, state.sinceMs, now, s) === true)
      return { node, reason: `${node} was taken out of the declaration.`, byPerson: true };
  }
  if (mayLose(declared, state.value)) return null;
  const { primary, primaryUuid } = state.value;
  for (const [node, { serverUuid, left }] of Object.entries(state.value.parked ?? {})) {
    const known = picture.statuses.get(node);
    if (declared.nodes[node] === undefined || isLeaving(picture, node)) continue;
    // Whoever runs there now, and whatever has become of it since it left.
    if (left === true) return { node, reason: `${node} is declared again.` };
    if (known === undefined || known.atMs <= state.sinceMs) continue;
    if (reachable(picture, node, state.sinceMs, now, s) !== true) continue;
    const same = serverUuid === "" || serverUuid === known.status.serverUuid;
    const receiver = known.status.replica?.receiver;
    const runs = receiver === "on" || receiver === "connecting";
    // Another server in its place acknowledges no less.
    if (runs && (same || follows(known.status, primaryUuid, declared.nodes[primary])))
      return { node, reason: `${node} is back and its receiver runs.` };
    if (!same) continue;
    // As a rule it is led home before that. One that is not (a downtime, no policy.rejoin) can be asked all the same, and followed with.
    const sinceMs = picture.astraySince.get(node);
    if (sinceMs !== undefined && now - sinceMs >= GONE_MS)
      return { node, reason: `${node} is back and can be asked.` };
  }
  const members = ackersOf(declared, state.value.primary, notCounted(state.value));
  for (const node of members) {
    // An operation has it in hand, and knows why it is away.
    if (node === state.value.operation?.node) continue;
    const sinceMs = goneSince(picture, node, now, s);
    if (sinceMs === null || now - sinceMs < GONE_MS || !othersFollow(picture, members, node, now, s))
      continue;
    return {
      node,
      reason: `${node}'s server is gone, nothing listens at its address for ${Math.round(now - sinceMs)} ms; it boots without replicating by itself (skip_replica_start).`,
    };
  }
  return null;
}

/** When it was last read, if its server cannot acknowledge by now and will not by itself; null: it may. */
function goneSince(picture: Picture, node: string, now: number, s: VoteSettings): number | null {
  const known = picture.statuses.get(node);
  if (known?.status.skipReplicaStart !== true) return null;
  const live = liveProbers(picture, now, s);
  const seen = [...(picture.seen.get(node) ?? [])].filter(([prober]) => live.has(prober));
  // Each prober that lives finds nobody who listens, has looked twice, and since the state last changed.
  const gone =
    seen.length > 0 &&
    seen.length === live.size &&
    seen.every(
      ([, { sample, atMs }]) =>
        atMs > (picture.state?.sinceMs ?? 0) && sample.outcome === "refused" && sample.attempts >= 2,
    );
  return gone ? known.atMs : null;
}

/** The primary is alive, k others receive from it, and it counts no client that could be this node. */
function othersFollow(
  picture: Picture,
  members: readonly string[],
  node: string,
  now: number,
  s: VoteSettings,
): boolean {
  const { declared, state } = picture as {
    declared: NonNullable<Picture["declared"]>;
    state: NonNullable<Picture["state"]>;
  };
  const { primary, primaryUuid } = state.value;
  const statuses = reachedStatuses(picture, now, s);
  const of = statuses.get(primary);
  if (of === undefined || of.readOnly || of.serverUuid !== primaryUuid || of.semiSync === null) return false;
  const attached = members.filter((name) => {
    const status = statuses.get(name);
    return (
      name !== node &&
      status?.replica?.receiver === "on" &&
      follows(status, primaryUuid, declared.nodes[primary])
    );
  });
  return attached.length >= declared.policy.acks && of.semiSync.clients <= attached.length;
}

/** Whether a failover must reckon with the node's acks, as a sentence; null: it is the primary, or there is no cluster yet. */
export function describeMember(
  picture: Picture,
  node: string,
  now: number,
): { counts: boolean; why: string } | null {
  const state = picture.state?.value;
  if (state === undefined || node === state.primary) return null;
  if (state.quarantined.includes(node)) return { counts: false, why: "quarantined: it acknowledges nothing" };
  const parked = state.parked?.[node];
  if (isLeaving(picture, node) && parked === undefined)
    return {
      counts: true,
      why: "taken out of the declaration: it may acknowledge until it has been asked to stop and others hold what it holds",
    };
  if (parked !== undefined) {
    const at = new Date(parked.sinceUnixMs).toISOString().slice(0, 19).replace("T", " ");
    return {
      counts: false,
      why: isLeaving(picture, node) ? `left at ${at} UTC` : `parked since ${at} UTC: ${parked.why}`,
    };
  }
  const known = picture.statuses.get(node);
  const away = known === undefined || now - known.atMs > GONE_MS;
  if (!away) return { counts: true, why: "it may acknowledge" };
  return {
    counts: true,
    why:
      known?.status.skipReplicaStart === false
        ? "it cannot be read, and may acknowledge: with skip_replica_start=OFF it would replicate by itself after a boot, so it is not parked"
        : "it cannot be read, and may acknowledge",
  };
}

/** Who counts beside the primary, and how many of them a failover must stop and read. */
export function reckoning(picture: Picture, without: string | null): { members: string[]; needed: number } {
  const { declared, state } = picture;
  if (declared === null || state === null) return { members: [], needed: 0 };
  const out = [...notCounted(state.value), ...(without === null ? [] : [without])];
  const members = ackersOf(declared, state.value.primary, out);
  return { members, needed: Math.max(1, ackersToStop(members.length, declared.policy.acks)) };
}
