/**
 * Which channel has taken which alert, so that a redelivery caused by one channel is not sent to the others
 * again. In memory and bounded: after a restart, or past the bound, a receiver deduplicates by the alert's id.
 */

/** Some 100 bytes each. A channel that is away for days keeps at most 1,000 alerts unacknowledged (the bus's bound). */
export const REMEMBERED = 20_000;

export interface Memory {
  has(channel: string, alertId: string): boolean;
  add(channel: string, alertId: string): void;
}

/** Forgets the oldest beyond `limit`. */
export function remember(limit = REMEMBERED): Memory {
  const kept = new Set<string>();
  const key = (channel: string, alertId: string) => `${channel} ${alertId}`;
  return {
    has: (channel, alertId) => kept.has(key(channel, alertId)),
    add(channel, alertId) {
      const k = key(channel, alertId);
      kept.delete(k);
      kept.add(k);
      if (kept.size <= limit) return;
      const [oldest] = kept;
      if (oldest !== undefined) kept.delete(oldest);
    },
  };
}
