/** Faults that are no death of the primary (docs/negative.md). Expectation: no failover, the same epoch, the right words for on-call. */
import { MESSAGES } from "@baton/contracts";
import type { Writer } from "@baton/lab";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SITUATIONS } from "./negative/situations.ts";
import { type Stage, startStage } from "./stage.ts";

/** Of each prober that is heard, of the primary: so many chances to judge wrongly. */
const SAMPLES = 4;
/** And for so long: many times what a hasty tool needs. Under suspicion samples come ten a second. */
const LASTS_MS = 2_000;

let stage: Stage;
let writer: Writer | null = null;
const looked = new Map<string, number>();

beforeAll(async () => {
  stage = await startStage({ services: { prober: 2 }, regions: { prober: ["eu", "us"] } });
  writer = stage.lab.writer({ connections: 2, paceMs: 20 });
  stage.bus.subscribe(MESSAGES.sample, {}, (sample) => {
    if (sample.node === "n1") looked.set(sample.prober, (looked.get(sample.prober) ?? 0) + 1);
  });
});
afterAll(async () => {
  await stage?.stop();
});

async function stopWriter(): Promise<void> {
  const report = await writer?.stop();
  writer = null;
  expect(report?.lost ?? []).toEqual([]);
  expect(report?.split ?? []).toEqual([]);
}

/** Resolves when clients are answered. */
async function flowing(): Promise<void> {
  writer ??= stage.lab.writer({ connections: 2, paceMs: 20 });
  const from = writer.acknowledged();
  await stage.until("writes are answered", () => ((writer?.acknowledged() ?? 0) > from + 4 ? true : null));
}

/** Resolves when the primary has been looked at so often since now. */
async function lookedAt(times: number): Promise<void> {
  const from = new Map(looked);
  const sinceMs = performance.now();
  await stage.until(`${times} samples of the primary`, () =>
    performance.now() - sinceMs >= LASTS_MS &&
    Math.max(...[...looked].map(([prober, n]) => n - (from.get(prober) ?? 0)), 0) >= times
      ? true
      : null,
  );
}

describe("Baton does not fail over when", () => {
  it.each(SITUATIONS)("$name", async (situation) => {
    const before = await stage.whole();
    await flowing();
    if (situation.noWriter) await stopWriter();
    const orders = stage.intents.length;
    const diagnosed = stage.diagnoses.length;
    // Who counts while a replica is away is written in the state; no server is touched for it.
    const judged = () =>
      stage.intents
        .slice(orders)
        .map((i) => i.kind)
        .filter((kind) => kind !== "membership");
    const rightly = (kind: string) =>
      (situation.mayOrder as readonly string[] | undefined)?.includes(kind) ?? false;

    const undo = await situation.make(stage, before.primary as string);
    try {
      const { sees } = situation;
      if (sees !== null)
        await stage.until(`on-call sees ${sees}`, async () => {
          if (stage.diagnoses.slice(diagnosed).some((d) => d.code === sees)) return true;
          const view = await stage.status().catch(() => null);
          return view?.nodes.some((n) => n.problems.includes(sees)) ? true : null;
        });
      await lookedAt(SAMPLES);
      expect(
        judged().filter((kind) => !rightly(kind)),
        await stage.story(),
      ).toEqual([]);
    } finally {
      await undo();
    }
    const view = await stage.whole(40_000);
    await flowing();
    expect(view).toMatchObject({ epoch: before.epoch, primary: before.primary });
    expect(judged().filter((kind) => !rightly(kind))).toEqual([]);
    const deaths = stage.diagnoses.slice(diagnosed).filter((d) => d.code.startsWith("primary-dead"));
    expect(deaths.map((d) => d.summary)).toEqual([]);
  });

  it("and no write that was acknowledged in all of this is lost", async () => {
    await stopWriter();
    const [row] = await stage.lab.node("n1").query<{ n: number }>("SELECT COUNT(*) n FROM app.writes");
    expect(row?.n).toBeGreaterThan(500);
  });
});
