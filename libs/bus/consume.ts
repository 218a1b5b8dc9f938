/**
 * A durable consumer, shared by all who name it: one message is pulled when there is a hand free for it, so that
 * nothing waits in one process while another is idle. (The client's own `consume` fetches ahead whether or not
 * the handlers keep up.) At least once: a handler may see a message again.
 */

import {
  filterOf,
  type MessageDefinition,
  type Payload,
  type StreamName,
  SUBJECT_ROOT,
} from "@baton/contracts";
import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  ReplayPolicy,
} from "@nats-io/jetstream";
import { createInbox, type Msg, nanos } from "@nats-io/transport-node";
import { type Delivery, deliveryOf, statusOf } from "./delivery.ts";
import { open } from "./envelope.ts";
import type { Link } from "./link.ts";
import { DEADLINE_MS, REQUEST_TIMEOUT_MS } from "./options.ts";
import { asBatonError } from "./publish.ts";
import type { Rejects } from "./rejects.ts";
import { describe, isStreamMissing, pause, underDeadline } from "./retry.ts";
import { type Meta, metaOf } from "./subscribe.ts";

export interface ConsumeOptions {
  stream: StreamName;
  /** Consumers of one name share the messages; each name gets all of them. */
  durable: string;
  /** After so long without a sign of life from the handler's process, another gets the message. */
  ackWaitMs: number;
  /** Handlers at a time, in this process. */
  concurrency: number;
  /** How often a message comes that nobody can handle, before it is taken away. Default: `LATER_DELIVERIES`. */
  laterDeliveries?: number | undefined;
  /** Where a durable that is new begins. Default: all that the stream holds. */
  deliver?: "all" | "new" | undefined;
}

export interface Control {
  /** Says that the handler lives. Also said by itself, every third of `ackWaitMs`. */
  working(): void;
  /** Aborts when the consumer stops and the grace is over: end, or throw, and another takes the message. */
  signal: AbortSignal;
}

/**
 * Thrown by a handler whose message is in another's hands, or may be: it is neither acknowledged nor given back, both of which would take it
 * from the other. When nobody works on it, it comes again after `ackWaitMs`.
 */
export class LeftToAnother extends Error {
  constructor(why: string) {
    super(why);
    this.name = "LeftToAnother";
  }
}

/**
 * Thrown by a handler that cannot do anything about its message now, though another may, or it itself later: it is given back, and comes again,
 * to whoever is free, at most `laterDeliveries` times.
 */
export class LeftForLater extends Error {
  constructor(why: string) {
    super(why);
    this.name = "LeftForLater";
  }
}

export interface Consumer {
  /** Takes no more messages and waits for the handlers, at most `graceMs` (default 5 s) and a second. */
  stop(o?: { graceMs?: number }): Promise<void>;
}

export type ConsumeHandler<M extends MessageDefinition> = (
  message: M,
  payload: Payload<M>,
  meta: Meta,
  control: Control,
) => Promise<void>;

const EXPIRES_MS = 30_000;
const HEARTBEAT_MS = 1_000;
const SILENT_MS = 2_500;
const PAUSE_MS = 250;
const GRACE_MS = 5_000;
const AFTER_ABORT_MS = 1_000;
const LONGEST_NAK_MS = 30_000;
/** Of all who share the durable; above the sum of their concurrencies. */
const MAX_UNACKED = 1_000;
/** What nobody can handle by then, after some twelve minutes, is taken away: it must not stand in the way of the rest for ever. */
const LATER_DELIVERIES = 30;
/** More than these at a time are no work of a later version but a flood; they would fill up what may be unacknowledged. */
const MOST_LEFT = MAX_UNACKED / 2;
/** Longer than one comes again: whoever has it by then, it is not here. */
const LEFT_MS = 900_000;

