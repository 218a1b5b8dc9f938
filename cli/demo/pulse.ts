/** Acknowledged writes per tenth of a second, as a line of bars in which a gap can be seen. Pure. */
import type { Paint } from "../view/colour.ts";

export const BAR_MS = 100;
const BARS = "▁▂▃▄▅▆▇█";
const KEPT = 3_000;

export class Pulse {
  readonly #counts: number[] = [];
  #firstTenth = 0;

  acknowledged(atMs: number): void {
    const tenth = Math.floor(atMs / BAR_MS);
    if (this.#counts.length === 0) this.#firstTenth = tenth;
    const index = tenth - this.#firstTenth;
    if (index < 0) return;
    while (this.#counts.length <= index) this.#counts.push(0);
    this.#counts[index]! += 1;
    if (this.#counts.length > KEPT) {
      this.#counts.splice(0, KEPT / 2);
      this.#firstTenth += KEPT / 2;
    }
  }

  /** The counts of the tenths from one moment to another; 0 where nothing was acknowledged. */
  between(fromMs: number, toMs: number): number[] {
    const from = Math.floor(fromMs / BAR_MS);
    const to = Math.floor(toMs / BAR_MS);
    return Array.from(
      { length: Math.max(0, to - from) },
      (_, i) => this.#counts[from + i - this.#firstTenth] ?? 0,
    );
  }
}

/** `▅▆▅▆··▂▅`: a dot where nothing was acknowledged at all. */
export function bars(counts: readonly number[], p: Paint): string {
  const most = Math.max(...counts, 1);
  let out = "";
  let gap = "";
  for (const count of counts) {
    if (count === 0) {
      gap += "·";
      continue;
    }
    out += p.red(gap) + p.green(BARS[Math.min(BARS.length - 1, Math.floor((count / most) * BARS.length))]!);
    gap = "";
  }
  return out + p.red(gap);
}
