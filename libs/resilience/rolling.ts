/** Quantiles over the values of the last so-and-so many milliseconds. Bounded in time and in number. */

export class RollingWindow {
  readonly #windowMs: number;
  readonly #most: number;
  #values: { atMs: number; value: number }[] = [];

  constructor(windowMs: number, most: number) {
    this.#windowMs = windowMs;
    this.#most = most;
  }

  add(value: number, now: number): void {
    this.#values.push({ atMs: now, value });
    if (this.#values.length > this.#most) this.#values = this.#values.slice(-this.#most);
  }

  /** The smallest value that at least the share `q` (0 to 1) of the window does not exceed; null when it is empty. */
  quantile(q: number, now: number): number | null {
    this.#values = this.#values.filter((v) => now - v.atMs <= this.#windowMs);
    return quantile(
      this.#values.map((v) => v.value),
      q,
    );
  }
}

/** Nearest-rank quantile; null for no values. */
export function quantile(values: readonly number[], q: number): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] as number;
}
