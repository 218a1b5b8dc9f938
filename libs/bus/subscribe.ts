/** Receiving from core NATS: handlers are called in the socket's own turn, since each further turn costs latency. */

import { filterOf, type MessageDefinition, type Payload } from "@baton/contracts";
import type { Msg } from "@nats-io/transport-node";
import { type Envelope, open, sealHeaders } from "./envelope.ts";
import type { Link } from "./link.ts";
import { MAX_PAYLOAD_BYTES } from "./options.ts";
import type { Rejects } from "./rejects.ts";

export interface Meta {
  subject: string;
  id: string;
  source: string;
  timeUnixMs: number;
  traceparent: string | null;
  /** In its stream; null for core NATS. */
  streamSequence: number | null;
  redelivered: boolean;
  /** The payload as received, for hashing. */
  payloadBytes: Uint8Array;
  /** Present when the sender waits for replies. The payload must fit the schema that the sender asks for. */
  respond?(payload: unknown): void;
}

export type Handler<M extends MessageDefinition> = (payload: Payload<M>, meta: Meta) => void;

/** `given` fixes tokens of the subject; the others match anything. Returns how to stop. */
export function subscribe<M extends MessageDefinition>(
  link: Link,
  rejects: Rejects,
  message: M,
  given: Readonly<Record<string, string>>,
  handler: Handler<M>,
): () => void {
  const filter = filterOf(message, given);
  const subscription = link.nc.subscribe(filter, {
    // Nothing may be thrown from here: the client would stop reading its socket for ever.
    callback(error, msg) {
      if (error) {
        link.log.error(
          { subject: filter, error: error.message },
          `NATS refuses the subscription to ${filter}: ${error.message}; nothing is received on it: mend the permissions and restart`,
        );
        return;
      }
      link.metrics.count("received", message.type);
      const opened = open(message, msg.subject, msg.headers, msg.data);
      if (!opened.ok) {
        rejects.reject(message.type, msg.subject, opened);
        return;
      }
      try {
        handler(
          opened.payload,
          metaOf(msg, opened.envelope, responder(link, message.type, msg, opened.envelope)),
        );
      } catch (problem) {
        rejects.fail(message.type, msg.subject, problem, "the message is dropped");
      }
    },
  });
  return () => subscription.unsubscribe();
}

export function metaOf(
  msg: { subject: string; data: Uint8Array },
  envelope: Envelope,
  respond?: (payload: unknown) => void,
): Meta {
  return {
    subject: msg.subject,
    ...envelope,
    streamSequence: null,
    redelivered: false,
    payloadBytes: msg.data,
    ...(respond ? { respond } : {}),
  };
}

function responder(
  link: Link,
  type: string,
  msg: Msg,
  envelope: Envelope,
): ((payload: unknown) => void) | undefined {
  if (!msg.reply) return undefined;
  return (payload) => {
    const body = new TextEncoder().encode(JSON.stringify(payload));
    if (body.length > MAX_PAYLOAD_BYTES) {
      throw new TypeError(
        `Our own reply to ${type} has ${body.length} bytes, and may have ${MAX_PAYLOAD_BYTES}`,
      );
    }
    try {
      msg.respond(body, { headers: sealHeaders(`${type}.reply`, link.source, envelope.traceparent) });
    } catch {
      link.metrics.count("dropped", `${type}.reply`);
    }
  };
}