export async function consume<M extends MessageDefinition>(
  link: Link,
  rejects: Rejects,
  messages: readonly M[],
  o: ConsumeOptions,
  handler: ConsumeHandler<M>,
): Promise<Consumer> {
  const byType = new Map(messages.map((m) => [m.type, m]));
  const aborter = new AbortController();
  const running = new Set<Promise<void>>();
  const pullSubject = `$JS.API.CONSUMER.MSG.NEXT.${o.stream}.${o.durable}`;
  const pullBody = JSON.stringify({
    batch: 1,
    expires: nanos(EXPIRES_MS),
    idle_heartbeat: nanos(HEARTBEAT_MS),
  });
  const inbox = createInbox();
  /** Messages that were left for later here, by their place in the stream, and since when. */
  const left = new Map<number, number>();
  let pullNumber = 0;
  let waiting = false;
  let stopping = false;
  let heardAtMs = performance.now();
  let mending = false;

  const create = (): Promise<unknown> => ensureConsumer(link, messages, o);
  try {
    await underDeadline(`making the consumer ${o.durable}`, DEADLINE_MS, create, () => {
      link.metrics.count("retried", o.durable);
    });
  } catch (error) {
    throw asBatonError(error, `the consumer ${o.durable} of ${o.stream}`);
  }

  function pull(): void {
    if (stopping || waiting || mending || !link.connected || running.size >= o.concurrency) return;
    waiting = true;
    pullNumber += 1;
    heardAtMs = performance.now();
    try {
      link.nc.publish(pullSubject, pullBody, { reply: `${inbox}.${pullNumber}` });
    } catch {
      waiting = false; // The connection is closed.
    }
  }

  function pullAnew(): void {
    waiting = false;
    pull();
  }

  /** The consumer is gone or without a leader: made anew where needed, until it answers. */
  async function mend(why: string): Promise<void> {
    if (mending || stopping) return;
    mending = true;
    waiting = false;
    let said = false;
    while (!stopping && !link.nc.isClosed()) {
      await pause(PAUSE_MS);
      if (!link.connected) continue;
      try {
        await create();
        break;
      } catch (error) {
        if (isStreamMissing(error)) link.onStreamMissing();
        if (!said) {
          said = true;
          link.log.warn(
            { durable: o.durable, stream: o.stream, error: describe(error) },
            `Consumer ${o.durable} of ${o.stream} is away (${why}; ${describe(error)}); Baton tries until it is back`,
          );
        }
      }
    }
    mending = false;
    pull();
  }

  const subscription = link.nc.subscribe(`${inbox}.*`, {
    callback(error, msg) {
      if (error) {
        link.log.error(
          { durable: o.durable, error: error.message },
          `NATS refuses ${o.durable}: ${error.message}`,
        );
        return;
      }
      const delivery = deliveryOf(msg.reply);
      if (delivery) {
        heardAtMs = performance.now();
        waiting = false;
        if (stopping) {
          settle(msg, "-NAK");
          return;
        }
        const task = run(msg, delivery).finally(() => {
          running.delete(task);
          pull();
        });
        running.add(task);
        pull();
        return;
      }
      if (msg.subject !== `${inbox}.${pullNumber}`) return; // Of a request that was given up.
      heardAtMs = performance.now();
      const { code, text } = statusOf(msg);
      if (code === 404 || code === 408) pullAnew();
      else if (code >= 400) void mend(text || String(code));
    },
  });

  const settle = (msg: Msg, how: string): void => {
    try {
      link.nc.publish(msg.reply ?? "", how);
    } catch {
      // The connection is closed: the message comes again after ackWaitMs.
    }
  };

  async function run(msg: Msg, delivery: Delivery): Promise<void> {
    const type = msg.subject.slice(SUBJECT_ROOT.length + 1).split(".")[0] ?? "";
    const message = byType.get(type);
    link.metrics.count("received", type);
    if (!message) {
      settle(msg, "+TERM no such message");
      return;
    }
    const opened = open(message, msg.subject, msg.headers, msg.data);
    if (!opened.ok) {
      if (opened.reason === "unknown-word") {
        leaveForLater(
          msg,
          delivery,
          type,
          `a later version of Baton may know what it says: ${opened.detail}`,
        );
        return;
      }
      rejects.reject(type, msg.subject, opened);
      settle(msg, `+TERM malformed: ${opened.reason}`);
      return;
    }
    const meta: Meta = {
      ...metaOf(msg, opened.envelope),
      streamSequence: delivery.streamSequence,
      redelivered: delivery.delivered > 1,
    };
    const working = (): void => settle(msg, "+WPI");
    const alive = setInterval(working, o.ackWaitMs / 3);
    try {
      await handler(message, opened.payload, meta, { working, signal: aborter.signal });
      left.delete(delivery.streamSequence);
      await acknowledge(msg, type);
    } catch (error) {
      if (error instanceof LeftToAnother) return;
      if (error instanceof LeftForLater) {
        leaveForLater(msg, delivery, type, error.message);
        return;
      }
      const againMs = aborter.signal.aborted ? 0 : nakDelayMs(delivery.delivered);
      settle(msg, againMs === 0 ? "-NAK" : `-NAK ${JSON.stringify({ delay: nanos(againMs) })}`);
      rejects.fail(type, msg.subject, error, `it is tried again in ${againMs} ms`);
    } finally {
      clearInterval(alive);
    }
  }

  /** Said once for each message, when it is left and when it is given up. */
  function leaveForLater(msg: Msg, delivery: Delivery, type: string, why: string): void {
    const { streamSequence, delivered } = delivery;
    const said = left.has(streamSequence);
    const about = { type, subject: msg.subject, streamSequence, delivered };
    if (delivered >= (o.laterDeliveries ?? LATER_DELIVERIES) || (!said && left.size >= MOST_LEFT)) {
      left.delete(streamSequence);
      link.metrics.count("rejected", type);
      link.log.warn(
        about,
        `A ${type} message on ${msg.subject} is dropped, since nobody can handle it: ${why}`,
      );
      settle(msg, "+TERM nobody can handle it");
      return;
    }
    if (!said) {
      for (const [sequence, sinceMs] of left)
        if (performance.now() - sinceMs > LEFT_MS) left.delete(sequence);
      left.set(streamSequence, performance.now());
      link.log.warn(
        about,
        `A ${type} message on ${msg.subject} is left to whoever can handle it, for some minutes: ${why}`,
      );
    }
    settle(msg, `-NAK ${JSON.stringify({ delay: nanos(nakDelayMs(delivered)) })}`);
  }

  /** Until JetStream confirms it: a lost ack would run the handler again. */
  async function acknowledge(msg: Msg, type: string): Promise<void> {
    try {
      await underDeadline(
        `acknowledging a ${type} message`,
        o.ackWaitMs,
        () => link.nc.request(msg.reply ?? "", "+ACK", { timeout: REQUEST_TIMEOUT_MS }),
        () => link.metrics.count("retried", o.durable),
      );
    } catch (error) {
      link.log.warn(
        { type, subject: msg.subject, error: describe(error) },
        `A ${type} message was handled, but JetStream has not taken the acknowledgement (${describe(error)}); it comes again`,
      );
    }
  }

  const monitor = setInterval(() => {
    if (waiting && link.connected && performance.now() - heardAtMs > SILENT_MS) pullAnew();
    else pull();
  }, HEARTBEAT_MS);
  const offStatus = link.onStatus((connected) => {
    if (connected) pullAnew();
    else waiting = false;
  });
  pull();

  let stopped: Promise<void> | undefined;
  const stop = async (graceMs: number): Promise<void> => {
    stopping = true;
    clearInterval(monitor);
    offStatus();
    const all = Promise.allSettled([...running]);
    await Promise.race([all, pause(graceMs, aborter.signal)]);
    aborter.abort(new Error(`the consumer ${o.durable} stops`));
    if (running.size > 0) await Promise.race([Promise.allSettled([...running]), pause(AFTER_ABORT_MS)]);
    if (!subscription.isClosed()) subscription.unsubscribe();
  };
  return {
    stop: (s = {}) => {
      stopped ??= stop(s.graceMs ?? GRACE_MS);
      return stopped;
    },
  };
}

