/** The bus: one connection and all that Baton does over it. */
import {
  BUCKETS,
  type BucketName,
  type CommandReply,
  type CommandRequest,
  type CommandVerb,
  filterOf,
  type MessageDefinition,
  type Payload,
  type Presence,
} from "@baton/contracts";
import type { z } from "zod";
import { announce } from "./announce.ts";
import { type Bucket, type BucketValue, openBucket } from "./bucket.ts";
import { command, serve } from "./commands.ts";
import { type ConsumeHandler, type ConsumeOptions, type Consumer, consume } from "./consume.ts";
import { guardStreams, type Loss, type StreamGuard } from "./guard-streams.ts";
import { type Link, openLink } from "./link.ts";
import type { BusOptions } from "./options.ts";
import {
  type Appended,
  type AppendOptions,
  createPublisher,
  lastOn,
  type PublishOptions,
} from "./publish.ts";
import { countRejects } from "./rejects.ts";
import { type RequestOptions, requestMany } from "./request.ts";
import { pause } from "./retry.ts";
import { bucketStream, ensureStreams } from "./streams.ts";
import { type Handler, subscribe } from "./subscribe.ts";
import type { Watching } from "./watch.ts";

export interface Bus {
  readonly connected: boolean;
  /** Called at each change of `connected`; returns how to stop. */
  onStatus(callback: (connected: boolean) => void): () => void;
  /** Makes or brings up to date all streams and buckets; retries for `deadlineMs`, default 30 s. */
  ensure(o?: { deadlineMs?: number }): Promise<void>;
  /** From now on a stream or bucket that vanishes is made again within seconds. For services; returns how to stop. */
  guard(): () => void;
  /** Called when NATS has lost a stream or some of what it held, while it is guarded. Returns how to stop. */
  onLoss(callback: (loss: Loss) => void): () => void;
  /**
   * Fire and forget: nothing is awaited, and a lost connection is no error (the message is then dropped and
   * counted; one that a stream keeps is held until NATS is back). Throws TypeError on a payload that breaks its
   * schema.
   */
  publish<M extends MessageDefinition>(message: M, payload: Payload<M>, o?: PublishOptions): void;
  /**
   * Resolves when the stream has it; `duplicate` says that the last message on the subject, or one within two
   * minutes, had the same `msgId`. Throws BusConflict when the expected sequence is not the last, BatonError
   * E_NATS_UNREACHABLE when the deadline (10 s) is over: whether it was stored is then unknown.
   */
  append<M extends MessageDefinition>(message: M, payload: Payload<M>, o?: AppendOptions): Promise<Appended>;
  /** Handlers run in the socket's turn: they must be quick and never await. Returns how to stop. */
  subscribe<M extends MessageDefinition>(
    message: M,
    given: Readonly<Record<string, string>>,
    handler: Handler<M>,
  ): () => void;
  /** All replies within `maxWaitMs`, or the first `maxReplies`; empty when nobody listens. */
  request<M extends MessageDefinition, R extends z.ZodType>(
    message: M,
    payload: Payload<M>,
    reply: R,
    o: RequestOptions,
  ): Promise<z.infer<R>[]>;
  /**
   * Hands each message to one process of those that share the durable, until its handler resolves. A handler
   * that throws gets the message again later.
   */
  consume<M extends MessageDefinition>(
    messages: readonly M[],
    o: ConsumeOptions,
    handler: ConsumeHandler<M>,
  ): Promise<Consumer>;
  bucket<B extends BucketName>(name: B): Bucket<BucketValue<B>>;
  /** The last sequence on a message's subject, all of whose tokens are given; 0 when there is none. */
  lastSequence(message: MessageDefinition, given: Readonly<Record<string, string>>): Promise<number>;
  /** Serves a command as a NATS service, beside others that serve it. Returns how to stop. */
  serve<V extends CommandVerb>(
    verb: V,
    handler: (request: CommandRequest<V>) => Promise<CommandReply<V>>,
  ): Promise<() => Promise<void>>;
  /** Throws BatonError E_NO_ANSWER when nobody answers within `timeoutMs` (5 s), else the server's refusal. */
  command<V extends CommandVerb>(
    verb: V,
    request: CommandRequest<V>,
    o?: { timeoutMs?: number | undefined },
  ): Promise<CommandReply<V>>;
  /** Keeps the presence alive until called. */
  announce(presence: Presence): () => void;
  /** Stops consumers, watches and services, sends what is to be sent, closes. At most about 8 s. */
  drain(): Promise<void>;
}

/** Buckets of which nothing expires. */
const KEPT: ReadonlySet<string> = new Set(
  (Object.keys(BUCKETS) as BucketName[]).filter((b) => BUCKETS[b].ttlS === null).map(bucketStream),
);
const ENSURE_DEADLINE_MS = 30_000;
const DRAIN_MS = 2_000;
/** Reported to `nats micro`; Baton's own version. */
const SERVICE_VERSION = "0.1.0";

