/** The brakes as this decider knows them: who holds Baton back, and whether there have been failovers enough. Pure. */
import { failoverLimit, heldBack, type Limit, pausedBy } from "@baton/protocol";
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

/** Why nothing is ordered by itself; null: Baton may act. Before the brakes have been read, it may not. */
export function heldBackNow(picture: Picture): string | null {
  if (picture.declared === null) return null;
  if (!picture.brakesKnown) return "the brakes have not been read from NATS yet";
  return heldBack(picture.declared, picture.brakes);
}

/** Writing down the first reign touches no node, so it is done in every mode; a pause holds back even that. */
export function adoptionHeldBack(picture: Picture): boolean {
  return !picture.brakesKnown || pausedBy(picture.brakes) !== null;
}
