/**
 * Whether the state that NATS gives fits what the nodes carry, and what to do when it does not: a decider that remembers the state before puts
 * it back, if the data say the same; nothing else is done. Pure.
 */
import type { ClusterState } from "@baton/contracts";
import { dataAgree, type EpochFault, epochFault } from "@baton/protocol";
import type { Picture } from "./picture.ts";

/** Another installation's mark on a node that was not read for so long says nothing of now; our own later epoch does. */
const FOREIGN_KNOWN_MS = 60_000;
/** Between two tries to put the state back. */
const PUT_BACK_EVERY_MS = 1_000;

function statusesOf(picture: Picture) {
  return new Map(
    [...picture.statuses]
      .filter(([node]) => picture.declared?.nodes[node] !== undefined)
      .map(([node, known]) => [node, known.status] as const),
  );
}

/** While it stands, no order is given but by `baton recover`. */
export function epochFaultNow(picture: Picture, now: number): EpochFault | null {
  const { cluster, remembered } = picture;
  const state = picture.state?.value ?? null;
  const fault = epochFault(cluster, state, statusesOf(picture));
  if (state === null && remembered !== null)
    return {
      code: "state-went-back",
      node: fault?.node ?? remembered.primary,
      why: `NATS has no state of ${cluster} any more; it was in epoch ${remembered.epoch} with primary ${remembered.primary}`,
    };
  if (fault?.code !== "foreign-installation") return fault;
  const recent = new Map(
    [...statusesOf(picture)].filter(
      ([node]) => now - (picture.statuses.get(node)?.atMs ?? 0) < FOREIGN_KNOWN_MS,
    ),
  );
  return epochFault(cluster, state, recent);
}

/** Keeps the last state that nothing spoke against when it came. */
export function remember(picture: Picture): Picture {
  const state = picture.state?.value ?? null;
  if (state === null || epochFault(picture.cluster, state, statusesOf(picture)) !== null) return picture;
  return { ...picture, remembered: state };
}

/** The state that is to be written in place of the one that went back, behind that one's revision; null when it is not known for sure. */
export function stateToPutBack(picture: Picture, now: number): { state: ClusterState; over: number } | null {
  const { remembered, cluster } = picture;
  if (remembered === null || now - picture.putBackMs < PUT_BACK_EVERY_MS) return null;
  if (!dataAgree(cluster, remembered, statusesOf(picture))) return null;
  return { state: remembered, over: picture.state?.revision ?? 0 };
}

export function describeEpochFault(picture: Picture, fault: EpochFault): string {
  const { cluster } = picture;
  const why = `${fault.why.charAt(0).toUpperCase()}${fault.why.slice(1)}.`;
  if (fault.code === "state-went-back")
    return `${why} Nothing is opened or shut until the two fit: baton recover ${cluster}`;
  return picture.state === null
    ? `${why} If NATS has lost this Baton's own state: baton recover ${cluster}. If another Baton leads the cluster, stop this one, or stop that one for good and: baton recover ${cluster} --take-over`
    : `${why} Stop the one that shall not lead it. If this one shall: baton recover ${cluster} --take-over`;
}
