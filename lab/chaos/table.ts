/** The sum of many rounds: faults × what came of them. Pure. */

/** One round, as `--json` prints it. Times in milliseconds. */
export interface RoundResult {
  round: number;
  seed: number;
  faults: string[];
  main: string;
  expects: string;
  /** `recovered`: clients were answered again while the fault stood, or the pen was rightly kept. `refused`: Baton said why not, and clients were answered after the healing. */
  outcome: "recovered" | "refused" | "failed";
  codes: string[];
  /** What on-call was shown while the fault stood, in order; `healthy` is left out. */
  diagnoses: string[];
  /** What a person ordered in the round and Baton refused, and why: a switchover that is the fault itself was then none. */
  orders_refused: string[];
  /** The longest time without an answer for any client. */
  downtime_ms: number;
  took_ms: number;
  acknowledged: number;
  late: number;
  lost: number;
  split: number;
  epoch: number;
  failovers: number;
  violations: { code: string; found: string }[];
}

export interface TableRow {
  fault: string;
  rounds: number;
  recovered: number;
  refused: number;
  /** With the codes of the refusals. */
  codes: string[];
  failed: number;
  medianMs: number;
  p99Ms: number;
  lost: number;
  split: number;
}

/** A row for each fault alone, one for each with another on top, one for all. */
export function tableOf(results: readonly RoundResult[]): TableRow[] {
  const groups = new Map<string, RoundResult[]>();
  for (const result of results) {
    const name = result.faults.length > 1 ? `${result.main} + another` : result.main;
    groups.set(name, [...(groups.get(name) ?? []), result]);
  }
  const rows = [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, group]) => rowOf(name, group));
  return results.length === 0 ? rows : [...rows, rowOf("all", results)];
}

function rowOf(fault: string, results: readonly RoundResult[]): TableRow {
  const downtimes = results.map((result) => result.downtime_ms).sort((a, b) => a - b);
  const counted = (outcome: RoundResult["outcome"]) =>
    results.filter((result) => result.outcome === outcome).length;
  return {
    fault,
    rounds: results.length,
    recovered: counted("recovered"),
    refused: counted("refused"),
    codes: [...new Set(results.flatMap(({ codes }) => codes))].sort(),
    failed: counted("failed"),
    medianMs: percentile(downtimes, 0.5),
    p99Ms: percentile(downtimes, 0.99),
    lost: results.reduce((sum, { lost }) => sum + lost, 0),
    split: results.reduce((sum, { split }) => sum + split, 0),
  };
}

/** The smallest value that the share `p` of all does not exceed; `sorted` is ascending. */
function percentile(sorted: readonly number[], p: number): number {
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? 0;
}

const header = [
  "fault",
  "rounds",
  "recovered",
  "refused (code)",
  "failed",
  "downtime median",
  "p99",
  "lost",
  "split",
];

/** The cells of the table, the header first. */
export function cellsOf(rows: readonly TableRow[]): string[][] {
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
  return [
    header,
    ...rows.map((row) => [
      row.fault,
      String(row.rounds),
      String(row.recovered),
      row.codes.length === 0 ? String(row.refused) : `${row.refused} (${row.codes.join(", ")})`,
      String(row.failed),
      seconds(row.medianMs),
      seconds(row.p99Ms),
      String(row.lost),
      String(row.split),
    ]),
  ];
}

/** The same for docs/chaos.md. */
export function markdownOf(rows: readonly TableRow[]): string[] {
  const [head = [], ...body] = cellsOf(rows);
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, at) => (at === 0 || at === 3 ? "---" : "---:"))), ...body.map(line)];
}
