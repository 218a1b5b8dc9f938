/**
 * The floor: how fast can a correct failover be on this machine? A bare script that knows of the fault at once
 * and does only the SQL of SAFETY.md over warm connections, while the same writer measures the downtime.
 *
 *   node lab/bench/floor.ts [--rounds 10] [--fault kill|hang] [--order lean|strict] [--json]
 */
import { parseArgs } from "node:util";
import { type Connection, createConnection } from "mysql2/promise";
import { accounts, type Lab, type LabNode, monotonicMs, startLab } from "../index.ts";
import { attached, caughtUp, changeSource, changeSourceKeepingRelayLog, follow } from "../replication.ts";
import { until } from "../until.ts";

export type FloorFault = "kill" | "hang";

/**
 * `strict` opens the candidate only after STOP REPLICA and RESET REPLICA ALL and stops the other's applier too;
 * `lean` does the same work, but leaves all that a write need not wait for until after the opening.
 */
export type FloorOrder = "lean" | "strict";

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

/** One warm connection to a node, as Baton's account, and what is to be done there once writes are possible again. */
class Hand {
  readonly node: LabNode;
  readonly #connection: Connection;
  #later: () => Promise<void> = async () => undefined;

  constructor(node: LabNode, connection: Connection) {
    this.node = node;
    this.#connection = connection;
    connection.on("error", () => undefined);
  }

  static async open(node: LabNode): Promise<Hand> {
    const connection = await createConnection({
      host: node.host,
      port: node.port,
      ...accounts.baton,
      multipleStatements: true,
    });
    await connection.query("SELECT 1");
    return new Hand(node, connection);
  }

  /** The first row of the answer; empty for a statement that has none. */
  async ask(sql: string): Promise<Record<string, unknown>> {
    const [rows] = await this.#connection.query(sql);
    return (Array.isArray(rows) ? (rows[0] ?? {}) : {}) as Record<string, unknown>;
  }

  /** Runs statements one after another and books the milliseconds of each under its label. */
  async run(steps: Record<string, number>, statements: [label: string, sql: string][]): Promise<void> {
    for (const [label, sql] of statements) {
      const began = monotonicMs();
      const answer = await this.ask(sql);
      steps[label] = monotonicMs() - began;
      if (answer.late === 1) throw new Error(`${this.node.name} did not catch up: ${sql}`);
    }
  }

  /** Resolves with the monotonic time at which the server's end of the connection closed. */
  closed(): Promise<number> {
    return new Promise((done) => {
      const stream = (this.#connection as unknown as { connection: { stream: NodeJS.EventEmitter } })
        .connection;
      stream.stream.once("close", () => done(monotonicMs()));
    });
  }

  later(work: () => Promise<void>): void {
    this.#later = work;
  }

  finish(): Promise<void> {
    return this.#later();
  }

  drop(): void {
    this.#connection.destroy();
  }
}

async function failover(
  hands: Hand[],
  order: FloorOrder,
  steps: Record<string, number>,
  at: number,
): Promise<{ candidate: Hand; other: Hand }> {
  // Fence: with N = 2 ackers and k = 1, N − k + 1 = 2 receivers must be stopped.
  const seen = await Promise.all(
    hands.map(async (hand, index) => {
      await hand.run(steps, [[`stop io ${index + 1}`, "STOP REPLICA IO_THREAD"]]);
      const began = monotonicMs();
      const row = await hand.ask(
        "SELECT RECEIVED_TRANSACTION_SET AS received, @@GLOBAL.gtid_executed AS executed " +
          "FROM performance_schema.replication_connection_status",
      );
      steps[`read ${index + 1}`] = monotonicMs() - began;
      return { hand, received: String(row.received).replaceAll("\n", ""), executed: String(row.executed) };
    }),
  );
  steps["at fenced"] = monotonicMs() - at;
  const [first, second] = seen as [(typeof seen)[0], (typeof seen)[0]];
  const began = monotonicMs();
  const held = (each: typeof first) =>
    `CONCAT('${each.received}', ',', '${each.executed.replaceAll("\n", "")}')`;
  const { subset } = await first.hand.ask(`SELECT GTID_SUBSET(${held(second)}, ${held(first)}) AS subset`);
  steps.choose = monotonicMs() - began;
  const [best, rest] = subset === 1 ? [first, second] : [second, first];
  const [candidate, other] = [best.hand, rest.hand];
  const catchUp: [string, string] = [
    "catch up",
    `SELECT WAIT_FOR_EXECUTED_GTID_SET('${best.received}', 10) AS late`,
  ];
  const open: [string, string][] = [
    ["semi-sync replica off", "SET GLOBAL rpl_semi_sync_replica_enabled=OFF"],
    ["semi-sync source on", "SET GLOBAL rpl_semi_sync_source_enabled=ON"],
    ["super_read_only off", "SET GLOBAL super_read_only=OFF"],
    ["read_only off", "SET GLOBAL read_only=OFF"],
  ];
  const clear: [string, string][] = [
    ["stop replica", "STOP REPLICA"],
    ["reset replica all", "RESET REPLICA ALL"],
  ];
  if (order === "strict") {
    const otherCatchUp = `SELECT WAIT_FOR_EXECUTED_GTID_SET('${rest.received}', 10) AS late`;
    await Promise.all([
      candidate.run(steps, [catchUp, ...clear, ...open]),
      other.run(steps, [
        ["other: catch up", otherCatchUp],
        ["other: stop replica", "STOP REPLICA"],
        ["other: change source", changeSource(candidate.node)],
        ["other: start replica", "START REPLICA"],
      ]),
    ]);
  } else {
    // The other's applier keeps running, so its relay log stays; only its receiver is pointed elsewhere.
    candidate.later(() => candidate.run(steps, clear));
    await Promise.all([
      candidate.run(steps, [catchUp, ...open]),
      other.run(steps, [
        ["other: change source", changeSourceKeepingRelayLog(candidate.node)],
        ["other: start io", "START REPLICA IO_THREAD"],
      ]),
    ]);
  }
  steps["at opened"] = monotonicMs() - at;
  await until(
    async () => (await candidate.ask("SHOW STATUS LIKE 'Rpl_semi_sync_source_clients'")).Value !== "0",
    {
      timeoutMs: recoveryTimeoutMs,
      everyMs: 1,
      onTimeout: () => new Error("no semi-sync replica is attached"),
    },
  );
  steps["at attached"] = monotonicMs() - at;
  return { candidate, other };
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
