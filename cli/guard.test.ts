/** guard.sh is told to end in each moment of its first milliseconds. Expectation: the program that it guards is never left behind. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";

const GUARD = join(import.meta.dirname, "guard.sh");
const TIMES = 200;
/** A mark that no other process has: how long it would sleep. */
const MARK = `9${process.pid}00`;

afterEach(() => {
  for (const pid of left()) process.kill(pid, "SIGKILL");
});

function left(): number[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      return readFileSync(`/proc/${entry}/cmdline`, "utf8").includes(`sleep\0${MARK}`) ? [Number(entry)] : [];
    } catch {
      return [];
    }
  });
}

test("told to end while it starts, it leaves nothing", async () => {
  for (let time = 0; time < TIMES; time++) {
    const guard = spawn("/bin/sh", [GUARD, "sleep", MARK], { stdio: ["pipe", "ignore", "ignore"] });
    const ended = once(guard, "exit");
    await new Promise((done) => setTimeout(done, (time % 12) / 2));
    guard.kill("SIGTERM");
    await ended;
    guard.stdin.destroy();
  }
  await expect.poll(left, { timeout: 10_000 }).toEqual([]);
});
