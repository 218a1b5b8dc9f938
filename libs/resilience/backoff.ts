/** How long until a failing node is tried again (DETECTION.md, Schedule). Pure but for its own count. */
import { quantile } from "./rolling.ts";

/** A node that comes back is led home within 5 s of being reachable; finding it may take 3 of them (docs/decisions/0006). */
export const BACKOFF_MAX_MS = 3_000;
/** A network this slow is watched more closely, not less. */
const SLOW_P90_MS = 300;
const REMEMBERED = 10;

export class Backoff {
  readonly #baseMs: number;
  readonly #maxMs: number;
  #retries = 0;
  #probeMs: number[] = [];

  constructor(baseMs: number, maxMs: number = BACKOFF_MAX_MS) {
    this.#baseMs = baseMs;
    this.#maxMs = maxMs;
  }

  /** After a failure that took `probeMs`: the wait before the next try, `base × 2^retry` up to the cap. */
  failed(probeMs: number): number {
    this.#remember(probeMs);
    if ((quantile(this.#probeMs, 0.9) ?? 0) > SLOW_P90_MS) this.#retries = 0;
    const waitMs = Math.min(this.#maxMs, this.#baseMs * 2 ** this.#retries);
    if (waitMs < this.#maxMs) this.#retries++;
    return waitMs;
  }

  succeeded(probeMs: number): void {
    this.#remember(probeMs);
    this.#retries = 0;
  }

  #remember(probeMs: number): void {
    this.#probeMs = [...this.#probeMs, probeMs].slice(-REMEMBERED);
  }
}
