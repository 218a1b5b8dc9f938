/**
 * Fault: an executor falls asleep before a step (SIGSTOP, as a stalled VM), another takes its operation over, and then it
 * wakes. Expectation: nothing that it still meant to do takes effect, and the record says so (SAFETY.md, "The executor that slept").
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StepName } from "@baton/contracts";
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

describe("an executor asleep before a step", () => {
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
    stage = await startStage({
      services: { executor: 2 },
      env: { executor: { BATON_FAULT_POINT: `before:${step}=pause`, BATON_FAULT_ONCE: join(dir, step) } },
    });
    const s = stage;
    const writer = s.lab.writer();
    await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
    const old = s.lab.node("n1");
    writer.fault(old.killNow());
    const executors = ["executor-1", "executor-2"].map((name) => ({ name, program: s.system.program(name) }));
    const sleeper = await s.until(
      "one falls asleep",
      () => executors.find((e) => sleeps(e.program.pid)) ?? null,
    );
    await writer.recovered(40_000);
    const ended = await s.event("operation-ended", (e) => e.kind === "failover", 40_000);
    expect(ended.outcome).toBe("completed");
    const before = await s.status();

    const told = s.steps.length;
    sleeper.program.resume();
    const awake = await s.until("it has found out that it is not in charge", () =>
      s.system
        .logs(sleeper.name)
        .some((l) => /left to another|interrupted|nothing to do|: completed/.test(l.message))
        ? true
        : null,
    );
    expect(awake).toBe(true);
    // What it had done before it slept may be told only now; what it was about to do must not have been done.
    const effects = s.steps
      .slice(told)
      .filter(
        (x) =>
          x.executor === sleeper.name && steps.indexOf(x.step) >= steps.indexOf(step) && x.outcome === "done",
      )
      // To read what was answered and to choose from it changes nothing.
      .filter((x) => x.step !== "read" && x.step !== "choose")
      .filter((x) => x.step !== "repoint" || (x.detail.repointed as string[]).length > 0);
    // At `prove` the operation is over, and nobody has reason to take it over: the sleeper's canary is its own.
    if (step !== "prove") {
      // The record shows what became of what it slept before: given up, by name and with a code.
      const given = await s.until(
        "the sleeper's refusal is on record",
        () =>
          s.steps
            .slice(told)
            .find(
              (x) =>
                x.executor === sleeper.name &&
                steps.indexOf(x.step) >= steps.indexOf(step) &&
                x.code !== null,
            ) ?? null,
      );
      expect(given.code).toMatch(/^(state-changed|lock-lost|node-lost)$/);
      expect(effects.map((x) => `${x.step}: ${x.summary}`)).toEqual([]);
    }
    const after = await s.status();
    expect(after).toMatchObject({ epoch: before.epoch, primary: before.primary, phase: "steady" });
    // Writes go on at the one primary; had the sleeper stopped a receiver or closed a node, they would not.
    const during = writer.acknowledged();
    await s.until("writes go on", () => (writer.acknowledged() > during + 200 ? true : null));
    const report = await writer.stop();
    expect(report.lost).toEqual([]);
    expect(report.split).toEqual([]);
    expect(report.finalPrimary).toBe(before.primary);
  });
});
