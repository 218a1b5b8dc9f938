import type { ClusterState, RunningOperation } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import type { Operation } from "./operation.ts";
import { isOverdue } from "./overdue.ts";
import { Patience } from "./patience.ts";

const HOUR_MS = 3_600_000;

function state(id: string, committedUnixMs?: number): ClusterState {
  const operation = {
    id,
    startedUnixMs: 5 * HOUR_MS,
    ...(committedUnixMs === undefined ? {} : { committedUnixMs }),
  };
  return { cluster: "shop", operation: operation as RunningOperation } as ClusterState;
}

describe("how long an operation has stood", () => {
  it("counts from when it was seen first, and anew from its commit point", () => {
    const patience = new Patience();
    patience.saw("shop", state("a"), 1_000);
    patience.saw("shop", state("a"), 3_000);
    expect(patience.standingMs(state("a"), 4_000)).toBe(3_000);
    patience.saw("shop", state("a", 7), 10_000);
    expect(patience.standingMs(state("a", 7), 10_500)).toBe(500);
    // What comes late of its earlier stage begins nothing anew.
    patience.saw("shop", state("a"), 10_600);
    expect(patience.standingMs(state("a", 7), 11_000)).toBe(1_000);
  });

  it("is nothing for what was not seen, for another operation and after its end", () => {
    const patience = new Patience();
    expect(patience.standingMs(state("a"), 9_000)).toBe(0);
    patience.saw("shop", state("a"), 1_000);
    expect(patience.standingMs(state("b"), 9_000)).toBe(0);
    expect(patience.standingMs(state("a", 7), 9_000)).toBe(0);
    patience.saw("shop", { ...state("a"), operation: null }, 2_000);
    expect(patience.standingMs(state("a"), 9_000)).toBe(0);
  });

  it.each([
    ["hours ahead", 9 * HOUR_MS],
    ["hours behind", HOUR_MS],
  ])(
    "is overdue by that alone, though this machine's date is %s of the one that began it",
    (_, nowUnixMs) => {
      const patience = new Patience();
      const standing = state("a");
      patience.saw("shop", standing, 1_000);
      const at = (nowMs: number) =>
        isOverdue({
          state: standing,
          intent: { operation: "a" },
          declared: { policy: { deadlines: { forwardMs: 60_000 } } },
          ports: {
            nowUnixMs: () => nowUnixMs,
            standingMs: (of: ClusterState) => patience.standingMs(of, nowMs),
          },
        } as unknown as Operation);
      expect(at(60_000)).toBe(false);
      expect(at(61_001)).toBe(true);
    },
  );
});
