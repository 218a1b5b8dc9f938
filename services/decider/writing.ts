/**
 * How fast the primary writes: where writes need not wait for acks, what it may have written since it was last read is the
 * part of a loss that nobody has seen. Pure.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import type { Unseen } from "@baton/protocol";

export interface Writing {
  serverUuid: string;
  /** The reading that the next rate is counted from. */
  from: { atMs: number; count: number };
  rates: readonly { atMs: number; perS: number }[];
}

/** Several probers read it within milliseconds; a rate needs some time between two readings. */
const WINDOW_MS = 400;
const REMEMBER_MS = 60_000;
/** Load rises without notice: the bound is at so many times the highest rate of the last minute. */
const MARGIN = 2;

export function noteWriting(before: Writing | null, status: NodeStatus, now: number): Writing {
  const count = GtidSet.parse(status.executed).count();
  if (before === null || before.serverUuid !== status.serverUuid)
    return { serverUuid: status.serverUuid, from: { atMs: now, count }, rates: [] };
  const elapsedMs = now - before.from.atMs;
  if (elapsedMs < WINDOW_MS) return before;
  const perS = Math.max(0, ((count - before.from.count) * 1_000) / elapsedMs);
  return {
    ...before,
    from: { atMs: now, count },
    rates: [...before.rates.filter((r) => now - r.atMs < REMEMBER_MS), { atMs: now, perS }],
  };
}

/** What it may have written since `readMs`; null when nobody has seen how fast it writes. */
export function unseenSince(writing: Writing | null, readMs: number | null, now: number): Unseen {
  if (writing === null || readMs === null || writing.rates.length === 0) return null;
  const perS = Math.max(...writing.rates.map((r) => r.perS));
  const ms = Math.max(0, now - readMs);
  return { ms, transactions: Math.ceil((MARGIN * perS * ms) / 1_000) };
}
