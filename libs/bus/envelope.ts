/**
 * CloudEvents 1.0 in NATS binary mode: the attributes are headers, the body is the JSON payload. Pure, but for
 * the clock and the id of what is sent.
 */

import { type MessageDefinition, type Payload, SUBJECT_ROOT, subjectOf } from "@baton/contracts";
import { type MsgHdrs, MsgHdrsImpl, nuid } from "@nats-io/transport-node";
import type { z } from "zod";
import { MAX_PAYLOAD_BYTES } from "./options.ts";

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export interface Envelope {
  id: string;
  source: string;
  timeUnixMs: number;
  traceparent: string | null;
}

/** `unknown-word`: all that is wrong is a word that this version does not know, where one of several stands; a later one may. */
export type RejectReason = "size" | "headers" | "json" | "schema" | "unknown-word" | "subject";

export type Opened<T> =
  | { ok: true; payload: T; envelope: Envelope }
  | { ok: false; reason: RejectReason; detail: string; source: string };

/** The `ce-type` of a message, `baton.v1.<type>`. */
export function eventType(type: string): string {
  return `${SUBJECT_ROOT}.${type}`;
}

export function sealHeaders(type: string, source: string, traceparent: string | null | undefined): MsgHdrs {
  const record: Record<string, string> = {
    "ce-specversion": "1.0",
    "ce-id": nuid.next(),
    "ce-source": source,
    "ce-type": eventType(type),
    "ce-time": new Date().toISOString(),
    "content-type": "application/json",
  };
  if (traceparent && TRACEPARENT.test(traceparent)) record.traceparent = traceparent;
  return MsgHdrsImpl.fromRecord(record as never);
}

/** Our own payload as bytes. Throws a TypeError, naming the field, when it breaks its schema: that is our bug. */
export function sealBody<S extends z.ZodType>(type: string, schema: S, payload: z.infer<S>): Uint8Array {
  const checked = schema.safeParse(payload);
  if (!checked.success) {
    throw new TypeError(`Our own ${type} message breaks its schema: ${firstIssue(checked.error)}`);
  }
  const body = encoder.encode(JSON.stringify(checked.data));
  if (body.length > MAX_PAYLOAD_BYTES) {
    throw new TypeError(
      `Our own ${type} message has ${body.length} bytes, and may have ${MAX_PAYLOAD_BYTES}`,
    );
  }
  return body;
}

/** Checks headers, body, schema and that the subject is the payload's own. */
export function open<M extends MessageDefinition>(
  message: M,
  subject: string,
  headers: MsgHdrs | undefined,
  data: Uint8Array,
): Opened<Payload<M>> {
  const opened = openBody(message.type, message.schema, headers, data);
  if (!opened.ok) return opened;
  const wanted = subjectOf(message, opened.payload as Payload<M>);
  if (wanted !== subject) {
    const detail = `it came on ${subject}, and its payload belongs on ${wanted}`;
    return { ok: false, reason: "subject", detail, source: opened.envelope.source };
  }
  return opened as Opened<Payload<M>>;
}

/** As `open`, for a reply, whose subject says nothing. */
export function openBody<S extends z.ZodType>(
  type: string,
  schema: S,
  headers: MsgHdrs | undefined,
  data: Uint8Array,
): Opened<z.infer<S>> {
  const source = headers?.get("ce-source") || "an unknown sender";
  const no = (reason: RejectReason, detail: string): Opened<never> => ({ ok: false, reason, detail, source });

  if (data.length > MAX_PAYLOAD_BYTES) {
    return no("size", `it has ${data.length} bytes, and may have ${MAX_PAYLOAD_BYTES}`);
  }
  const envelope = openHeaders(type, headers);
  if (typeof envelope === "string") return no("headers", envelope);
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(data));
  } catch {
    return no("json", `its body of ${data.length} bytes is not JSON`);
  }
  const checked = schema.safeParse(json);
  if (!checked.success)
    return no(onlyUnknownWords(checked.error, json) ? "unknown-word" : "schema", firstIssue(checked.error));
  return { ok: true, payload: checked.data, envelope };
}

function onlyUnknownWords(error: z.ZodError, json: unknown): boolean {
  const at = (path: readonly PropertyKey[]) =>
    path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key], json);
  return error.issues.every(({ code, path }) => code === "invalid_value" && typeof at(path) === "string");
}

function openHeaders(type: string, headers: MsgHdrs | undefined): Envelope | string {
  if (!headers) return "it has no headers";
  if (headers.get("ce-specversion") !== "1.0") return "its header ce-specversion is not 1.0";
  const id = headers.get("ce-id");
  if (!id) return "its header ce-id is missing";
  const source = headers.get("ce-source");
  if (!source) return "its header ce-source is missing";
  const ceType = headers.get("ce-type");
  if (ceType !== eventType(type))
    return `its header ce-type is ${JSON.stringify(ceType)}, not ${eventType(type)}`;
  const timeUnixMs = Date.parse(headers.get("ce-time"));
  if (Number.isNaN(timeUnixMs)) return "its header ce-time is no time";
  const traceparent = headers.get("traceparent");
  return { id, source, timeUnixMs, traceparent: TRACEPARENT.test(traceparent) ? traceparent : null };
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  if (!issue) return "unknown";
  const place = issue.path.length > 0 ? issue.path.map(String).join(".") : "the body";
  return `${place}: ${issue.message}`;
}
