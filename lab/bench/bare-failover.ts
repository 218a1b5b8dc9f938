import { type Connection, createConnection } from "mysql2/promise";
import { accounts, type LabNode, monotonicMs } from "../index.ts";
import { changeSource, changeSourceKeepingRelayLog } from "../replication.ts";
import { until } from "../until.ts";

/**
 * `strict` opens the candidate only after STOP REPLICA and RESET REPLICA ALL and stops the other's applier too;
 * `lean` does the same work, but leaves all that a write need not wait for until after the opening.
 */
export type FloorOrder = "lean" | "strict";

const attachTimeoutMs = 20_000;

interface Holding {
  hand: Hand;
  received: string;
  executed: string;
}

/** One warm connection to a node, as Baton's account, and what is to be done there once writes are possible again. */
export class Hand {
  readonly node: LabNode;
  readonly #connection: Connection;
  /** The coordinator thread that has the first part of a transaction to apply and will never get the rest. */
  #partialOf: number | undefined;
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

  /**
   * A receiver that stopped in the middle of a transaction leaves its first part in the relay log, and the applier
   * begins it. STOP REPLICA would then wait 60 s for the rest; to kill the coordinator first rolls it back at once.
   * Only after everything complete is applied.
   */
  async dropPartial(steps: Record<string, number>): Promise<void> {
    if (this.#partialOf === undefined) return;
    const began = monotonicMs();
    await this.ask(`KILL ${this.#partialOf}`);
    steps["drop partial"] = monotonicMs() - began;
  }

  /** What the stopped receiver has got, and what is executed. */
  async read(): Promise<Holding> {
    const row = await this.ask(
      "SELECT RECEIVED_TRANSACTION_SET AS received, @@GLOBAL.gtid_executed AS executed, QUEUEING_TRANSACTION AS part, " +
        "(SELECT PROCESSLIST_ID FROM performance_schema.threads WHERE NAME = 'thread/sql/replica_sql') AS coordinator " +
        "FROM performance_schema.replication_connection_status",
    );
    if (row.part && typeof row.coordinator === "number") this.#partialOf = row.coordinator;
    const text = (set: unknown) => String(set).replaceAll("\n", "");
    return { hand: this, received: text(row.received), executed: text(row.executed) };
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

/**
 * Steps 1–6 of SAFETY.md's failover with two ackers and k = 1, of the SQL only: both receivers are stopped, the most
 * advanced replica becomes the primary, the other one follows it. What can wait is left to `finish`.
 */
export async function failover(
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
      const holding = await hand.read();
      steps[`read ${index + 1}`] = monotonicMs() - began;
      return holding;
    }),
  );
  steps["at fenced"] = monotonicMs() - at;
  const [first, second] = seen as [Holding, Holding];
  const began = monotonicMs();
  const held = (each: Holding) => `CONCAT('${each.received}', ',', '${each.executed}')`;
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
    const otherCatchUp: [string, string] = [
      "other: catch up",
      `SELECT WAIT_FOR_EXECUTED_GTID_SET('${rest.received}', 10) AS late`,
    ];
    const promote = async () => {
      await candidate.run(steps, [catchUp]);
      await candidate.dropPartial(steps);
      await candidate.run(steps, [...clear, ...open]);
    };
    const repoint = async () => {
      await other.run(steps, [otherCatchUp]);
      await other.dropPartial(steps);
      await other.run(steps, [
        ["other: stop replica", "STOP REPLICA"],
        ["other: change source", changeSource(candidate.node)],
        ["other: start replica", "START REPLICA"],
      ]);
    };
    await Promise.all([promote(), repoint()]);
  } else {
    // The other's applier keeps running, so its relay log stays; only its receiver is pointed elsewhere.
    candidate.later(async () => {
      await candidate.dropPartial(steps);
      await candidate.run(steps, clear);
    });
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
      timeoutMs: attachTimeoutMs,
      everyMs: 1,
      onTimeout: () => new Error("no semi-sync replica is attached"),
    },
  );
  steps["at attached"] = monotonicMs() - at;
  return { candidate, other };
}
