import { readFileSync } from "node:fs";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Exit, Program, restartWaitMs } from "./program.ts";

/** A real child: says its pid, and does what its script says. */
function program(script: string, o: { stopTimeoutMs?: number; env?: Record<string, string> } = {}) {
  const lines: string[] = [];
  const exits: Exit[] = [];
  const watchers = new Set<() => void>();
  const tell = () => {
    for (const watcher of watchers) watcher();
  };
  const it = new Program({
    name: "child",
    command: process.execPath,
    args: ["-e", script],
    env: o.env ?? {},
    tether: "ipc",
    stopTimeoutMs: o.stopTimeoutMs ?? 5_000,
    onLine: (line) => {
      lines.push(line);
      tell();
    },
    onExit: (exit) => {
      exits.push(exit);
      tell();
    },
  });
  onTestFinished(() => it.stop());
  const until = (condition: () => boolean) =>
    new Promise<void>((done) => {
      const look = () => {
        if (!condition()) return;
        watchers.delete(look);
        done();
      };
      watchers.add(look);
      look();
    });
  return { it, lines, exits, until };
}

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

describe("the wait before a restart", () => {
  test("doubles from 0.1 s to 10 s", () => {
    expect([1, 2, 3, 4, 7, 8, 20, 2000].map(restartWaitMs)).toEqual([
      100, 200, 400, 800, 6_400, 10_000, 10_000, 10_000,
    ]);
  });
});

describe("a program", () => {
  test("that dies is started again, later each time", async () => {
    const { it, exits, until } = program("process.exit(3)");
    it.start();
    await until(() => exits.length >= 3);
    expect(exits.slice(0, 3).map(({ code, restartInMs }) => [code, restartInMs])).toEqual([
      [3, 100],
      [3, 200],
      [3, 400],
    ]);
    expect(it.starts).toBe(3);
  });

  test("that is killed is started again as another process", async () => {
    const { it, lines, exits, until } = program("console.log(process.pid); setInterval(() => {}, 1000)");
    it.start();
    await until(() => lines.length === 1);
    it.kill();
    await until(() => lines.length === 2);
    expect(lines[1]).not.toBe(lines[0]);
    expect(exits).toMatchObject([{ signal: "SIGKILL", code: null }]);
    expect(alive(Number(lines[0]))).toBe(false);
  });

  test("killed for good stays down until it is started", async () => {
    const { it, lines, exits, until } = program("console.log(process.pid); setInterval(() => {}, 1000)");
    it.start();
    await until(() => lines.length === 1);
    it.kill({ restart: false });
    await until(() => exits.length === 1);
    expect(exits[0]?.restartInMs).toBe(null);
    expect(it.running).toBe(false);
    it.start();
    await until(() => lines.length === 2);
  });

  test("is asked to stop with SIGTERM and may end in order", async () => {
    const { it, lines, exits, until } = program(
      "process.on('SIGTERM', () => { console.log('bye'); process.exit(0) }); console.log('up'); setInterval(() => {}, 1000)",
    );
    it.start();
    await until(() => lines.includes("up"));
    await it.stop();
    expect(lines).toContain("bye");
    expect(exits).toMatchObject([{ code: 0, restartInMs: null }]);
  });

  test("that does not stop is killed, even when it hangs", async () => {
    const { it, lines, exits, until } = program(
      "process.on('SIGTERM', () => {}); console.log(process.pid); setInterval(() => {}, 1000)",
      { stopTimeoutMs: 200 },
    );
    it.start();
    await until(() => lines.length === 1);
    it.hang();
    await it.stop();
    expect(exits).toMatchObject([{ signal: "SIGKILL", restartInMs: null }]);
    expect(alive(Number(lines[0]))).toBe(false);
  });

  test("gives its last words and its environment, from both outputs", async () => {
    const { it, lines, exits, until } = program(
      "console.error('to stderr ' + process.env.WORD); process.stdout.write('no newline')",
      { env: { WORD: "pear" } },
    );
    it.start();
    await until(() => exits.length === 1);
    await it.stop();
    expect(lines.slice(0, 2).sort()).toEqual(["no newline", "to stderr pear"]);
  });

  test("that cannot be run says so", async () => {
    const lines: string[] = [];
    const exits: Exit[] = [];
    const it = new Program({
      name: "none",
      command: "/no/such/program",
      args: [],
      tether: "ipc",
      stopTimeoutMs: 1_000,
      onLine: (line) => lines.push(line),
      onExit: (exit) => exits.push(exit),
    });
    it.start();
    await it.ended();
    await it.stop();
    expect(lines[0]).toMatch(/^cannot run \/no\/such\/program: .*ENOENT/);
    expect(exits).toHaveLength(1);
  });
});
