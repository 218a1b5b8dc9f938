/**
 * Fault: an executor falls asleep before a step (SIGSTOP, as a stalled VM), another takes its operation over, and then it
 * wakes. Expectation: nothing that it still meant to do takes effect, and the record says so (SAFETY.md, "The executor that slept").
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StepName } from "@baton/contracts";
import type { Writer } from "@baton/lab";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

const dir = mkdtempSync(join(tmpdir(), "baton-sleeping-hands-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

/** `T` in /proc is a process that was stopped by a signal. */
function sleeps(pid: number | null | undefined): boolean {
  if (pid == null) return false;
  return /^\d+ \(.*\) T/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
}

/** Two executors, of which the first that comes to `step` falls asleep before it. */
async function withSleeper(step: StepName, kind: string): Promise<Stage> {
  const point = join(dir, `${kind}-${step}`);
  writeFileSync(point, `before:${step}=pause`);
  stage = await startStage({
    services: { executor: 2 },
    env: { executor: { BATON_FAULT_POINT: `@${point}` } },
  });
  return stage;
}

function asleep(s: Stage): Promise<string> {
  const executors = ["executor-1", "executor-2"];
  return s.until(
    "one falls asleep",
    () => executors.find((name) => sleeps(s.system.program(name).pid)) ?? null,
  );
}

/** Wakes the sleeper when all is over, and shows by the record and by the nodes that it did nothing more. */
async function wakeInVain(
  s: Stage,
  sleeper: string,
  steps: readonly StepName[],
  step: StepName,
): Promise<void> {
  const before = await s.status();
  const told = s.steps.length;
  s.system.program(sleeper).resume();
  await s.until("it has found out that it is not in charge", () =>
    s.system
      .logs(sleeper)
      .some((l) => /left to another|interrupted|nothing to do|: completed/.test(l.message))
      ? true
      : null,
  );
  const late = () => s.steps.slice(told).filter((x) => x.executor === sleeper);
  // At `prove` the operation is over, and nobody has reason to take it over: the sleeper's canary is its own.
  if (step !== "prove") {
    // The record shows what became of what it slept before: given up, by name and with a code.
    const given = await s.until(
      "the sleeper's refusal is on record",
      () => late().find((x) => x.code !== null) ?? null,
    );
    expect(given.code).toMatch(/^(state-changed|lock-lost|node-lost)$/);
    // What it had done before it slept may be told only now; what it was about to do must not have been done.
    const effects = late()
      .filter((x) => x.outcome === "done" && steps.indexOf(x.step) >= steps.indexOf(step))
      // To read what was answered and to choose from it changes nothing.
      .filter((x) => x.step !== "read" && x.step !== "choose")
      .filter((x) => x.step !== "repoint" || (x.detail.repointed as string[]).length > 0);
    expect(effects.map((x) => `${x.step}: ${x.summary}`)).toEqual([]);
  }
  const { epoch, primary } = before;
  const after = await s.until("nothing runs", () =>
    s.status().then((v) => (v.phase === "steady" ? v : null)),
  );
  expect(after).toMatchObject({ epoch, primary });
}

/** Writes go on at the one primary; had the sleeper stopped a receiver or closed a node, they would not. */
async function goOn(s: Stage, writer: Writer): Promise<void> {
  const { primary } = await s.status();
  const during = writer.acknowledged();
  await s.until("writes go on", () => (writer.acknowledged() > during + 200 ? true : null));
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
  expect(report.finalPrimary).toBe(primary);
}

describe("an executor asleep before a step of a failover", () => {
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
    "prove",
  ];
  it.each(steps)("%s: its successor finishes, and what it does on waking has no effect", async (step) => {
    const s = await withSleeper(step, "failover");
    const writer = s.lab.writer();
    await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
    writer.fault(s.lab.node("n1").killNow());
    const sleeper = await asleep(s);
    await writer.recovered(40_000);
    // What rests on an order that nobody had begun is by then too old for its successor: it is judged anew.
    const outcomes = step === "claim" ? ["rolled-back", "completed"] : ["completed"];
    const ends = () => s.events.filter((e) => e.type === "operation-ended" && e.kind === "failover");
    await s.until("it has ended", () => (ends().length === outcomes.length ? true : null), 40_000);
    expect(ends().map(({ outcome }) => outcome)).toEqual(outcomes);
    await wakeInVain(s, sleeper, steps, step);
    await goOn(s, writer);
  });
});

describe("an executor asleep before a step of a switchover", () => {
  const steps: StepName[] = ["preflight", "freeze", "commit", "open"];
  it.each(steps)("%s: its successor ends it, and what it does on waking has no effect", async (step) => {
    const s = await withSleeper(step, "switchover");
    const writer = s.lab.writer();
    await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
    await s.bus.command("switchover", { cluster: "shop", to: "n2", dryRun: false, force: false });
    const sleeper = await asleep(s);
    const ended = await s.event("operation-ended", (e) => e.kind === "switchover", 40_000);
    expect(ended.outcome).toBe(step === "open" ? "completed" : "rolled-back");
    expect((await s.status()).primary).toBe(step === "open" ? "n2" : "n1");
    await wakeInVain(s, sleeper, steps, step);
    await goOn(s, writer);
  });
});
