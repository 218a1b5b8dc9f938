/**
 * The simulation in small, and the tests of the test: a bug that is put between the real executor and the models must break a
 * promise. `baton lab simulate` runs it in large.
 */
import { describe, expect, it } from "vitest";
import { PLANTS, type Plan, type PlantName, replay, simulate } from "./index.ts";

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

describe("an incident that once broke a promise", () => {
  it.each([
    { seed: 7, incident: 3_542, was: "the old primary was shut after a roll-back had opened it again" },
    { seed: 21, incident: 1_049, was: "a quarantine waited for whom only the next rejoin would bring" },
    { seed: 8, incident: 1_019, was: "a late order took the lock of a reopening, which nobody went on with" },
  ])("seed $seed, incident $incident: $was", { timeout: LONG_MS }, async ({ seed, incident }) => {
    expect((await replay({ seed, incident }, () => undefined)).broken).toEqual([]);
  });
});

describe("a bug that is planted", () => {
  /** Each is found within so many incidents of the seed, several times over. */
  const within = {
    "skip-apply-wait": 600,
    "no-node-lock": 100,
    "stop-too-few": 2_000,
    "open-before-commit": 100,
  } satisfies Partial<Record<PlantName, number>>;
  it.each(Object.entries(within) as [PlantName, number][])(
    "%s breaks a promise",
    { timeout: LONG_MS },
    async (plant, incidents) => {
      const report = await simulate({ seed: SEED, incidents, workers: 2, plant, mostBroken: 1 });
      expect(report.broken.length, PLANTS[plant].what).toBeGreaterThan(0);
    },
  );
});

describe("a hole of product code that is dug again", () => {
  it("no-mark loses what was acknowledged, in an incident that is sound without", {
    timeout: LONG_MS,
  }, async () => {
    const of = { seed: SEED, incident: 562 };
    expect((await replay(of, () => undefined)).broken).toEqual([]);
    const dug = (await replay({ ...of, hole: "no-mark" }, () => undefined)).broken;
    expect(dug.flatMap((b) => b.broken.map((x) => x.promise))).toContain("nothing-lost");
  });
});

describe("an executor that falls asleep right after its claim, and wakes when another has ended its operation", () => {
  const shape = {
    nodes: 3,
    acks: 1,
    deciders: 1,
    executors: 2,
    probers: 1,
    writers: 2,
    thinkMs: 20,
    delayMs: 0.1,
    jitterMs: 0.3,
    loss: 0,
    again: 0,
    flushMs: 0.5,
    applyMs: [0.5, 0.5, 0.5],
    relayLogRecovery: [false, false, false],
  };
  /** The claim is one of its first effects; which one, is no matter of this test. */
  const sleeping = (effect: number): Plan => ({
    shape,
    faults: [
      {
        type: "strike",
        process: "executor-1",
        effect,
        when: "after",
        how: "pause",
        atMs: 1_399,
        forMs: 6_500,
      },
      { type: "switchover", to: null, atMs: 1_400 },
    ],
    healMs: 9_000,
  });
  const broken = async (plant?: PlantName): Promise<number> => {
    let sum = 0;
    for (const effect of [1, 2, 3, 4])
      sum += (
        await simulate({ seed: 1, incidents: 24, workers: 1, plant, plan: sleeping(effect), mostBroken: 100 })
      ).broken.length;
    return sum;
  };

  it("touches nothing, because its hands are confirmed", { timeout: LONG_MS }, async () => {
    expect(await broken()).toBe(0);
  });

  it("would freeze the primary for good if they were not", { timeout: LONG_MS }, async () => {
    expect(await broken("no-confirm")).toBeGreaterThan(0);
  });
});
