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

/** `from` is exclusive: what a relay log holds begins behind it. */
export function textOf(held: Held, from: Held | null = null): string {
  let out = "";
  for (let i = 0; i < held.length; i++) {
    const last = held[i] as number;
    const first = (from?.[i] ?? 0) + 1;
    if (last < first) continue;
    if (out !== "") out += ",";
    out += first === last ? `${uuidOf(i)}:${last}` : `${uuidOf(i)}:${first}-${last}`;
  }
  return out;
}

/** The last number of each origin in a set as Baton writes it. */
export function heldOf(text: string, origins: number): Held {
  const held: Held = new Array(origins).fill(0);
  if (text === "") return held;
  for (const item of text.split(",")) {
    const origin = Number(item[0]) - 1;
    held[origin] = Number(item.slice(Math.max(item.lastIndexOf("-"), item.lastIndexOf(":")) + 1));
  }
  return held;
}
