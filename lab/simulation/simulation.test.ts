/**
 * The simulation in small, and the tests of the test: a bug that is put between the real executor and the models must break a
 * promise. `baton lab simulate` runs it in large.
 */
import { describe, expect, it } from "vitest";
import { PLANTS, type PlantName, replay, simulate } from "./index.ts";

/** Never the same incidents as in large, always the same ones here. */
const SEED = 20_261_123;
const LONG_MS = 120_000;

describe("the promises, by the seed", () => {
  it("are kept in each of some hundred incidents", { timeout: LONG_MS }, async () => {
    const report = await simulate({ seed: SEED, incidents: 600, workers: 2 });
    expect(report.broken.map((b) => ({ incident: b.incident, broken: b.broken }))).toEqual([]);
    expect(report.incidents).toBe(600);
    // The faults must have been real ones: operations of each kind, refused ones too.
    for (const kind of ["failover", "switchover", "rejoin", "reopen"])
      expect(report.endings, kind).toHaveProperty(`${kind} completed`);
    expect(Object.keys(report.endings).some((e) => e.includes("rolled-back"))).toBe(true);
    expect(report.acknowledged).toBeGreaterThan(5_000);
  });

  it("and one incident is the same each time, to the last line of its trace", {
    timeout: LONG_MS,
  }, async () => {
    const traces: string[][] = [[], []];
    for (const lines of traces) await replay({ seed: SEED, incident: 3 }, (line) => lines.push(line));
    expect(traces[0]?.length).toBeGreaterThan(3);
    expect(traces[0]).toEqual(traces[1]);
  });
});

describe("a bug that is planted", () => {
  /** Each is found within so many incidents of the seed, several times over. */
  const within: Record<PlantName, number> = {
    "skip-apply-wait": 600,
    "no-node-lock": 100,
    "no-confirm": 4_000,
    "stop-too-few": 2_000,
    "open-before-commit": 100,
  };
  it.each(Object.keys(PLANTS) as PlantName[])("%s breaks a promise", { timeout: LONG_MS }, async (plant) => {
    const report = await simulate({ seed: SEED, incidents: within[plant], workers: 2, plant, mostBroken: 1 });
    expect(report.broken.length, PLANTS[plant].what).toBeGreaterThan(0);
  });
});
