/** The brakes as this decider knows them: who holds Baton back, and whether there have been failovers enough. Pure. */
import type { Window } from "@baton/contracts";
import {
  downtimeOf,
  downtimesOf,
  failoverLimit,
  heldBack,
  type Limit,
  maintenanceOf,
  pausedBy,
} from "@baton/protocol";
import type { Picture } from "./picture.ts";

/**
 * An executor's date is compared with this decider's clock only for failovers that it has not seen end itself, and then so
 * much is taken off their age: clocks that differ by less can only prolong a cooldown.
 */
const SKEW_MS = 10_000;

/** When each failover (or repair) ended, in this decider's own monotonic milliseconds. `live`: it was watching when the state changed. */
export function dateEnds(
  known: ReadonlyMap<number, number>,
  ends: readonly number[],
  live: boolean,
  now: number,
  nowUnixMs: number,
): ReadonlyMap<number, number> {
  return new Map(
    ends.map((t) => [t, known.get(t) ?? (live ? now : now - Math.max(0, nowUnixMs - t - SKEW_MS))]),
  );
}

/** Does the cooldown or the flap limit forbid a failover now? */
export function limitNow(picture: Picture, now: number): Limit | null {
  if (picture.declared === null || picture.state === null) return null;
  return failoverLimit(
    picture.declared,
    picture.state.value.failovers,
    picture.brakes.own?.acknowledgedUnixMs ?? 0,
    (t) => now - (picture.failoversMs.get(t) ?? now),
  );
}

/** What the wall clock says now; null before the first tick. */
export function nowUnixMs(picture: Picture, now: number): number | null {
  return picture.unixOffsetMs === null ? null : now + picture.unixOffsetMs;
}

/** Why nothing is ordered by itself; null: Baton may act. Before the brakes have been read, it may not. */
export function heldBackNow(picture: Picture, now: number): string | null {
  if (picture.declared === null) return null;
  if (!picture.brakesKnown) return "the brakes have not been read from NATS yet";
  return heldBack(picture.declared, picture.brakes, nowUnixMs(picture, now));
}

/** Writing down the first reign touches no node, so it is done in every mode; a pause holds back even that. */
export function adoptionHeldBack(picture: Picture, now: number): boolean {
  return !picture.brakesKnown || pausedBy(picture.brakes, nowUnixMs(picture, now)) !== null;
}

/** The window that the cluster is in. */
export function maintenanceNow(picture: Picture, now: number): Window | null {
  return maintenanceOf(picture.brakes, nowUnixMs(picture, now));
}

/**
 * The downtime that the node is in. The primary is never in one: its outage is the whole cluster's, and who wants that left alone
 * declares a maintenance.
 */
export function downtimeNow(picture: Picture, node: string, now: number): Window | null {
  if (node === picture.state?.value.primary) return null;
  return downtimeOf(picture.brakes, node, nowUnixMs(picture, now));
}

/** A window that is on: the cluster's maintenance, or a node's downtime. */
export interface SetAside {
  node: string | null;
  window: Window;
}

export function setAsideNow(picture: Picture, now: number): SetAside[] {
  const window = maintenanceNow(picture, now);
  const nodes = Object.keys(picture.brakes.own?.downtimes ?? {}).flatMap((node) => {
    const downtime = downtimeOf(picture.brakes, node, nowUnixMs(picture, now));
    return downtime === null ? [] : [{ node, window: downtime }];
  });
  return [...(window === null ? [] : [{ node: null, window }]), ...nodes];
}

/** Those of the last tick whose time is up. What a person ended earlier is told by who ended it. */
export function endedByThemselves(picture: Picture, now: number): SetAside[] {
  const unixMs = nowUnixMs(picture, now) ?? 0;
  return picture.setAside.filter(({ window }) => window.untilUnixMs <= unixMs);
}

/** node → why it is left alone */
export function downtimesNow(picture: Picture, now: number): ReadonlyMap<string, string> {
  const all = new Map(downtimesOf(picture.brakes, nowUnixMs(picture, now)));
  all.delete(picture.state?.value.primary ?? "");
  return all;
}
