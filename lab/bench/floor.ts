/**
 * The floor: how fast can a correct failover be on this machine? A bare script that knows of the fault at once
 * and does only the SQL of SAFETY.md over warm connections, while the same writer measures the downtime.
 *
 *   node lab/bench/floor.ts [--rounds 10] [--fault kill|hang] [--order lean|strict] [--json]
 */
import { parseArgs } from "node:util";
import { type Lab, type LabNode, startLab } from "../index.ts";
import { attached, caughtUp, follow } from "../replication.ts";
import { until } from "../until.ts";
import { type FloorOrder, failover, Hand } from "./bare-failover.ts";

export type FloorFault = "kill" | "hang";

export interface FloorOptions {
  rounds?: number;
  fault?: FloorFault;
  order?: FloorOrder;
  signal?: AbortSignal;
  onRound?: (round: FloorRound) => void;
  onProgress?: (line: string) => void;
}

export interface FloorRound {
  round: number;
  fault: FloorFault;
  order: FloorOrder;
  downtimeMs: number;
  lost: number;
  split: number;
  acknowledged: number;
  /** How the old primary came back: `rebuilt` when it had committed transactions that nobody else received. */
  mended: "repointed" | "rebuilt";
  /** Milliseconds of each statement, and of the moments (`at …`) since the fault. */
  steps: Record<string, number>;
}

const calmTimeoutMs = 20_000;
const recoveryTimeoutMs = 20_000;
/** Acknowledged writes before a fault: enough for every cache on the way to be warm. */
const warmWrites = 400;

/** Measures `rounds` failovers in one lab of three nodes. Throws when one does not recover. */
export async function measureFloor(options: FloorOptions = {}): Promise<FloorRound[]> {
  const rounds: FloorRound[] = [];
  const lab = await startLab({
    natsServers: 0,
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.onProgress ? { onProgress: options.onProgress } : {}),
  });
  try {
    for (let number = 1; number <= (options.rounds ?? 10); number++) {
      const round = await measureRound(lab, number, options.fault ?? "kill", options.order ?? "lean");
      rounds.push(round);
      options.onRound?.(round);
    }
  } finally {
    await lab.stop();
  }
  return rounds;
}

async function measureRound(
  lab: Lab,
  number: number,
  fault: FloorFault,
  order: FloorOrder,
): Promise<FloorRound> {
  const old = await lab.primary();
  if (!old) throw new Error("the lab has no primary before the round");
  const replicas = lab.nodes.filter((node) => node !== old);
  const hands = await Promise.all(replicas.map((node) => Hand.open(node)));
  const watcher = await Hand.open(old);
  const writer = lab.writer();
  try {
    await until(async () => writer.acknowledged() > warmWrites, {
      timeoutMs: calmTimeoutMs,
      onTimeout: () => new Error(`the writer is slow: ${JSON.stringify(writer.snapshot())}`),
    });
    const at = fault === "kill" ? old.killNow() : old.hang();
    writer.fault(at);
    const steps: Record<string, number> = {};
    const closed = watcher.closed().then((atMs) => {
      if (fault === "kill") steps["at sockets closed"] = atMs - at;
    });
    const { candidate, other } = await failover(hands, order, steps, at);
    const downtimeMs = await writer.recovered(recoveryTimeoutMs);
    if (fault === "kill") await closed;
    await other.finish();
    await candidate.finish();
    const report = await writer.stop();
    const mended = await mend(lab, old, candidate.node);
    return {
      round: number,
      fault,
      order,
      downtimeMs,
      lost: report.lost.length,
      split: report.split.length,
      acknowledged: report.acknowledged,
      mended,
      steps,
    };
  } finally {
    writer.abandon();
    for (const hand of [...hands, watcher]) hand.drop();
  }
}

/** Brings the old primary back as a replica: repointed when its history is the new primary's, else rebuilt. */
async function mend(lab: Lab, old: LabNode, primary: LabNode): Promise<FloorRound["mended"]> {
  await old.kill();
  await old.start();
  const [mine] = await old.query<{ executed: string }>("SELECT @@GLOBAL.gtid_executed AS executed");
  const [answer] = await primary.query<{ clean: number }>(
    "SELECT GTID_SUBSET(?, @@GLOBAL.gtid_executed) AS clean",
    [mine?.executed],
  );
  const clean = answer?.clean === 1;
  if (!clean) await old.reseed();
  await follow(old, primary);
  await attached(primary, lab.nodes.length - 1);
  await Promise.all(lab.nodes.filter((node) => node !== primary).map((node) => caughtUp(node, primary)));
  return clean ? "repointed" : "rebuilt";
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** The rounds as a table: one line for the downtime and one for each step, with median, least and most. */
export function floorTable(rounds: FloorRound[]): string {
  const names = new Set(rounds.flatMap((round) => Object.keys(round.steps)));
  const line = (name: string, values: number[]) =>
    `${name.padEnd(24)}${[median(values), Math.min(...values), Math.max(...values)].map((value) => value.toFixed(1).padStart(10)).join("")}`;
  const lines = [`${"ms".padEnd(24)}    median     least      most`];
  lines.push(
    line(
      "downtime",
      rounds.map((round) => round.downtimeMs),
    ),
  );
  for (const name of names) {
    lines.push(
      line(
        name,
        rounds.map((round) => round.steps[name]).filter((value) => value !== undefined),
      ),
    );
  }
  const sum = (pick: (round: FloorRound) => number) =>
    rounds.reduce((total, round) => total + pick(round), 0);
  const rebuilt = sum((round) => (round.mended === "rebuilt" ? 1 : 0));
  lines.push(
    `the old primary had errant transactions and was rebuilt in ${rebuilt} of ${rounds.length} rounds`,
  );
  lines.push(
    `${rounds.length} rounds, lost ${sum((round) => round.lost)}, split ${sum((round) => round.split)}`,
  );
  return lines.join("\n");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "10" },
      fault: { type: "string", default: "kill" },
      order: { type: "string", default: "lean" },
      json: { type: "boolean", default: false },
    },
  });
  const count = Number(values.rounds);
  const valid =
    Number.isInteger(count) &&
    count > 0 &&
    /^(kill|hang)$/.test(values.fault) &&
    /^(lean|strict)$/.test(values.order);
  if (!valid) {
    console.error(
      "usage: node lab/bench/floor.ts [--rounds 10] [--fault kill|hang] [--order lean|strict] [--json]",
    );
    process.exitCode = 2;
    return;
  }
  const rounds = await measureFloor({
    rounds: count,
    fault: values.fault as FloorFault,
    order: values.order as FloorOrder,
    onRound: (round) => {
      if (values.json) console.log(JSON.stringify(round));
      else console.error(`round ${round.round}: ${round.downtimeMs.toFixed(1)} ms`);
    },
  });
  if (!values.json) console.log(floorTable(rounds));
}

if (import.meta.main) await main();