function nakDelayMs(delivered: number): number {
  return Math.min(LONGEST_NAK_MS, 250 * 2 ** Math.min(delivered, 10));
}

/** Idempotent. What cannot be changed of an older one stays as it is. */
async function ensureConsumer(
  link: Link,
  messages: readonly MessageDefinition[],
  o: ConsumeOptions,
): Promise<void> {
  const filters = messages.map((m) => filterOf(m));
  const config: Partial<ConsumerConfig> & { durable_name: string } = {
    durable_name: o.durable,
    name: o.durable,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(o.ackWaitMs),
    deliver_policy: o.deliver === "new" ? DeliverPolicy.New : DeliverPolicy.All,
    replay_policy: ReplayPolicy.Instant,
    max_deliver: -1,
    max_ack_pending: MAX_UNACKED,
    filter_subjects: filters,
  };
  try {
    const { config: found } = await link.admin.consumers.info(o.stream, o.durable);
    const foundFilters = found.filter_subjects ?? (found.filter_subject ? [found.filter_subject] : []);
    if (found.ack_wait === config.ack_wait && sameSet(foundFilters, filters)) return;
    await link.admin.consumers.update(o.stream, o.durable, {
      ack_wait: nanos(o.ackWaitMs),
      filter_subjects: filters,
    });
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || error.code !== JetStreamApiCodes.ConsumerNotFound)
      throw error;
    await link.admin.consumers.add(o.stream, config);
  }
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((x) => b.includes(x));
}
