/** Faults: deciders and executors die at the worst moment. Expectation: one intent an epoch, and somebody finishes. */
import type { StepName } from "@baton/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

async function failOver(s: Stage, atFault: () => void = () => undefined) {
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  const { primary, epoch } = await s.status();
  const old = s.lab.node(primary as string);
  const atMs = old.killNow();
  atFault();
  writer.fault(atMs);
  await writer.recovered(40_000);
  const ended = await s.event(
    "operation-ended",
    (e) => e.kind === "failover" && e.epoch === epoch + 1,
    40_000,
  );
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
  return { old, ended, epoch };
}

describe("deciders", () => {
  it("two of them, in two regions, emit one intent", async () => {
    stage = await startStage({
      services: { decider: 2, prober: 2, executor: 2 },
      regions: { prober: ["eu", "us"] },
    });
    const { epoch } = await failOver(stage);
    expect(stage.intents.filter((i) => i.kind === "failover" && i.epoch === epoch)).toHaveLength(1);
    expect(stage.diagnoses.filter((d) => d.code === "primary-dead").length).toBeGreaterThan(0);
  });

  it("one is killed at the moment of the failure: the other orders", async () => {
    stage = await startStage({ services: { decider: 2 } });
    const { system } = stage;
    const { epoch } = await failOver(stage, () => system.program("decider-1").kill());
    expect(stage.intents.filter((i) => i.kind === "failover" && i.epoch === epoch)).toHaveLength(1);
  });
});

describe("an executor killed after a step", () => {
  const steps: StepName[] = [
    "claim",
    "fence",
    "read",
    "choose",
    "catch-up",
    "commit",
    "open",
    "repoint",
    "announce",
  ];
  it.each(steps)("%s: its successor finishes the same operation", async (step) => {
    stage = await startStage({
      services: { executor: 2 },
      env: { executor: { BATON_FAULT_POINT: `after:${step}=kill` } },
    });
    const { epoch } = await failOver(stage);
    const operations = new Set(
      stage.intents.filter((i) => i.kind === "failover" && i.epoch === epoch).map((i) => i.operation),
    );
    expect(operations.size).toBe(1);
    expect(stage.exits.filter((name) => name.startsWith("executor"))).toHaveLength(1);
    const tookOver = stage.steps.some((s) => s.takeovers > 0);
    expect(tookOver).toBe(step !== "announce");
    expect(
      stage.events.filter((e) => e.type === "primary-changed" && e.epoch === epoch + 1).length,
    ).toBeGreaterThan(0);
    const s = stage;
    // The dead one is parked meanwhile: that changes nobody's reign.
    const after = await s.until("nothing runs", () =>
      s.status().then((v) => (v.phase === "steady" ? v : null)),
    );
    expect(after.epoch).toBe(epoch + 1);
  });
});
