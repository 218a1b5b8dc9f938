/**
 * Faults drawn from a seed, on three sites in a network of their own (docs/chaos.md). Expectation: every round holds, and nothing is left behind,
 * whether the run ends by itself or by Ctrl-C.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { cannotNetwork, type RoundResult } from "@baton/lab/chaos";
import { afterAll, afterEach, describe, expect, it } from "vitest";

const repository = new URL("..", import.meta.url).pathname;
const hindrance = cannotNetwork();
if (hindrance !== null) console.log(`test/chaos.test.ts runs no chaos here: ${hindrance.message}`);

/** Where a run of ours puts its folders: other runs on this machine, also of other tests, have theirs elsewhere. */
const ownTmp = mkdtempSync(join(tmpdir(), "chaos-"));
afterAll(() => rmSync(ownTmp, { recursive: true, force: true }));

/** Which faults are survived depends on it. */
const plain = ["--nodes", "3", "--acks", "1", "--regions", "apart", "--durability", "lossless"];

let running: ChildProcess | undefined;
afterEach(async () => {
  if (running?.exitCode === null && running.signalCode === null) {
    running.kill("SIGTERM");
    await once(running, "exit");
  }
  running = undefined;
});

function chaos(...args: string[]): { child: ChildProcess; lines: string[]; said: string[] } {
  const child = spawn(process.execPath, ["cli/main.ts", "lab", "chaos", ...plain, ...args], {
    cwd: repository,
    env: { ...process.env, TMPDIR: ownTmp },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running = child;
  const [lines, said]: [string[], string[]] = [[], []];
  if (child.stdout) createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  if (child.stderr) createInterface({ input: child.stderr }).on("line", (line) => said.push(line));
  return { child, lines, said };
}

/** The run's folders, processes that have one of them in their command line, and named namespaces. */
function leftBehind(before: ReadonlySet<string>): string[] {
  const processes = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(commandOf)
    .filter((command) => command.includes(ownTmp));
  return [...readdirSync(ownTmp), ...namespaces().filter((name) => !before.has(name)), ...processes];
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

function namespaces(): string[] {
  return existsSync("/run/netns") ? readdirSync("/run/netns") : [];
}

describe.skipIf(hindrance !== null)("chaos", () => {
  it("holds in a few rounds, and leaves nothing behind", { timeout: 240_000 }, async () => {
    const before = new Set(namespaces());
    const faults = "kill,hang,host-cut,probers-cut,pair-kill,nats-kill,executor-dies-at-step,replica-kill";
    const { child, lines, said } = chaos("--seed", "31", "--rounds", "4", "--faults", faults, "--json");
    const [code] = await once(child, "close");
    const rounds = lines.map((line) => JSON.parse(line) as RoundResult);
    expect(
      rounds.flatMap(({ violations }) => violations),
      said.join("\n"),
    ).toEqual([]);
    expect(code, said.join("\n")).toBe(0);
    expect(rounds.map(({ round }) => round)).toEqual([1, 2, 3, 4]);
    expect(rounds.some(({ failovers }) => failovers > 0)).toBe(true);
    for (const { acknowledged, outcome } of rounds) {
      expect(acknowledged).toBeGreaterThan(0);
      expect(outcome).not.toBe("failed");
    }
    // Its cleaners end when they are told that it has.
    await expect.poll(() => leftBehind(before), { timeout: 10_000 }).toEqual([]);

    const folder = mkdtempSync(join(tmpdir(), "baton-chaos-results-"));
    try {
      const file = join(folder, "results.jsonl");
      writeFileSync(file, lines.join("\n"));
      const table = execFileSync(process.execPath, ["cli/main.ts", "lab", "chaos", "--table", file], {
        cwd: repository,
      });
      expect(String(table).split("\n")).toContainEqual(
        expect.stringMatching(/^\| all \| 4 \| .* \| 0 \| 0 \|$/),
      );
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it("holds where test/chaos-planted.test.ts plants bugs: an executor is cut off, or oversleeps", {
    timeout: 240_000,
  }, async () => {
    const faults = ["executor-cut-at-step=before:commit", "executor-oversleeps-at-step=before:freeze"];
    const turns = faults.map((fault) => `switchover+${fault}`).join(",");
    const { child, lines, said } = chaos("--each", "--faults", turns, "--seed", "1", "--json");
    const [code] = await once(child, "close");
    const rounds = lines.map((line) => JSON.parse(line) as RoundResult);
    expect(
      rounds.flatMap(({ violations }) => violations),
      said.join("\n"),
    ).toEqual([]);
    expect(code, said.join("\n")).toBe(0);
    expect(rounds.map((round) => round.faults)).toEqual(faults.map((fault) => [fault, "switchover"]));
    // The faults were made: without them the switchovers would have passed the pen on.
    expect(rounds.map(({ failovers }) => failovers)).toEqual([0, 0]);
    expect(rounds.flatMap((round) => round.orders_refused)).toEqual([]);
  });

  it("ends at Ctrl-C, in the middle of a round, and leaves nothing behind", {
    timeout: 240_000,
  }, async () => {
    const before = new Set(namespaces());
    const { child, lines, said } = chaos("--seed", "1", "--rounds", "50", "--faults", "client-cut");
    await new Promise<void>((resolve) => {
      const look = setInterval(() => {
        if (lines.length === 0 && child.exitCode === null) return;
        clearInterval(look);
        resolve();
      }, 50);
    });
    child.kill("SIGINT");
    const [code] = await once(child, "close");
    expect(code, said.join("\n")).toBe(130);
    // Its cleaners end when they are told that it has.
    await expect.poll(() => leftBehind(before), { timeout: 10_000 }).toEqual([]);
  });

  it("says what is missing where a network cannot be made", () => {
    const result = { status: 0, stderr: "" };
    try {
      execFileSync(process.execPath, ["cli/main.ts", "lab", "chaos", "--rounds", "1"], {
        cwd: repository,
        env: { ...process.env, PATH: "/nowhere" },
        stdio: "pipe",
      });
    } catch (error) {
      Object.assign(result, {
        status: (error as { status: number }).status,
        stderr: String((error as { stderr: Buffer }).stderr),
      });
    }
    expect(result.status).toBe(1);
    expect(result.stderr).toMatch(
      /no-own-network: Found no program (ip|unshare); .*install (iproute2|util-linux)/,
    );
  });
});
