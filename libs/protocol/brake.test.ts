import { type Brake, DeclaredCluster } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { failoverLimit, heldBack } from "./brake.ts";

const declared = (policy: object = {}) =>
  DeclaredCluster.parse({ cluster: "shop", nodes: { n1: { host: "h1" }, n2: { host: "h2" } }, policy });
const brake = (more: Partial<Brake> = {}): Brake => ({
  paused: true,
  by: "ann@ops1",
  reason: "moving the rack",
  sinceUnixMs: Date.UTC(2026, 10, 23, 15, 20, 11),
  acknowledgedUnixMs: 0,
  ...more,
});

describe("who holds Baton back", () => {
  it("is a pause of the cluster, then of all, then the mode; a released brake holds nothing", () => {
    const said = "by ann@ops1 since 2026-11-23 15:20:11 UTC: moving the rack";
    expect(heldBack(declared(), { own: brake(), all: null }, 0)).toBe(`paused ${said}`);
    expect(heldBack(declared(), { own: brake({ paused: false }), all: brake() }, 0)).toBe(
      `all clusters are paused ${said}`,
    );
    expect(heldBack(declared({ mode: "observe" }), { own: null, all: null }, 0)).toContain("observe");
    expect(heldBack(declared(), { own: brake({ paused: false }), all: null }, 0)).toBeNull();
  });
});

describe("the limits of failovers", () => {
  const policy = { cooldownMs: 60_000, flapLimit: { failovers: 3, withinMs: 1_000_000 } };
  const limit = (failovers: number[], acknowledged: number, ageMs: number) =>
    failoverLimit(declared(policy), failovers, acknowledged, () => ageMs)?.refusal ?? null;

  it("a cooldown ends by time or by acknowledgement", () => {
    expect(limit([], 0, 0)).toBeNull();
    expect(limit([100], 0, 59_999)).toBe("cooldown");
    expect(limit([100], 0, 60_000)).toBeNull();
    expect(limit([100], 100, 0)).toBeNull();
    expect(failoverLimit(declared(), [100], 0, () => 0)).toBeNull();
  });

  it("the flap limit holds until it is acknowledged, however old it is", () => {
    expect(limit([1, 2], 0, 99_999)).toBeNull();
    expect(limit([1, 2, 3], 0, 9e9)).toBe("flapping");
    expect(limit([1, 2, 3, 5_000_000], 0, 9e9)).toBe("flapping");
    expect(limit([1, 600_000, 1_200_000], 0, 9e9)).toBeNull();
    expect(limit([1, 2, 3], 3, 9e9)).toBeNull();
    expect(limit([1, 2, 3, 4, 5], 3, 9e9)).toBeNull();
    expect(failoverLimit(declared(policy), [1, 2, 3], 0, () => 0)?.reason).toContain("baton ack shop");
  });
});
