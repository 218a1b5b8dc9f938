/**
 * A test of the test: a bug is planted in the services (lab/simulation/plant.ts, lab/chaos/plant-hook.ts), and chaos must find it. Without the bug the same
 * faults pass: test/chaos.test.ts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { cannotNetwork, type RoundResult } from "@baton/lab/chaos";
import { afterEach, describe, expect, it } from "vitest";

const repository = new URL("..", import.meta.url).pathname;
const hindrance = cannotNetwork();
if (hindrance !== null) console.log(`test/chaos-planted.test.ts runs no chaos here: ${hindrance.message}`);

let running: ChildProcess | undefined;
afterEach(async () => {
  if (running?.exitCode === null && running.signalCode === null) {
    running.kill("SIGTERM");
    await once(running, "exit");
  }
});

/** A switchover that Baton did not begin, as for a cluster that is not fit at that moment, shows nothing: it is ordered once more, in another run. */
async function violations(plant: string, fault: string): Promise<RoundResult["violations"]> {
  for (const seed of [1, 2]) {
    const round = await played(plant, fault, seed);
    if (round.violations.length > 0) return round.violations;
    console.log(`${plant} was not found; refused: ${round.orders_refused.join("; ") || "nothing"}`);
  }
  return [];
}

async function played(plant: string, fault: string, seed: number): Promise<RoundResult> {
  const world = ["--nodes", "3", "--acks", "1", "--regions", "apart", "--durability", "lossless"];
  const options = [...world, "--plant", plant, "--each", "--faults", fault, "--seed", String(seed), "--json"];
  const child = spawn(process.execPath, ["cli/main.ts", "lab", "chaos", ...options], {
    cwd: repository,
    stdio: ["ignore", "pipe", "pipe"],
  });
  running = child;
  const [out, said, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "exit"),
  ]);
  const lines = out.trim().split("\n").filter(Boolean);
  expect(lines, said).toHaveLength(1);
  const round = JSON.parse(lines[0] as string) as RoundResult;
  expect(code, said).toBe(round.violations.length > 0 ? 1 : 0);
  return round;
}

const violation = (wanted: string) => expect.objectContaining({ code: wanted });

describe.skipIf(hindrance !== null)("chaos finds", () => {
  it("a fence of one acker too few: it refuses for another reason, or not at all", {
    timeout: 300_000,
  }, async () => {
    expect(await violations("fence-too-few", "pair-cut")).toContainEqual(violation("wrong-refusal"));
  });

  it("a candidate opened before it has applied what it received: the cluster does not get whole again", {
    timeout: 300_000,
  }, async () => {
    expect(await violations("skip-apply-wait", "kill-lagging")).not.toEqual([]);
  });

  it("a candidate opened before the commit, which then cannot be made: it takes writes beside the primary", {
    timeout: 300_000,
  }, async () => {
    const found = await violations("open-before-commit", "switchover+executor-cut-at-step=before:commit");
    expect(found).toContainEqual(violation("second-pen"));
  });
});
