/**
 * Gathers what arrives in one turn of the event loop into one transaction: one fsync for a burst. A promise of
 * `keep` resolves when its record is on the disk, so that the message may be acknowledged.
 */
import type { BatonError } from "@baton/contracts";
import type { Stored } from "./archive.ts";
import { storeFault } from "./faults.ts";
import type { Draft } from "./record.ts";

/** Of one transaction; the consumers' concurrency keeps it lower. */
const BURST = 500;

export interface KeeperReport {
  stored(drafts: readonly Draft[], result: Stored): void;
  /** The archive cannot be written: said at the first failure only, until it can be again. */
  broken(fault: BatonError, first: Draft): void;
  mended(): void;
}

export interface Keeper {
  /** Rejects with the BatonError when the record is not stored: the message must come again. */
  keep(draft: Draft): Promise<void>;
  /** Why nothing can be stored now; null when all is well. */
  fault(): BatonError | null;
}

interface Waiting {
  draft: Draft;
  resolve: () => void;
  reject: (fault: BatonError) => void;
}

export function keeper(
  archive: { readonly file: string; store(drafts: readonly Draft[]): Stored },
  report: KeeperReport,
): Keeper {
  let waiting: Waiting[] = [];
  let fault: BatonError | null = null;

  function flush(): void {
    const burst = waiting.slice(0, BURST);
    waiting = waiting.slice(BURST);
    if (waiting.length > 0) setImmediate(flush);
    const drafts = burst.map((w) => w.draft);
    try {
      const result = archive.store(drafts);
      if (fault !== null) {
        fault = null;
        report.mended();
      }
      report.stored(drafts, result);
      for (const w of burst) w.resolve();
    } catch (error) {
      const found = storeFault(error, archive.file);
      const first = fault === null;
      fault = found;
      for (const w of burst) w.reject(found);
      if (first) report.broken(found, drafts[0] as Draft);
    }
  }

  return {
    keep(draft) {
      return new Promise((resolve, reject) => {
        waiting.push({ draft, resolve, reject });
        if (waiting.length === 1) setImmediate(flush);
      });
    },
    fault: () => fault,
  };
}
