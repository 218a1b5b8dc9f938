import type { Brake, Window } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { describeWindow, downtimeOf, downtimesOf, maintenanceOf, windowsAhead } from "./window.ts";

const window = (fromUnixMs: number, untilUnixMs: number): Window => ({
  fromUnixMs,
  untilUnixMs,
  by: "ann@ops1",
  reason: "new disks",
});
const brakes = (more: Partial<Brake>) => ({
  own: { paused: false, by: "", reason: "", sinceUnixMs: 0, acknowledgedUnixMs: 0, ...more },
});

describe("a maintenance", () => {
  const b = brakes({ maintenance: [window(500, 600), window(100, 200)] });

  it("is on from its beginning until its end, which is no longer part of it", () => {
    const on = (now: number | null) => maintenanceOf(b, now)?.fromUnixMs ?? null;
    expect([99, 100, 199, 200, 499, 500, 600].map(on)).toEqual([null, 100, 100, null, null, 500, null]);
  });

  it("may be on as long as no clock has been read", () => expect(maintenanceOf(b, null)).not.toBeNull());

  it("is ahead until it is over, in order", () => {
    expect(windowsAhead(b, 150).map((w) => w.fromUnixMs)).toEqual([100, 500]);
    expect(windowsAhead(b, 200).map((w) => w.fromUnixMs)).toEqual([500]);
    expect(windowsAhead({ own: null }, 0)).toEqual([]);
  });
});

it("a downtime is its node's only, and says who, until when and why", () => {
  const b = brakes({ downtimes: { n2: window(0, 1_000), n3: window(0, 10) } });
  expect(downtimeOf(b, "n2", 999)).not.toBeNull();
  expect(downtimeOf(b, "n1", 999)).toBeNull();
  expect([...downtimesOf(b, 999)]).toEqual([
    ["n2", "in downtime by ann@ops1 until 1970-01-01 00:00:01 UTC: new disks"],
  ]);
  expect(describeWindow("in downtime", null)).toBeNull();
});
