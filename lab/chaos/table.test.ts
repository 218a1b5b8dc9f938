import { expect, it } from "vitest";
import { markdownOf, type RoundResult, tableOf } from "./table.ts";

const round = (main: string, change: Partial<RoundResult> = {}): RoundResult => ({
  round: 1,
  seed: 1,
  faults: [main],
  main,
  expects: "failover",
  outcome: "recovered",
  codes: [],
  diagnoses: [],
  orders_refused: [],
  downtime_ms: 100,
  took_ms: 9_000,
  acknowledged: 50,
  late: 0,
  lost: 0,
  split: 0,
  epoch: 2,
  failovers: 1,
  violations: [],
  ...change,
});

it("counts each fault alone, with another on top, and all together", () => {
  const results = [
    round("kill"),
    round("kill", { downtime_ms: 300 }),
    round("kill", { downtime_ms: 200, outcome: "failed", lost: 2, split: 1 }),
    round("kill", { faults: ["kill", "nats-kill"], outcome: "refused", codes: ["ackers-unreachable"] }),
    round("hang", { downtime_ms: 900 }),
  ];
  const rows = tableOf(results);
  expect(rows.map(({ fault, rounds }) => [fault, rounds])).toEqual([
    ["hang", 1],
    ["kill", 3],
    ["kill + another", 1],
    ["all", 5],
  ]);
  expect(rows[1]).toMatchObject({ recovered: 2, failed: 1, medianMs: 200, p99Ms: 300, lost: 2, split: 1 });
  expect(rows[2]).toMatchObject({ refused: 1, codes: ["ackers-unreachable"] });
});

it("writes the table for the docs", () => {
  const lines = markdownOf(tableOf([round("kill", { outcome: "refused", codes: ["diverged"] })]));
  expect(lines[2]).toBe("| kill | 1 | 0 | 1 (diverged) | 0 | 0.10 s | 0.10 s | 0 | 0 |");
});
