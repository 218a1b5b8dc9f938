/**
 * The hash chain: each record's value covers all records before it, so that one that was changed, removed or
 * slipped in later shows. Pure. What a chain cannot show is that its end was cut off: compare the head with one
 * that was noted elsewhere (the auditor logs it when it starts and when it stops).
 */
import { createHash } from "node:crypto";
import type { Draft } from "./record.ts";

export interface ChainedRecord extends Draft {
  /** 1, 2, 3, … without gaps. */
  seq: number;
  chain: string;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** The value before the first record; another for each archive, so that records cannot be carried over. */
export function genesis(archiveId: string): string {
  return sha256(`baton archive ${archiveId}`);
}

/** SHA-256 of the previous value and the record as a JSON array in this order, the payload by its own hash. */
export function nextLink(previous: string, seq: number, r: Draft): string {
  const canonical = [
    seq,
    r.kind,
    r.atUnixMs,
    r.cluster,
    r.operation,
    r.traceId,
    r.source,
    r.id,
    r.subject,
    r.stream,
    r.streamSequence,
    r.sha256,
  ];
  return sha256(previous + JSON.stringify(canonical));
}

export type Verdict =
  | { holds: true; records: number; head: string }
  | { holds: false; seq: number; why: string; records: number };

/** Walks the records in their order and names the first that does not fit. */
export function verifyChain(
  archiveId: string,
  records: Iterable<ChainedRecord>,
  seen?: (r: ChainedRecord) => void,
): Verdict {
  let head = genesis(archiveId);
  let count = 0;
  for (const r of records) {
    const why = misfit(r, count + 1, head);
    if (why !== null) return { holds: false, seq: r.seq, why, records: count };
    seen?.(r);
    head = r.chain;
    count += 1;
  }
  return { holds: true, records: count, head };
}

function misfit(r: ChainedRecord, expectedSeq: number, previous: string): string | null {
  if (r.seq !== expectedSeq) return `record ${expectedSeq} is missing`;
  if (sha256(r.payload) !== r.sha256) return "its payload is not the one that was received";
  if (nextLink(previous, r.seq, r) !== r.chain) return "it was changed, or the record before it was";
  return null;
}