/**
 * Connects, for ever until `signal` aborts, and says so in the log. Throws BatonError E_NATS_TOO_OLD,
 * E_NATS_NO_JETSTREAM, E_CONFIG_INVALID. Once connected it reconnects for ever.
 */
export async function connectBus(o: BusOptions, signal?: AbortSignal): Promise<Bus> {
  return createBus(await openLink(o, signal));
}

function createBus(link: Link): Bus {
  const rejects = countRejects(link);
  const publisher = createPublisher(link);
  const consumers = new Set<Consumer>();
  const stops = new Set<() => unknown>();
  const buckets = new Map<BucketName, Bucket<never>>();
  const watched = new Map<Watching, string>();
  const lossListeners = new Set<(loss: Loss) => void>();
  let streamGuard: StreamGuard | null = null;
  let draining: Promise<void> | undefined;

  function bucket<B extends BucketName>(name: B): Bucket<BucketValue<B>> {
    let there = buckets.get(name) as Bucket<BucketValue<B>> | undefined;
    if (!there) {
      const opened = openBucket(link, rejects, name, (stream, watching) => {
        watched.set(watching, stream);
        return () => watched.delete(watching);
      });
      there = { ...opened, watch: async (o) => remembered(stops, await opened.watch(o)) };
      buckets.set(name, there as unknown as Bucket<never>);
    }
    return there;
  }

  function guard(): () => void {
    streamGuard ??= guardStreams(link, () => {
      const subjects = new Map<string, number>();
      for (const [{ subjects: count }, stream] of watched)
        if (KEPT.has(stream)) subjects.set(stream, Math.max(count, subjects.get(stream) ?? 0));
      return subjects;
    });
    const made = streamGuard;
    link.onStreamMissing = () => made.look();
    const off = made.onLoss((loss) => {
      for (const [watching, stream] of watched) if (stream === loss.stream) watching.readAnew();
      for (const listener of [...lossListeners]) listener(loss);
    });
    return remembered(stops, () => {
      off();
      made.stop();
    });
  }

  async function drain(): Promise<void> {
    await Promise.allSettled([...consumers].map((c) => c.stop()));
    const stopping = [...stops].map((stop) => stop());
    await Promise.race([Promise.allSettled(stopping), pause(DRAIN_MS)]);
    if (link.nc.isClosed()) return;
    if (link.connected) await Promise.race([link.nc.drain().catch(() => {}), pause(DRAIN_MS)]);
    if (!link.nc.isClosed()) await Promise.race([link.nc.close(), pause(DRAIN_MS)]);
  }

  return {
    get connected() {
      return link.connected;
    },
    onStatus: (callback) => link.onStatus(callback),
    ensure: (o = {}) => ensureStreams(link, o.deadlineMs ?? ENSURE_DEADLINE_MS),
    guard,
    onLoss(callback) {
      lossListeners.add(callback);
      return () => lossListeners.delete(callback);
    },
    publish: publisher.publish,
    append: publisher.append,
    subscribe: (message, given, handler) =>
      remembered(stops, subscribe(link, rejects, message, given, handler)),
    request: (message, payload, reply, o) => requestMany(link, rejects, message, payload, reply, o),
    async consume(messages, o, handler) {
      const consumer = await consume(link, rejects, messages, o, handler);
      consumers.add(consumer);
      return {
        stop: async (s) => {
          await consumer.stop(s);
          consumers.delete(consumer);
        },
      };
    },
    bucket,
    lastSequence: (message, given) => lastSequence(link, message, given),
    async serve(verb, handler) {
      const stop = remembered(stops, serve(link, rejects, verb, SERVICE_VERSION, handler));
      await link.nc.flush().catch(() => {});
      return async () => {
        await stop();
      };
    },
    command: (verb, request, o = {}) => command(link, verb, request, o),
    announce: (presence) => remembered(stops, announce(link, bucket("baton_presence"), presence)),
    drain() {
      draining ??= drain();
      return draining;
    },
  };
}

/** Kept until it has been called, so that `drain` can call what is left. */
function remembered<R>(stops: Set<() => unknown>, stop: () => R): () => R {
  const once = (): R => {
    stops.delete(once);
    return stop();
  };
  stops.add(once);
  return once;
}

async function lastSequence(
  link: Link,
  message: MessageDefinition,
  given: Readonly<Record<string, string>>,
): Promise<number> {
  const subject = filterOf(message, given);
  if (message.carrier === "core" || subject.includes("*")) {
    throw new TypeError(`${subject} is not one subject of a stream`);
  }
  return (await lastOn(link, message.carrier, subject))?.seq ?? 0;
}
