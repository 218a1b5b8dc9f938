/** Messages that break the contract: counted, said once per sender, dropped. They never stop a service. */
import type { RejectReason } from "./envelope.ts";
import type { Link } from "./link.ts";

/** A flood of made-up senders must fill neither the memory nor the log: after so many in an hour only counting goes on. */
const SENDERS_SAID = 1_000;
const FORGET_MS = 3_600_000;

export interface Rejects {
  reject(type: string, subject: string, bad: { reason: RejectReason; detail: string; source: string }): void;
  /** Our own handler threw. */
  fail(type: string, subject: string, error: unknown, whatNext: string): void;
}

export function countRejects(link: Pick<Link, "log" | "metrics">): Rejects {
  const said = new Set<string>();
  let sinceMs = performance.now();

  const firstTime = (key: string): boolean => {
    if (performance.now() - sinceMs > FORGET_MS) {
      said.clear();
      sinceMs = performance.now();
    }
    if (said.has(key) || said.size > SENDERS_SAID) return false;
    said.add(key);
    if (said.size <= SENDERS_SAID) return true;
    link.log.warn(
      { senders: SENDERS_SAID },
      `Malformed messages from more than ${SENDERS_SAID} senders; for an hour they are only counted`,
    );
    return false;
  };

  return {
    reject(type, subject, bad) {
      link.metrics.count("rejected", type);
      if (!firstTime(`${type} ${bad.reason} ${bad.source}`)) return;
      const source = bad.source.slice(0, 200);
      const detail = bad.detail.slice(0, 300);
      link.log.warn(
        { type, subject, reason: bad.reason, source, detail },
        `Dropped a malformed ${type} message from ${source} on ${subject}: ${detail}; more of this kind from it are dropped without a word`,
      );
    },
    fail(type, subject, error, whatNext) {
      link.metrics.count("failed", type);
      link.log.error(
        { type, subject, err: error },
        `Handling a ${type} message on ${subject} failed: ${error instanceof Error ? error.message : String(error)}; ${whatNext}`,
      );
    },
  };
}
