/** The demo as a process: what it prints, what it leaves. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";

const MAIN = join(import.meta.dirname, "../main.ts");
const WITHIN = { timeout: 60_000, interval: 50 };

interface Demo {
  child: ChildProcess;
  /** All that it makes lies in here. */
  dir: string;
  stdout(): string;
  stderr(): string;
  ended: Promise<number | null>;
}

function demo(...args: string[]): Demo {
  const dir = mkdtempSync(join(tmpdir(), "baton-cli-demo-"));
  const env = { ...process.env, TMPDIR: dir, NO_COLOR: "1" };
  const child = spawn(process.execPath, [MAIN, "demo", ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await left(dir);
    rmSync(dir, { recursive: true, force: true });
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  const ended = new Promise<number | null>((done) => child.once("exit", (code) => done(code)));
  return { child, dir, stdout: () => stdout, stderr: () => stderr, ended };
}

/** Waits until no process names the folder and nothing is in it. */
function left(dir: string): Promise<void> {
  return vi.waitFor(() => {
    expect(processesOf(dir)).toEqual([]);
    expect(readdirSync(dir).filter((name) => name.startsWith("baton-"))).toEqual([]);
  }, WITHIN);
}

function processesOf(dir: string): string[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const command = readFileSync(`/proc/${entry}/cmdline`, "utf8").replaceAll("\0", " ");
      const zombie = /^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${entry}/stat`, "utf8"));
      // The sweepers wait for the others to be gone.
      const sweeper = /reaper\.sh|tidy\.sh/.test(command);
      return command.includes(dir) && !zombie && !sweeper ? [command] : [];
    } catch {
      return [];
    }
  });
}

test.each(["kill", "hang"])(
  "a round of %s in JSON: nothing lost, nothing split, nothing left",
  async (fault) => {
    const d = demo("--json", "--fault", fault);
    expect(await d.ended).toBe(0);
    expect(d.stderr()).toBe("");
    expect(d.stdout().trimEnd().split("\n")).toHaveLength(1);
    const round = JSON.parse(d.stdout());
    expect(Object.keys(round)).toEqual([
      ...["fault", "downtime_ms", "detect_ms", "decide_ms", "execute_ms"],
      ...["acknowledged", "lost", "split", "epoch", "rejoined_ms"],
    ]);
    expect(round).toMatchObject({ fault, lost: 0, split: 0, epoch: 2 });
    for (const key of ["downtime_ms", "detect_ms", "execute_ms", "rejoined_ms"])
      expect(round[key]).toBeGreaterThan(0);
    expect(round.decide_ms).toBeGreaterThanOrEqual(0);
    expect(round.detect_ms + round.decide_ms).toBeLessThan(round.downtime_ms);
    expect(round.acknowledged).toBeGreaterThan(100);
    expect(readdirSync(d.dir).filter((name) => name.startsWith("baton-"))).toEqual([]);
    expect(processesOf(d.dir)).toEqual([]);
  },
);

test.each([
  ["mysqld is starting", /starting 3 mysqld/],
  ["the services are starting", /starting NATS and the services/],
  ["the takeover runs", /kill -9 of n/],
])("Ctrl-C while %s leaves nothing and says 130", async (_when, said) => {
  const d = demo();
  await vi.waitFor(() => expect(d.stdout()).toMatch(said), { ...WITHIN, interval: 5 });
  d.child.kill("SIGINT");
  expect(await d.ended).toBe(130);
  expect(d.stderr()).toBe("");
  await left(d.dir);
});

test("kill -9 of the demo leaves nothing either", async () => {
  const d = demo();
  await vi.waitFor(() => expect(d.stdout()).toMatch(/^calm: /m), WITHIN);
  expect(processesOf(d.dir).length).toBeGreaterThan(8);
  d.child.kill("SIGKILL");
  await d.ended;
  await left(d.dir);
});
