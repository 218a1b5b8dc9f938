/** `baton up` as a process: what it starts, what it leaves. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ServiceName } from "@baton/contracts";
import { expect, onTestFinished, test, vi } from "vitest";
import { writeConfig } from "./system.ts";

const MAIN = join(import.meta.dirname, "main.ts");
const WITHIN = { timeout: 60_000, interval: 50 };

interface Up {
  child: ChildProcess;
  dir: string;
  file: string;
  /** Every line on stdout, parsed. */
  lines: Record<string, unknown>[];
  stderr(): string;
  ended: Promise<number | null>;
}

/** Nobody listens at the nodes: `up` must come up all the same, and say so. */
async function up(): Promise<Up> {
  const dir = mkdtempSync(join(tmpdir(), "baton-cli-up-"));
  const file = await writeConfig(dir, {
    clusters: { shop: { nodes: { n1: { host: "127.0.0.1", port: 1 }, n2: { host: "127.0.0.1", port: 2 } } } },
  });
  const child = spawn(process.execPath, [MAIN, "up", "-c", file], { stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await vi.waitFor(() => expect(processesOf(dir)).toEqual([]), WITHIN);
    rmSync(dir, { recursive: true, force: true });
  });
  const lines: Record<string, unknown>[] = [];
  let rest = "";
  child.stdout.on("data", (chunk: Buffer) => {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    for (const line of parts) lines.push(JSON.parse(line));
  });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  const ended = new Promise<number | null>((done) => child.once("exit", (code) => done(code)));
  return { child, dir, file, lines, stderr: () => stderr, ended };
}

/** Every live process whose command line names the folder. */
function processesOf(dir: string): { pid: number; command: string }[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const command = readFileSync(`/proc/${entry}/cmdline`, "utf8").replaceAll("\0", " ");
      const zombie = /^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${entry}/stat`, "utf8"));
      return command.includes(dir) && !zombie ? [{ pid: Number(entry), command }] : [];
    } catch {
      return [];
    }
  });
}

function servicePid(dir: string, service: string): number {
  const found = processesOf(dir).filter(({ command }) => command.includes(`services/${service}/main.ts`));
  expect(found).toHaveLength(1);
  return found[0]?.pid ?? 0;
}

/** `up` says this of each cluster when everything is there. */
const said = (u: Up, what: RegExp) => {
  expect(u.stderr()).toBe("");
  expect(u.lines.filter(({ msg }) => what.test(String(msg)))).not.toEqual([]);
};
const ready = (u: Up) => vi.waitFor(() => said(u, /^shop: .*a failover would not succeed now/), WITHIN);

test("it runs NATS and every service, starts again what dies, and stops in order with exit code 0", async () => {
  const u = await up();
  await ready(u);
  for (const service of ServiceName.options) servicePid(u.dir, service);
  expect(
    processesOf(u.dir).filter(({ command }) => /nats-server -c|nats-server .*nats\.conf/.test(command)),
  ).not.toEqual([]);

  const before = servicePid(u.dir, "notifier");
  process.kill(before, "SIGKILL");
  await vi.waitFor(() => said(u, /^notifier-1 ended by SIGKILL; it is started again in 100 ms$/), WITHIN);
  await vi.waitFor(() => expect(servicePid(u.dir, "notifier")).not.toBe(before), WITHIN);

  u.child.kill("SIGTERM");
  expect(await u.ended).toBe(0);
  expect(processesOf(u.dir)).toEqual([]);
  expect(u.stderr()).toBe("");
});

test("nothing outlives it when it is killed with kill -9", async () => {
  const u = await up();
  await ready(u);
  const started = processesOf(u.dir).filter(({ pid }) => pid !== u.child.pid);
  expect(started.length).toBeGreaterThanOrEqual(ServiceName.options.length + 1);
  u.child.kill("SIGKILL");
  await u.ended;
  await vi.waitFor(() => expect(processesOf(u.dir)).toEqual([]), WITHIN);
});

test("Ctrl-C while it starts leaves nothing either", async () => {
  const u = await up();
  await vi.waitFor(() => expect(processesOf(u.dir).length).toBeGreaterThan(2), { ...WITHIN, interval: 5 });
  u.child.kill("SIGINT");
  expect(await u.ended).toBe(0);
  expect(processesOf(u.dir)).toEqual([]);
});
