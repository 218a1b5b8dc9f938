/** From a message as received to the record that the archive keeps. Pure. */
import { createHash } from "node:crypto";
import type { ArchivedRecord, StreamName } from "@baton/contracts";

export type Kind = ArchivedRecord["kind"];

/** What is archived, by the stream that carries it. */
export const ARCHIVED: Record<StreamName, readonly Kind[]> = {
  BATON_INTENTS: ["intent"],
  BATON_EVENTS: ["diagnosis", "step", "event"],
  BATON_ALERTS: ["alert"],
};

/** What is known of a message before the archive gives it its place. */
export interface Draft {
  kind: Kind;
  /** By the sender's clock: for people, never for decisions. */
  atUnixMs: number;
  cluster: string;
  /** Null where the message belongs to none, as a diagnosis does. */
  operation: string | null;
  /** W3C trace id, 32 hex digits; `""` when the sender gave none. */
  traceId: string;
  /** CloudEvents source and id: together they name the message, however often it is delivered. */
  source: string;
  id: string;
  subject: string;
  stream: StreamName;
  streamSequence: number;
  /** The body as received, as text. */
  payload: string;
  /** SHA-256 of the body's bytes, hex. */
  sha256: string;
}

/** The parts of the bus's Meta that are kept. */
export interface Received {
  subject: string;
  id: string;
  source: string;
  timeUnixMs: number;
  traceparent: string | null;
  streamSequence: number | null;
  payloadBytes: Uint8Array;
}

export function toDraft(
  stream: StreamName,
  kind: Kind,
  payload: { cluster: string; operation?: string | null },
  meta: Received,
): Draft {
  return {
    kind,
    atUnixMs: meta.timeUnixMs,
    cluster: payload.cluster,
    operation: payload.operation ?? null,
    traceId: meta.traceparent?.split("-")[1] ?? "",
    source: meta.source,
    id: meta.id,
    subject: meta.subject,
    stream,
    streamSequence: meta.streamSequence ?? 0,
    payload: Buffer.from(meta.payloadBytes).toString("utf8"),
    sha256: createHash("sha256").update(meta.payloadBytes).digest("hex"),
  };
}
