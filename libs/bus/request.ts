/** Asking all who listen, and taking the answers of those who speak in time. */

import { type MessageDefinition, type Payload, subjectOf } from "@baton/contracts";
import { createInbox } from "@nats-io/transport-node";
import type { z } from "zod";
import { statusOf } from "./delivery.ts";
import { openBody, sealBody, sealHeaders } from "./envelope.ts";
import type { Link } from "./link.ts";
import type { Rejects } from "./rejects.ts";

export interface RequestOptions {
  maxWaitMs: number;
  /** Stop waiting when so many have answered. Default and most: 1000. */
  maxReplies?: number | undefined;
  traceparent?: string | null | undefined;
}

const MOST_REPLIES = 1_000;

/** Never rejects for want of answers: nobody listening, or no connection, is an empty list. */
export function requestMany<M extends MessageDefinition, R extends z.ZodType>(
  link: Link,
  rejects: Rejects,
  message: M,
  payload: Payload<M>,
  reply: R,
  o: RequestOptions,
): Promise<z.infer<R>[]> {
  const subject = subjectOf(message, payload);
  const body = sealBody(message.type, message.schema, payload);
  const headers = sealHeaders(message.type, link.source, o.traceparent);
  const most = Math.min(o.maxReplies ?? MOST_REPLIES, MOST_REPLIES);
  const replyType = `${message.type}.reply`;
  if (!link.connected) {
    link.metrics.count("dropped", message.type);
    return Promise.resolve([]);
  }
  return new Promise((resolve) => {
    const replies: z.infer<R>[] = [];
    const inbox = createInbox();
    const subscription = link.nc.subscribe(inbox, {
      callback(error, msg) {
        if (error || statusOf(msg).code === 503) {
          done();
          return;
        }
        const opened = openBody(replyType, reply, msg.headers, msg.data);
        if (!opened.ok) {
          rejects.reject(replyType, subject, opened);
          return;
        }
        link.metrics.count("received", replyType);
        replies.push(opened.payload);
        if (replies.length >= most) done();
      },
    });
    const timer = setTimeout(done, o.maxWaitMs);
    function done(): void {
      clearTimeout(timer);
      subscription.unsubscribe();
      resolve(replies);
    }
    try {
      link.nc.publish(subject, body, { reply: inbox, headers });
      link.metrics.count("published", message.type);
    } catch {
      link.metrics.count("dropped", message.type);
      done();
    }
  });
}
