import type { ArchivedRecord, OperationSummary } from "@baton/contracts";
import { expect, test } from "vitest";
import { moment } from "./amounts.ts";
import { paint } from "./colour.ts";
import { evidenceWords } from "./evidence.ts";
import { detailLines, operationsLines, timelineLines } from "./history-view.ts";
import { diagnosis } from "./views.testkit.ts";

const plain = paint(false);
const t0 = Date.UTC(2026, 9, 30, 12);

const summary: OperationSummary = {
  operation: "failover-shop-3-x",
  cluster: "shop",
  kind: "failover",
  epoch: 4,
  node: "n1",
  outcome: "completed",
  code: null,
  startedUnixMs: t0,
  tookMs: 41,
  summary: "n2 is primary",
  traceId: "abc",
};

let seq = 0;
const record = (kind: ArchivedRecord["kind"], atMs: number, payload: object): ArchivedRecord => ({
  seq: ++seq,
  kind,
  atUnixMs: t0 + atMs,
  cluster: "shop",
  operation: summary.operation,
  traceId: "abc",
  source: "x",
  subject: "y",
  payload: payload as ArchivedRecord["payload"],
  sha256: "",
  chain: "",
});
const step = (name: string, o: object = {}) => ({
  cluster: "shop",
  operation: summary.operation,
  kind: "failover",
  epoch: 4,
  executor: "executor-1",
  takeovers: 0,
  step: name,
  outcome: "done",
  code: null,
  atMs: 0,
  tookMs: 3,
  summary: `${name} is done`,
  detail: {},
  ...o,
});

test("the list of operations", () => {
  const lines = operationsLines(
    [summary, { ...summary, kind: "rejoin", outcome: "blocked", code: "not-clean", tookMs: null }],
    plain,
  );
  expect(lines[1]).toBe(
    `${moment(t0)}  shop     failover n1      4  completed           41 ms  failover-shop-3-x`,
  );
  expect(lines[2]).toBe(
    `${moment(t0)}  shop     rejoin n1        4  blocked: not-clean      –  failover-shop-3-x`,
  );
  expect(operationsLines([], plain)).toEqual(["No operation is on record."]);
});

test("a timeline: in the order of beginning, with each step's time, the evidence, and the GTID sets that matter", () => {
  const lines = timelineLines(
    summary,
    [
      record("step", 32, step("choose", { atMs: 14.6, tookMs: 0.4 })),
      record("step", 20, step("claim", { atMs: 0, detail: { revision: 7 } })),
      record("step", 32, step("read", { atMs: 3, tookMs: 11.6, detail: { held: { n2: "u:1-9", n3: "" } } })),
      record(
        "diagnosis",
        0,
        diagnosis({
          code: "primary-dead",
          severity: "critical",
          summary: "n1 is dead",
          replicas: [{ node: "n2", finds: "lost", heardAgeMs: 210 }],
        }),
      ),
    ],
    plain,
  );
  expect(lines.slice(2)).toEqual([
    "n2 is primary",
    "",
    "  +0.0 ms  diagnosis          primary-dead  n1 is dead",
    "             n2 has lost its connection to it, heard it 210 ms ago",
    "   +17 ms  claim      3.0 ms  claim is done",
    "   +20 ms  read        12 ms  read is done",
    "             held.n2: u:1-9",
    "             held.n3: ∅",
    "   +32 ms  choose     0.4 ms  choose is done",
  ]);
});

test("a refused step shows its code and everything that it rests on", () => {
  const refused = step("fence", {
    outcome: "refused",
    code: "ackers-unreachable",
    detail: { stopped: ["n2"] },
  });
  const lines = timelineLines(
    { ...summary, outcome: "blocked", code: "ackers-unreachable" },
    [record("step", 5, refused)],
    plain,
  );
  expect(lines[0]).toBe("failover-shop-3-x  failover of n1  epoch 4  blocked: ackers-unreachable  41 ms");
  expect(lines.at(-2)).toBe("  +0.0 ms  fence  3.0 ms  ackers-unreachable  fence is done");
  expect(lines.at(-1)).toMatch(/^ +stopped: n2$/);
});

test("a successor says that it took over", () => {
  const lines = timelineLines(
    summary,
    [record("step", 5, step("open", { takeovers: 1, executor: "executor-2" }))],
    plain,
  );
  expect(lines.at(-1)).toMatch(/^ +by executor-2, who took it over$/);
});

test("a record of a version to come does not break the timeline", () => {
  const lines = timelineLines(summary, [record("step", 5, { what: "is this" })], plain);
  expect(lines.at(-1)).toBe("  +0.0 ms  step    a record that this version cannot read");
});

test("details, one line a leaf", () => {
  expect(detailLines({ a: { b: "x", c: null }, list: ["n1", "n2"], none: [], n: 3, yes: true })).toEqual([
    "a.b: x",
    "list: n1, n2",
    "none: none",
    "n: 3",
    "yes: true",
  ]);
});

test("evidence in words", () => {
  const prober = { prober: "p1", region: "eu", attempts: 2, silentMs: 320, thresholdMs: 300 };
  expect(
    evidenceWords(
      diagnosis({
        probers: [
          { ...prober, finds: "dead", outcome: "refused" },
          { ...prober, finds: "dead", outcome: "timeout-query" },
          { ...prober, finds: "blind", outcome: "unreachable" },
          { ...prober, finds: "alive", outcome: "ok" },
        ],
        replicas: [
          { node: "n2", finds: "silent", heardAgeMs: 620 },
          { node: "n3", finds: "hears", heardAgeMs: null },
          { node: "n4", finds: "stopped", heardAgeMs: null },
        ],
      }),
    ),
  ).toEqual([
    "p1 (eu) finds it dead: connection refused, 2 attempts in a row",
    "p1 (eu) finds it dead: timeout-query, 2 attempts in a row, silent for 320 ms, which counts above 300 ms",
    "p1 (eu) reaches no node at all: it is cut off itself, and has no vote",
    "p1 (eu) finds it alive",
    "n2 no longer hears it, heard it 620 ms ago",
    "n3 still hears it",
    "n4's receiver is stopped: no witness",
  ]);
});
