/**
 * SAFETY.md's promises, watched from outside: what clients were told, what servers did, what the state said. A broken one is
 * a sentence; nothing here knows how Baton works.
 */
import type { ClusterState, Intent } from "@baton/contracts";
import type { Transaction } from "./history.ts";
import { type Mysqld, PORT } from "./mysqld.ts";

interface Reign {
  epoch: number;
  server: Mysqld;
  firstAckMs: number | null;
}

export type Kept =
  | "one-pen"
  | "nothing-lost"
  | "one-pair-of-hands"
  | "ends"
  | "nothing-stopped"
  | "no-failover-of-the-healthy"
  | "no-crash";

export interface Broken {
  promise: Kept;
  atMs: number;
  what: string;
}

/** A failover follows the fault that caused it within this time: longer than any evidence counts. */
const CAUSE_MS = 4_000;

export class Promises {
  readonly broken: Broken[] = [];
  readonly #state: () => ClusterState;
  readonly #nowMs: () => number;
  #unseenUntilMs = 0;
  /** Of all states that were ever written the one of the last epoch. */
  #latest: ClusterState | null = null;
  #count = 0;
  readonly #acked: { transaction: Transaction; server: Mysqld; atMs: number }[] = [];
  /** The reign that a server's clients write in. */
  readonly #reignOf = new Map<Mysqld, Reign>();
  readonly #reigns: Reign[] = [];
  /** When it was last anything but well: dead, stopped, or cut off from anybody. */
  readonly #harmedMs = new Map<string, number>();
  readonly #harmed: (node: string) => boolean;
  /** Failovers that were ordered for no reason, and have not begun. */
  readonly #groundless = new Map<string, Intent>();

  constructor(state: () => ClusterState, nowMs: () => number, harmed: (node: string) => boolean) {
    this.#state = state;
    this.#nowMs = nowMs;
    this.#harmed = harmed;
  }

  get acknowledged(): number {
    return this.#count;
  }

  break(promise: Kept, what: string): void {
    // The first tells the story; the same again adds nothing.
    if (this.broken.some((b) => b.promise === promise)) return;
    this.broken.push({ promise, atMs: this.#nowMs(), what });
  }

  /** Somebody has just changed what acknowledgements rest on: nothing can be promised until Baton has seen it. */
  unseen(forMs: number): void {
    this.#unseenUntilMs = Math.max(this.#unseenUntilMs, this.#nowMs() + forMs);
  }

  /** A server accepts writes: in the name of the epoch that the state has now. */
  opened(server: Mysqld): void {
    const now = this.#state();
    // A commit that was stored holds, also when NATS is set back before the server opens.
    const state = this.#latest !== null && this.#latest.epoch > now.epoch ? this.#latest : now;
    const goesOn = letGoOn(state, server);
    // A failover that has not passed its commit point gives its epoch back; whoever is let go on goes on in its own.
    const epoch = state.phase === "fencing" || goesOn ? state.epoch - 1 : state.epoch;
    if (state.primary !== server.name && !goesOn)
      this.break(
        "one-pen",
        `${server.name} was opened while the state names ${state.primary} (${state.phase}@${state.epoch})`,
      );
    let reign = this.#reigns.find((r) => r.epoch === epoch && r.server === server);
    if (reign === undefined) {
      reign = { epoch, server, firstAckMs: null };
      this.#reigns.push(reign);
    }
    this.#reignOf.set(server, reign);
    this.#holdsAll(server, `${server.name} was opened for epoch ${epoch}`);
  }

  /** A client was told OK for what it sent at `sentMs`. */
  acked(server: Mysqld, transaction: Transaction, sentMs: number): void {
    const atMs = this.#nowMs();
    this.#count++;
    if (atMs >= this.#unseenUntilMs) this.#acked.push({ transaction, server, atMs });
    const reign = this.#reignOf.get(server);
    if (reign === undefined) {
      this.break("one-pen", `${server.name} acknowledged a write without a reign`);
      return;
    }
    reign.firstAckMs ??= atMs;
    for (const other of this.#reigns) {
      if (other.server === server || other.firstAckMs === null) continue;
      // A late answer to an earlier write is no second pen (docs/decisions/0007).
      if (other.epoch >= reign.epoch && other.firstAckMs < sentMs)
        this.break(
          "one-pen",
          `${server.name} (epoch ${reign.epoch}) took on a write at ${sentMs.toFixed(1)} ms and acknowledged it, after ${other.server.name} had acknowledged in epoch ${other.epoch} at ${other.firstAckMs.toFixed(1)} ms`,
        );
    }
  }

  #holdsAll(server: Mysqld, when: string): void {
    const held = new Set(server.binlog);
    const missing = this.#acked.filter((a) => !held.has(a.transaction));
    const [first] = missing;
    if (first !== undefined)
      this.break(
        "nothing-lost",
        `${when} without ${missing.length} acknowledged writes; the first was acknowledged by ${first.server.name} at ${first.atMs.toFixed(1)} ms`,
      );
  }

  /** An intent was stored: for a failover there must be a reason. */
  ordered(intent: Intent): void {
    if (intent.kind !== "failover") return;
    const harmedMs = this.#harmed(intent.node) ? this.#nowMs() : this.#harmedMs.get(intent.node);
    if (harmedMs === undefined || this.#nowMs() - harmedMs > CAUSE_MS)
      this.#groundless.set(intent.operation, intent);
  }

  /** The state was written: an order without a reason must not be carried out. */
  wrote(state: ClusterState): void {
    if (state.epoch >= (this.#latest?.epoch ?? 0)) this.#latest = state;
    const intent = this.#groundless.get(state.operation?.id ?? "");
    if (intent === undefined || state.phase !== "fencing") return;
    this.#groundless.delete(intent.operation);
    this.break(
      "no-failover-of-the-healthy",
      `${intent.operation} has begun, and nothing had happened to ${intent.node} when it was ordered: ${intent.reason}`,
    );
  }

  harm(node: string): void {
    this.#harmedMs.set(node, this.#nowMs());
  }

  /** When everything is healed and calm: the primary holds what anybody was ever told. */
  atEnd(primary: Mysqld | undefined): void {
    if (primary !== undefined) this.#holdsAll(primary, `${primary.name} is the primary at the end`);
  }
}

/**
 * A switchover's old primary whose executor did not learn within two seconds that its commit is stored: it may go on while the candidate is
 * shut, since each of its writes needs the candidate's ack (docs/decisions/0019).
 */
function letGoOn(state: ClusterState, server: Mysqld): boolean {
  const { operation, phase, primary } = state;
  return (
    phase === "promoting" &&
    operation?.kind === "switchover" &&
    operation.node === server.name &&
    server.o.byAddress(primary, PORT)?.writable === false
  );
}
