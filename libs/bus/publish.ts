/**
 * Sending: `publish` is fire and forget and waits for nothing; `append` returns when the stream has it.
 */

import { BatonError, type MessageDefinition, type Payload, subjectOf } from "@baton/contracts";
import { JetStreamApiCodes, JetStreamApiError, type StoredMsg } from "@nats-io/jetstream";
import { type MsgHdrs, nuid } from "@nats-io/transport-node";
import { sealBody, sealHeaders } from "./envelope.ts";
import type { Link } from "./link.ts";
import { DEADLINE_MS } from "./options.ts";
import { describe, underDeadline } from "./retry.ts";

/** Messages that a stream keeps are held back while NATS is away; at most so many, the oldest go first. */
const HELD_MESSAGES = 256;

/** The subject has moved on: another message came first. `expected` and `message` say where. */
export class BusConflict extends Error {
  readonly subject: string;
  readonly expectedSequence: number;

  constructor(subject: string, expectedSequence: number, cause: unknown) {
    super(`the last message on ${subject} is not number ${expectedSequence}: ${describe(cause)}`, { cause });
    this.name = "BusConflict";
    this.subject = subject;
    this.expectedSequence = expectedSequence;
  }
}

export interface PublishOptions {
  traceparent?: string | null | undefined;
}

export interface AppendOptions extends PublishOptions {
  /** Messages with the same id within two minutes are stored once. */
  msgId?: string | undefined;
  /** Append only if this is the last sequence on the message's subject; 0: if there is none. */
  expectLastSubjectSequence?: number | undefined;
  deadlineMs?: number | undefined;
}

export interface Appended {
  sequence: number;
  /** It was there already, under the same id. */
  duplicate: boolean;
}

export interface Publisher {
  publish<M extends MessageDefinition>(message: M, payload: Payload<M>, o?: PublishOptions): void;
  append<M extends MessageDefinition>(message: M, payload: Payload<M>, o?: AppendOptions): Promise<Appended>;
}

export function createPublisher(link: Link): Publisher {
  const held: { type: string; subject: string; body: Uint8Array; headers: MsgHdrs }[] = [];

  const send = (type: string, subject: string, body: Uint8Array, headers: MsgHdrs): void => {
    try {
      link.nc.publish(subject, body, { headers });
      link.metrics.count("published", type);
    } catch {
      // Only a connection that is draining or closed: nothing is left to send with.
      link.metrics.count("dropped", type);
    }
  };

  link.onStatus((connected) => {
    if (!connected) return;
    for (const m of held.splice(0)) send(m.type, m.subject, m.body, m.headers);
  });

  return {
    publish(message, payload, o) {
      const subject = subjectOf(message, payload);
      const body = sealBody(message.type, message.schema, payload);
      const headers = sealHeaders(message.type, link.source, o?.traceparent);
      if (link.connected) {
        send(message.type, subject, body, headers);
        return;
      }
      // An observation is worthless when NATS is back; what a stream keeps is history and is not.
      if (message.carrier === "core" || held.length >= HELD_MESSAGES) {
        link.metrics.count("dropped", message.type);
        if (message.carrier === "core") return;
        held.shift();
      }
      held.push({ type: message.type, subject, body, headers });
    },

    async append(message, payload, o = {}) {
      const subject = subjectOf(message, payload);
      if (message.carrier === "core") throw new TypeError(`No stream keeps ${message.type} messages`);
      const body = sealBody(message.type, message.schema, payload);
      const headers = sealHeaders(message.type, link.source, o.traceparent);
      const msgID = o.msgId ?? nuid.next();
      const expected = o.expectLastSubjectSequence;
      try {
        const ack = await underDeadline(
          `appending to ${subject}`,
          o.deadlineMs ?? DEADLINE_MS,
          () =>
            link.js.publish(subject, body, {
              headers,
              msgID,
              expect: {
                streamName: message.carrier,
                ...(expected === undefined ? {} : { lastSubjectSequence: expected }),
              },
            }),
          () => link.metrics.count("retried", message.type),
        );
        link.metrics.count("published", message.type);
        return { sequence: ack.seq, duplicate: ack.duplicate };
      } catch (error) {
        if (expected !== undefined && isWrongSequence(error)) {
          // JetStream looks at the expected sequence before the id: our own message, stored by an attempt whose
          // answer was lost, is then the conflict.
          const last = await lastOn(link, message.carrier, subject);
          if (last?.header.get("Nats-Msg-Id") === msgID) {
            return { sequence: last.seq, duplicate: last.header.get("ce-id") !== headers.get("ce-id") };
          }
          throw new BusConflict(subject, expected, error);
        }
        link.metrics.count("dropped", message.type);
        throw asBatonError(error, `appending to ${subject}`);
      }
    },
  };
}

/** The last message on a subject as its stream's leader knows it; null when there is none. */
export async function lastOn(link: Link, stream: string, subject: string): Promise<StoredMsg | null> {
  const what = `reading the last message on ${subject}`;
  try {
    return await underDeadline(
      what,
      DEADLINE_MS,
      () => link.jsm.streams.getMessage(stream, { last_by_subj: subject }),
      () => link.metrics.count("retried", stream),
    );
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.NoMessageFound) return null;
    throw asBatonError(error, what);
  }
}

export function isWrongSequence(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamWrongLastSequence;
}

/** JetStream's refusals in our words; what we do not know passes as it is. */
export function asBatonError(error: unknown, place: string): unknown {
  if (!(error instanceof JetStreamApiError)) return error;
  return new BatonError("E_INTERNAL", {
    place,
    message: `JetStream refuses: ${error.message} (${error.code}).`,
    remedy: "See the nats-server log: storage, limits and permissions are the usual reasons.",
    cause: error,
  });
}
