/**
 * The writer's book, without any input or output: which insert was sent when, which server acknowledged it when,
 * and what that says about downtime and about two pens.
 *
 * Inserts are numbered 0, 1, 2, …; times are monotonic milliseconds; servers are named by their server_uuid.
 */

export interface Split {
  number: number;
  server: string;
  atMs: number;
}

export interface Fault {
  atMs: number;
  /** First acknowledgement of an insert that was sent after the fault, minus the fault; null until there is one. */
  downtimeMs: number | null;
}

const unacknowledged = -1;

export class Ledger {
  readonly #sentMs: number[] = [];
  readonly #ackMs: number[] = [];
  readonly #ackServer: number[] = [];
  readonly #servers: string[] = [];
  readonly #counts: number[] = [];
  readonly #splits: Split[] = [];
  readonly #late: Split[] = [];
  readonly #faults: Fault[] = [];
  /** Servers in the order of their first acknowledgement since the last fault; the last one holds the pen. */
  #order: number[] = [];
  /** When the last of them acknowledged for the first time. */
  #penSinceMs = Number.NEGATIVE_INFINITY;
  #firstAfterFault = 0;
  #acknowledged = 0;

  /** Books an insert as sent; returns its number. */
  send(nowMs: number): number {
    this.#ackMs.push(0);
    this.#ackServer.push(unacknowledged);
    return this.#sentMs.push(nowMs) - 1;
  }

  acknowledge(number: number, server: string, atMs: number): void {
    const index = this.#index(server);
    const before = this.#ackServer[number];
    if (before !== unacknowledged) {
      if (before !== index) this.#splits.push({ number, server, atMs });
      return;
    }
    this.#ackServer[number] = index;
    this.#ackMs[number] = atMs;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#acknowledged += 1;
    if (this.#isLate(number, index, atMs)) {
      const begunBefore = (this.#sentMs[number] as number) < this.#penSinceMs;
      (begunBefore ? this.#late : this.#splits).push({ number, server, atMs });
    }
    const fault = this.#faults.at(-1);
    if (fault && fault.downtimeMs === null && (this.#sentMs[number] as number) >= fault.atMs) {
      fault.downtimeMs = atMs - fault.atMs;
    }
  }

  /**
   * True when an earlier holder of the pen acknowledges after a later one did. It is a second pen if it took the insert
   * on after that. An insert sent before may have had its acks lying in a stopped server's socket: then the answer is late,
   * the write is in the history, and `missing` finds it if it is not (docs/decisions/0007).
   */
  #isLate(number: number, server: number, atMs: number): boolean {
    if (this.#order.at(-1) === server) return false;
    if (this.#order.includes(server)) return true;
    // Before the last fault this server had the pen and had lost it: only an insert sent since may give it back.
    const hadPen = (this.#counts[server] as number) > 1;
    if (hadPen && this.#order.length > 0 && number < this.#firstAfterFault) return true;
    this.#order.push(server);
    this.#penSinceMs = atMs;
    return false;
  }

  /**
   * A fault at `atMs`: downtime is counted from here, and from here on a server that had the pen in an earlier
   * round may have it again. It may be told a little late: what was sent and acknowledged since is looked at again.
   */
  fault(atMs: number): void {
    const fault: Fault = { atMs, downtimeMs: null };
    this.#faults.push(fault);
    this.#order = this.#order.slice(-1);
    let number = this.#sentMs.length;
    while (number > 0 && (this.#sentMs[number - 1] as number) >= atMs) {
      number -= 1;
      if (this.#ackServer[number] === unacknowledged) continue;
      const downtimeMs = (this.#ackMs[number] as number) - atMs;
      if (fault.downtimeMs === null || downtimeMs < fault.downtimeMs) fault.downtimeMs = downtimeMs;
    }
    this.#firstAfterFault = number;
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  get faults(): readonly Fault[] {
    return this.#faults;
  }

  /** Answers of an earlier server to inserts that were under way when the pen passed on. */
  get late(): readonly Split[] {
    return this.#late;
  }

  get splits(): readonly Split[] {
    return this.#splits;
  }

  perServer(): Record<string, number> {
    return Object.fromEntries(this.#servers.map((server, index) => [server, this.#counts[index] ?? 0]));
  }

  /** Acknowledged inserts that `present` does not have. */
  missing(present: ReadonlySet<number>): number[] {
    const missing: number[] = [];
    for (const [number, server] of this.#ackServer.entries()) {
      if (server !== unacknowledged && !present.has(number)) missing.push(number);
    }
    return missing;
  }

  #index(server: string): number {
    const known = this.#servers.indexOf(server);
    return known >= 0 ? known : this.#servers.push(server) - 1;
  }
}
