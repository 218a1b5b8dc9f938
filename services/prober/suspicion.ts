/** What makes a prober look at a cluster more often. Pure. */
import type { Outcome, Sample } from "@baton/contracts";

/** A replica that has heard nothing for so long may have lost its source: heartbeats come every 200 ms. */
export const UNHEARD_MS = 500;
/**
 * A fault that stays as it is, such as a replica that is away for a week, is old news after this time: the
 * cluster is looked at in calm again until something else turns bad.
 */
export const HOT_MS = 10_000;
/** After somebody asked to look now. */
export const ASKED_HOT_MS = 5_000;

export type Finding = Outcome | "receiver-connecting" | "receiver-off" | "unheard";

/** What one sample says against its node; null when nothing. */
export function findingOf(sample: Sample): Finding | null {
  if (sample.outcome !== "ok") return sample.outcome;
  const replica = sample.status?.replica;
  if (!replica) return null;
  if (replica.receiver === "connecting") return "receiver-connecting";
  if (replica.receiver === "off") return "receiver-off";
  return (replica.heardAgeMs ?? 0) > UNHEARD_MS ? "unheard" : null;
}

/** Keeps count of what is bad in a cluster, and until when that is news. */
export class Suspicion {
  readonly #findings = new Map<string, Finding>();
  #hotUntil = Number.NEGATIVE_INFINITY;
  #askedUntil = Number.NEGATIVE_INFINITY;

  /** A sample without a status says nothing about the receiver. */
  take(sample: Sample, now: number): void {
    const finding = findingOf(sample);
    const before = this.#findings.get(sample.node) ?? null;
    if (finding === null) {
      if (sample.status !== null || before === null || !isOfReceiver(before))
        this.#findings.delete(sample.node);
    } else if (finding !== before) {
      this.#findings.set(sample.node, finding);
      this.#hotUntil = Math.max(this.#hotUntil, now + HOT_MS);
    }
  }

  asked(now: number): void {
    this.#askedUntil = now + ASKED_HOT_MS;
  }

  forget(node: string): void {
    this.#findings.delete(node);
  }

  hot(now: number): boolean {
    return now < this.#askedUntil || (this.#findings.size > 0 && now < this.#hotUntil);
  }
}

function isOfReceiver(finding: Finding): boolean {
  return finding === "receiver-connecting" || finding === "receiver-off" || finding === "unheard";
}
