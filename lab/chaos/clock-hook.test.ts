/** A clock that does not step would let every round pass. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";

const dir = mkdtempSync(join(tmpdir(), "baton-clock-hook-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** All the ways to ask for the time, before and after the file is there, as minutes off the machine's. */
const asks = `
const { writeFileSync, rmSync } = require("node:fs");
const file = process.argv[1];
const machine = () => performance.timeOrigin + performance.now();
const minutes = (ms) => Math.round((ms - machine()) / 60_000);
const look = () => [Date.now(), new Date().getTime(), new Date(Date()).getTime(), +new (class extends Date {})()].map(minutes);
const wait = () => { const till = performance.now() + 120; while (performance.now() < till); };
const seen = { right: look() };
writeFileSync(file, "-3600000"); wait();
seen.back = look();
writeFileSync(file, "1800000"); wait();
seen.forward = look();
rmSync(file); wait();
seen.again = look();
seen.dates = [new Date() instanceof Date, new Date(5).getTime(), Date.UTC(1970, 0, 1), require("node:fs").statSync("/").mtime instanceof Date];
console.log(JSON.stringify(seen));
`;

it("every way to ask for the time follows the file, and dates stay dates", () => {
  const file = join(dir, "clock");
  const hook = join(import.meta.dirname, "clock-hook.ts");
  const said = execFileSync(process.execPath, ["--import", hook, "-e", asks, file], {
    env: { ...process.env, BATON_CHAOS_CLOCK: file },
    encoding: "utf8",
  });
  expect(JSON.parse(said)).toEqual({
    right: [0, 0, 0, 0],
    back: [-60, -60, -60, -60],
    forward: [30, 30, 30, 30],
    again: [0, 0, 0, 0],
    dates: [true, 5, 0, true],
  });
});

it("a process that is told of no file has the machine's clock", () => {
  const hook = join(import.meta.dirname, "clock-hook.ts");
  writeFileSync(join(dir, "other"), "3600000");
  const env = { ...process.env };
  delete env.BATON_CHAOS_CLOCK;
  const said = execFileSync(process.execPath, ["--import", hook, "-e", "console.log(Date.now())"], {
    env,
    encoding: "utf8",
  });
  expect(Math.abs(Number(said) - Date.now())).toBeLessThan(60_000);
});
