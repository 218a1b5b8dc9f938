/**
 * Transactions and sets of them in the model. A server numbers what it commits first without gaps, and everybody receives in that
 * order, so of each origin a set is a prefix: one number an origin. As text they are MySQL's GTID sets.
 */
import type { EpochRow } from "@baton/contracts";

/** Who wrote it, to tell two transactions of one GTID apart: an errant one's number is used again by a rebuilt server. */
export interface Transaction {
  /** Index of the server that committed it first. */
  origin: number;
  number: number;
  /** A canary's row, if it is one. */
  canary: { epoch: number; operation: string } | null;
  /** The row of `baton.epoch`, if that is what it writes. */
  row?: EpochRow | undefined;
}

/** Highest number of each origin, by index. */
export type Held = number[];

export function uuidOf(index: number): string {
  return `${String(index + 1).repeat(8)}-0000-4000-8000-000000000000`;
}

export function has(held: Held, t: Transaction): boolean {
  return (held[t.origin] ?? 0) >= t.number;
}

export function contains(a: Held, b: Held): boolean {
  for (let i = 0; i < b.length; i++) if ((a[i] as number) < (b[i] as number)) return false;
  return true;
}

export function union(a: Held, b: Held): Held {
  return a.map((n, i) => Math.max(n, b[i] as number));
}

/**
 * What is held beyond a gap, by origin: workers that do not preserve the commit order leave gaps, and whoever receives from their
 * binlog gets that order.
 */
export class Beyond {
  readonly #numbers: Set<number>[];

  constructor(origins: number) {
    this.#numbers = Array.from({ length: origins }, () => new Set());
  }

  has(t: Transaction): boolean {
    return this.#numbers[t.origin]?.has(t.number) === true;
  }

  /** Adds one to `held`: behind a gap, or with all that it joins. */
  add(held: Held, t: Transaction): void {
    const beyond = this.#numbers[t.origin] as Set<number>;
    let last = held[t.origin] as number;
    if (t.number > last + 1) {
      beyond.add(t.number);
      return;
    }
    last = Math.max(last, t.number);
    while (beyond.size > 0 && beyond.delete(last + 1)) last++;
    held[t.origin] = last;
  }

  of(origin: number): number[] {
    const numbers = this.#numbers[origin] as Set<number>;
    return numbers.size === 0 ? NONE : [...numbers].sort((a, b) => a - b);
  }

  clear(): void {
    for (const numbers of this.#numbers) numbers.clear();
  }
}

const NONE: number[] = [];

/** `from` is exclusive: what a relay log holds begins behind it. */
export function textOf(held: Held, from: Held | null = null, beyond: Beyond | null = null): string {
  let out = "";
  for (let i = 0; i < held.length; i++) {
    const last = held[i] as number;
    const first = (from?.[i] ?? 0) + 1;
    const more = beyond?.of(i) ?? NONE;
    if (last < first && more.length === 0) continue;
    if (out !== "") out += ",";
    out += uuidOf(i);
    if (last >= first) out += first === last ? `:${last}` : `:${first}-${last}`;
    for (const n of more) out += `:${n}`;
  }
  return out;
}

export interface Range {
  origin: number;
  first: number;
  last: number;
}

/** The ranges of a set as Baton writes it. */
export function rangesOf(text: string): Range[] {
  if (text === "") return [];
  return text.split(",").flatMap((item) => {
    const [uuid = "", ...ranges] = item.split(":");
    return ranges.map((range) => {
      const [first = 0, last = first] = range.split("-").map(Number);
      return { origin: Number(uuid[0]) - 1, first, last };
    });
  });
}

export function holds(held: Held, beyond: Beyond, ranges: readonly Range[]): boolean {
  return ranges.every(({ origin, first, last }) => {
    const prefix = held[origin] ?? 0;
    if (prefix >= last) return true;
    for (let number = Math.max(first, prefix + 1); number <= last; number++)
      if (!beyond.has({ origin, number, canary: null })) return false;
    return true;
  });
}
