/**
 * The brakes, as rules that deciders and executors share: who keeps Baton from acting by itself, and when there have
 * been failovers enough. A person's own order passes all of them.
 */
import type { Brake, DeclaredCluster, RefusalCode } from "@baton/contracts";
import { describeWindow, maintenanceOf, type NowUnixMs, utc } from "./window.ts";

/** The cluster's own brake and the one for all; null: never touched. */
export interface Brakes {
  own: Brake | null;
  all: Brake | null;
}

export const NO_BRAKES: Brakes = { own: null, all: null };

/** `paused by ann@ops1 since 2026-11-23 15:20:11 UTC: moving the rack`; null while it is not on. */
export function describeBrake(brake: Brake | null, all: boolean): string | null {
  if (brake?.paused !== true) return null;
  return `${all ? "all clusters are paused" : "paused"} by ${brake.by} since ${utc(brake.sinceUnixMs)}: ${brake.reason}`;
}

/** Who has paused the cluster, by its name or with all others; null: nobody. */
export function heldByHand(brakes: Brakes): string | null {
  return describeBrake(brakes.own, false) ?? describeBrake(brakes.all, true);
}

/** Why nothing is ordered or begun without a person; null: nothing forbids it. */
export function pausedBy(brakes: Brakes, nowUnixMs: NowUnixMs): string | null {
  return heldByHand(brakes) ?? describeWindow("in maintenance", maintenanceOf(brakes, nowUnixMs));
}

/** The same with the policy's mode: in `observe` and `advise` no node is touched. */
export function heldBack(declared: DeclaredCluster, brakes: Brakes, nowUnixMs: NowUnixMs): string | null {
  const { mode } = declared.policy;
  return (
    pausedBy(brakes, nowUnixMs) ??
    (mode === "auto" ? null : `policy.mode is ${mode}: nothing is done without a person`)
  );
}

export interface Limit {
  refusal: Extract<RefusalCode, "cooldown" | "flapping">;
  reason: string;
}

/**
 * Does the flap limit or the cooldown forbid a failover now? `failovers` are the state's dates, oldest first;
 * `ageMs` is how long ago one ended, by a clock that the asker trusts. The flap limit compares the dates with each other
 * only: once reached it holds until a person acknowledges, whatever the time is.
 */
export function failoverLimit(
  declared: DeclaredCluster,
  failovers: readonly number[],
  acknowledgedUnixMs: number,
  ageMs: (failover: number) => number,
): Limit | null {
  const { cooldownMs, flapLimit } = declared.policy;
  const counted = failovers.filter((t) => t > acknowledgedUnixMs);
  const most = flapLimit.failovers;
  const flapping = counted.some((t, i) => {
    const first = counted[i - most + 1];
    return first !== undefined && t - first <= flapLimit.withinMs;
  });
  if (flapping)
    return {
      refusal: "flapping",
      reason: `${counted.length} failovers are not acknowledged, ${most} of them within ${seconds(flapLimit.withinMs)}; find out why, then: baton ack ${declared.cluster}`,
    };
  const last = counted.at(-1);
  if (last === undefined) return null;
  const leftMs = cooldownMs - ageMs(last);
  if (leftMs <= 0) return null;
  return {
    refusal: "cooldown",
    reason: `the last failover was less than ${seconds(cooldownMs)} ago; Baton may fail over again in ${seconds(leftMs)}, or now after: baton ack ${declared.cluster}`,
  };
}

function seconds(ms: number): string {
  return ms < 10_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.ceil(ms / 1_000)} s`;
}
