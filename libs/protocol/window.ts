/**
 * The times that a person has set aside: a cluster's maintenance, a node's downtime. Each has an end, so that nobody has to
 * remember to give a cluster back. Pure; the time is an argument.
 */
import type { Brake, Window } from "@baton/contracts";

/** No clock has been read yet: every window that was ever set may be on. */
export type NowUnixMs = number | null;

type Of = { readonly own: Brake | null };

/** The window that the cluster is in; null: none. */
export function maintenanceOf({ own }: Of, nowUnixMs: NowUnixMs): Window | null {
  return own?.maintenance?.find((w) => isOn(w, nowUnixMs)) ?? null;
}

/** Why the node is to be left alone; null: it is not. */
export function downtimeOf({ own }: Of, node: string, nowUnixMs: NowUnixMs): Window | null {
  const window = own?.downtimes?.[node];
  return window !== undefined && isOn(window, nowUnixMs) ? window : null;
}

/** node → why it is neither promoted nor copied from */
export function downtimesOf(brakes: Of, nowUnixMs: NowUnixMs): ReadonlyMap<string, string> {
  return new Map(
    Object.keys(brakes.own?.downtimes ?? {}).flatMap((node) => {
      const said = describeWindow("in downtime", downtimeOf(brakes, node, nowUnixMs));
      return said === null ? [] : [[node, said]];
    }),
  );
}

/** Those that are on or to come, in order. */
export function windowsAhead({ own }: Of, nowUnixMs: NowUnixMs): Window[] {
  return [...(own?.maintenance ?? [])]
    .filter((w) => nowUnixMs === null || nowUnixMs < w.untilUnixMs)
    .sort((a, b) => a.fromUnixMs - b.fromUnixMs);
}

/** `in maintenance by ann@ops1 until 2026-11-23 16:20:11 UTC: new disks` */
export function describeWindow(what: string, window: Window | null): string | null {
  return window === null
    ? null
    : `${what} by ${window.by} until ${utc(window.untilUnixMs)}: ${window.reason}`;
}

/** `2026-11-23 16:20:11 UTC` */
export function utc(unixMs: number): string {
  return `${new Date(unixMs).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

function isOn(window: Window, nowUnixMs: NowUnixMs): boolean {
  return nowUnixMs === null || (window.fromUnixMs <= nowUnixMs && nowUnixMs < window.untilUnixMs);
}
