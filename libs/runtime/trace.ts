/**
 * W3C trace context as it travels in messages: `00-<32 hex trace>-<16 hex span>-<flags>`. Carried by hand from
 * message to message, since a hidden context costs time on the hot path and hides where a trace comes from.
 */
import { randomFillSync } from "node:crypto";

const FORM = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

function randomHex(bytes: number): string {
  return randomFillSync(Buffer.allocUnsafe(bytes)).toString("hex");
}

/** A new trace, sampled. */
export function startTrace(): string {
  return `00-${randomHex(16)}-${randomHex(8)}-01`;
}

/** A new span of the same trace; a new trace when there is none, or it is malformed. */
export function childOf(traceparent: string | null | undefined): string {
  const parts = FORM.exec(traceparent ?? "");
  return parts ? `00-${parts[1]}-${randomHex(8)}-${parts[3]}` : startTrace();
}

/** 32 hex digits; null when it is malformed. */
export function traceIdOf(traceparent: string | null | undefined): string | null {
  return FORM.exec(traceparent ?? "")?.[1] ?? null;
}

/** 16 hex digits; null when it is malformed. */
export function spanIdOf(traceparent: string | null | undefined): string | null {
  return FORM.exec(traceparent ?? "")?.[2] ?? null;
}
