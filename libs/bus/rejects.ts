/** Messages that break the contract: counted, said once per sender, dropped. They never stop a service. */

import type { RejectReason } from "./envelope.ts";
import type { Link } from "./link.ts";

/** A flood of made-up senders must not fill the memory: after this many the book is begun anew. */
const SENDERS_REMEMBERED = 1_000;

export interface Rejects {
  reject(type: string, subject: string, bad: { reason: RejectReason; detail: string; source: string }): void;
  /** Our own handler threw. */
  fail(type: string, subject: string, error: unknown, whatNext: string): void;
}

export function countRejects(link: Pick<Link, "log" | "metrics">): Rejects {
  const said = new Set<string>();
  return {
    reject(type, subject, bad) {
      link.metrics.count("rejected", type);
      const key = `${type} ${bad.reason} ${bad.source}`;
      if (said.has(key)) return;
      if (said.size >= SENDERS_REMEMBERED) said.clear();
      said.add(key);
      link.log.warn(
        {
          type,
          subject,
          reason: bad.reason,
          source: bad.source.slice(0, 200),
          detail: bad.detail.slice(0, 500),
        },
        `Dropped a malformed ${type} message from ${bad.source.slice(0, 200)} on ${subject}: ${bad.detail.slice(0, 300)}; more of this kind from it are dropped without a word`,
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
