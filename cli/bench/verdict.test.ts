import { expect, test } from "vitest";
import { paint } from "../view/colour.ts";
import { usageOf } from "./usage.ts";
import { type Measured, verdictLines, verdicts } from "./verdict.ts";

const measured: Measured = {
  floorMs: [60, 70, 80],
  killMs: [170, 160, 180],
  hangMs: [900, 1_100],
  cpuPerProbeMs: 0.31,
  probesPerS: 15,
  idleCpuPercent: 3.14,
  servicesRssMb: 502,
  lost: 0,
  split: 0,
};

test("each figure beside its limit", () => {
  expect(verdictLines(verdicts(measured), paint(false))).toEqual([
    "                                            measured    limit",
    "pass  kill -9: downtime, median               170 ms   175 ms  2.43 × the floor; floor 70 ms, limit 2.5 ×",
    "pass  SIGSTOP: downtime, median               1.00 s   1.20 s",
    "pass  CPU of one look at a node, in calm     0.31 ms  0.50 ms  15 looks a second at all nodes; a bare service's CPU left out",
    "pass  idle, all processes: CPU of one core     3.1 %   15.0 %",
    "pass  idle, all services: memory (RSS)        502 MB   600 MB",
    "pass  acknowledged writes lost                     0        0",
    "pass  writes acknowledged by two servers           0        0",
  ]);
});

test("what is over its limit, or was not measured, fails", () => {
  const failed = (o: Partial<Measured>) =>
    verdicts({ ...measured, ...o })
      .filter(({ pass }) => !pass)
      .map(({ what }) => what.split(/[:,]/)[0]);
  expect(failed({})).toEqual([]);
  expect(failed({ killMs: [176] })).toEqual(["kill -9"]);
  expect(failed({ floorMs: [] })).toEqual(["kill -9"]);
  expect(failed({ hangMs: [1_201] })).toEqual(["SIGSTOP"]);
  expect(failed({ hangMs: [] })).toEqual(["SIGSTOP"]);
  expect(failed({ cpuPerProbeMs: null })).toEqual(["CPU of one look at a node"]);
  expect(failed({ idleCpuPercent: 16, servicesRssMb: 601 })).toEqual(["idle", "idle"]);
  expect(failed({ lost: 1, split: 2 })).toEqual([
    "acknowledged writes lost",
    "writes acknowledged by two servers",
  ]);
});

test("a process' CPU time grows with what it does, and its memory is known", () => {
  const before = usageOf(process.pid);
  const began = process.cpuUsage();
  while (process.cpuUsage(began).user < 20_000);
  const after = usageOf(process.pid);
  expect(after.cpuMs - before.cpuMs).toBeGreaterThan(5);
  expect(after.rssBytes).toBeGreaterThan(20 * 2 ** 20);
});
