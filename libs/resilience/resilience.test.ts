import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BACKOFF_MAX_MS,
  Backoff,
  quantile,
  RollingWindow,
  SilenceThreshold,
  THRESHOLD_MAX_MS,
} from "./index.ts";

describe("Backoff", () => {
  it("doubles up to the cap, and a success resets it", () => {
    const b = new Backoff(100);
    expect([1, 2, 3, 4, 5, 6, 7].map(() => b.failed(1))).toEqual([
      100,
      200,
      400,
      800,
      1_600,
      BACKOFF_MAX_MS,
      BACKOFF_MAX_MS,
    ]);
    b.succeeded(1);
    expect(b.failed(1)).toBe(100);
  });
  it("watches a slow network more closely", () => {
    const b = new Backoff(100);
    for (let i = 0; i < 10; i++) b.failed(400);
    expect(b.failed(400)).toBe(100);
  });
});

describe("SilenceThreshold", () => {
  it("is the floor while answers are quick, and grows with slow ones at the next computation", () => {
    const t = new SilenceThreshold(300);
    t.answered(1, 0);
    expect(t.valueMs(0, () => [])).toBe(300);
    for (let i = 0; i < 50; i++) t.answered(500, i);
    expect(t.valueMs(9_999, () => [])).toBe(300);
    expect(t.valueMs(10_000, () => [20])).toBe(920);
    expect(t.valueMs(80_000, () => [])).toBe(300);
  });
  it("never leaves its bounds", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e6, noNaN: true })),
        fc.array(fc.double({ min: 0, max: 1e9, noNaN: true })),
        (rtts, delays) => {
          const t = new SilenceThreshold(300);
          for (const rtt of rtts) t.answered(rtt, 0);
          const v = t.valueMs(1, () => delays);
          return v >= 300 && v <= THRESHOLD_MAX_MS;
        },
      ),
    );
  });
});

describe("quantile", () => {
  it("is a value of the sample that the share q does not exceed", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer(), { minLength: 1 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, q) => {
          const v = quantile(values, q) as number;
          return values.includes(v) && values.filter((x) => x <= v).length >= q * values.length - 1e-9;
        },
      ),
    );
  });
  it("forgets what is older than the window and beyond its bound", () => {
    const w = new RollingWindow(100, 2);
    w.add(1, 0);
    w.add(2, 10);
    w.add(3, 20);
    expect(w.quantile(0, 20)).toBe(2);
    expect(w.quantile(0, 115)).toBe(3);
    expect(w.quantile(0, 500)).toBeNull();
  });
});
