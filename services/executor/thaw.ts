/**
 * A primary that a switchover has frozen waits for NATS no longer than clients may: after two seconds it takes writes again, whatever
 * NATS does (docs/decisions/0019). Until the commit was sent nobody can have passed its role on. Once it was sent it may be stored
 * though the answer is lost; then the primary may write only where each of its writes needs the candidate's ack, so that whoever
 * carries the operation forward has all of them, and ends them by stopping that one receiver (close-again.ts).
 */
import { ackersOf, mayLose, notCounted } from "@baton/protocol";
import type { Hand } from "./hand.ts";
import { openAgain } from "./open.ts";
import type { Operation } from "./operation.ts";

/** From the freeze's beginning until its end by this. */
export const FROZEN_MOST_MS = 2_000;
/** A timer that fires so much later was slept through: the operation may be another's by now. */
const SLEPT_MS = 1_000;
/** The replicas that were moved away may be seen to be gone a little later. */
const AGAIN_MS = 250;

export class Thaw {
  readonly #op: Operation;
  readonly #old: Hand;
  readonly #candidate: Hand;
  /** Replicas that follow the candidate already. */
  readonly #moved: ReadonlySet<string>;
  readonly #dueMs: number;
  #timer: NodeJS.Timeout;
  #sent = false;
  /** The candidate hears the primary again. */
  #attached = false;
  #due = false;
  #settled = false;
  /** The attempt that runs, or the last. */
  #attempt: Promise<boolean> = Promise.resolve(false);

  /** Begins to count: call it before the freeze is sent. */
  constructor(op: Operation, old: Hand, candidate: Hand, moved: ReadonlySet<string>) {
    this.#op = op;
    this.#old = old;
    this.#candidate = candidate;
    this.#moved = moved;
    this.#dueMs = op.ports.now() + FROZEN_MOST_MS;
    this.#timer = setTimeout(() => this.#try(), FROZEN_MOST_MS);
  }

  /** Until it is done, or needed no more. */
  #try(): void {
    const slept = !this.#due && this.#op.ports.now() - this.#dueMs > SLEPT_MS;
    this.#due = true;
    this.#attempt = this.#open(slept).catch(() => false);
    void this.#attempt.then((opened) => {
      if (!opened && !this.#settled && !slept) this.#timer = setTimeout(() => this.#try(), AGAIN_MS);
    });
  }

  /** The time is over: the commit must not be sent any more. */
  get due(): boolean {
    return this.#due;
  }

  /** The operation ends without an outcome: there is nothing to wait for. */
  async now(): Promise<void> {
    clearTimeout(this.#timer);
    if (!this.#due) this.#try();
    await this.settle();
  }

  /** From now on the commit may be stored, whether or not its answer comes. */
  sending(): void {
    this.#sent = true;
  }

  /** The outcome is known, or the primary is opened by others: nothing is done from now on. Whether it was opened here. */
  async settle(): Promise<boolean> {
    this.#settled = true;
    clearTimeout(this.#timer);
    return this.#attempt;
  }

  async #open(slept: boolean): Promise<boolean> {
    const op = this.#op;
    const { deadlines, acks } = op.declared.policy;
    const { openMs } = deadlines;
    const loses = mayLose(op.declared, op.state);
    // Where writes need no acks, nothing but this operation's own will keeps them off.
    if (loses && (slept || this.#sent)) return false;
    if (this.#sent && !this.#attached) {
      // Not tried there: which of a MariaDB primary's sessions wait for whose ack.
      if (!this.#candidate.dialect.keepsRelayLogs) return false;
      const ackers = ackersOf(op.declared, op.intent.node, notCounted(op.state));
      if (this.#moved.size < ackers.length - acks) return false;
      const { semiSync } = await this.#old.status(openMs);
      if (semiSync === null || semiSync.clients >= acks) return false;
      op.assertMine();
      // Behind its stop, on one session. A successor has ended that session: then this fails, and nothing is opened.
      await this.#candidate.run(this.#candidate.dialect.startReceiver, openMs);
      this.#attached = true;
    }
    op.assertMine();
    await openAgain(op, this.#old, await this.#old.status(openMs));
    return true;
  }
}
