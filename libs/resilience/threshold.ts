/** When a silence counts: `max(floor, 1.8 × p99(RTT over 60 s) + median replication delay)` (DETECTION.md, Threshold). */
import { quantile, RollingWindow } from "./rolling.ts";

const WINDOW_MS = 60_000;
/** At the suspicious pace of 100 ms, a minute. */
const MOST = 600;
const RECOMPUTE_MS = 10_000;
/** Replicas that replay history after a rebuild lag by minutes; that says nothing of how fast a primary answers. */
const DELAY_MAX_MS = 1_000;
/** A replica may lag for hours; a primary that is silent for 5 s is silent. */
export const THRESHOLD_MAX_MS = 5_000;

export class SilenceThreshold {
  readonly #floorMs: number;
  readonly #rtts = new RollingWindow(WINDOW_MS, MOST);
  #valueMs: number;
  #computedMs = Number.NEGATIVE_INFINITY;

  constructor(floorMs: number) {
    this.#floorMs = floorMs;
    this.#valueMs = floorMs;
  }

  answered(rttMs: number, now: number): void {
    this.#rtts.add(rttMs, now);
  }

  /** The threshold in ms; `delaysMs` gives the replication delays known now. Recomputed, and asked for, every 10 s. */
  valueMs(now: number, delaysMs: () => readonly number[]): number {
    if (now - this.#computedMs < RECOMPUTE_MS) return this.#valueMs;
    this.#computedMs = now;
    const p99 = this.#rtts.quantile(0.99, now) ?? 0;
    const delay = Math.min(DELAY_MAX_MS, quantile(delaysMs(), 0.5) ?? 0);
    this.#valueMs = Math.min(THRESHOLD_MAX_MS, Math.max(this.#floorMs, 1.8 * p99 + delay));
    return this.#valueMs;
  }
}
