/**
 * Watching the last message of each subject of a stream, so that the latest is never missed for long. NATS's own
 * ordered consumer resumes by sequence and, after its first reset, notices a dead server only a minute later;
 * this one notices after 2.5 s and then reads everything anew, which is little, and also finds what expired
 * while nobody listened.
 */
import { AckPolicy, DeliverPolicy } from "@nats-io/jetstream";
import { createInbox, type Msg, nanos, nuid } from "@nats-io/transport-node";
import { deliveryOf, statusOf } from "./delivery.ts";
import type { Link } from "./link.ts";
import { DEADLINE_MS } from "./options.ts";
import { describe, isPassing, isStreamMissing, pause } from "./retry.ts";

const HEARTBEAT_MS = 1_000;
const SILENT_MS = 2_500;
const PAUSE_MS = 250;

interface Watcher {
  /** `msg` is null when the subject has gone while nobody listened. */
  onMessage(subject: string, msg: Msg | null, revision: number): void;
  onReady(): void;
}

export interface Watching {
  stop(): void;
  /** Reads everything anew: somebody knows that the stream is not what it was. */
  readAnew(): void;
  /** Subjects that it has seen and that have not gone. */
  readonly subjects: number;
}

/** Resolves when the first consumer stands, rejects when none could be made within 10 s. */
export async function watchSubjects(
  link: Link,
  stream: string,
  filter: string,
  watcher: Watcher,
): Promise<Watching> {
  const known = new Map<string, number>();
  let stopped = false;
  let ready = false;
  let stopGeneration = (): void => {};
  let restarting = true;
  let heardAtMs = performance.now();

  const guarded = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      link.metrics.count("failed", stream);
      link.log.error({ stream, err: error }, `Handling a change in ${stream} failed: ${describe(error)}`);
    }
  };

  async function start(): Promise<void> {
    stopGeneration();
    const seen = new Set<string>();
    const inbox = createInbox();
    const consumer = `watch_${nuid.next()}`;
    let delivered = 0;
    let complete = false;
    let dead = false;

    const completeSnapshot = (): void => {
      if (complete || dead) return;
      complete = true;
      for (const [subject, revision] of [...known]) {
        if (seen.has(subject)) continue;
        known.delete(subject);
        guarded(() => watcher.onMessage(subject, null, revision));
      }
      if (!ready) {
        ready = true;
        guarded(() => watcher.onReady());
      }
    };

    const subscription = link.nc.subscribe(inbox, {
      callback(error, msg) {
        if (error) {
          link.log.error(
            { stream, error: error.message },
            `NATS refuses to let ${stream} be watched: ${error.message}`,
          );
          return;
        }
        if (dead) return;
        heardAtMs = performance.now();
        const delivery = deliveryOf(msg.reply);
        if (!delivery) {
          if (statusOf(msg).code === 409) void restart();
          return;
        }
        if (delivery.deliverySequence !== delivered + 1) {
          void restart();
          return;
        }
        delivered = delivery.deliverySequence;
        seen.add(msg.subject);
        // While reading anew, what has not changed is not told again.
        if (complete || known.get(msg.subject) !== delivery.streamSequence) {
          known.set(msg.subject, delivery.streamSequence);
          guarded(() => watcher.onMessage(msg.subject, msg, delivery.streamSequence));
        }
        if (delivery.pending === 0) completeSnapshot();
      },
    });
    stopGeneration = () => {
      dead = true;
      subscription.unsubscribe();
      if (link.connected) link.jsm.consumers.delete(stream, consumer).catch(() => {});
    };
    const info = await link.admin.consumers.add(stream, {
      name: consumer,
      deliver_subject: inbox,
      deliver_policy: DeliverPolicy.LastPerSubject,
      ack_policy: AckPolicy.None,
      filter_subject: filter,
      idle_heartbeat: nanos(HEARTBEAT_MS),
      inactive_threshold: nanos(10_000),
      mem_storage: true,
      num_replicas: 1,
    });
    heardAtMs = performance.now();
    if (info.num_pending === 0 && info.delivered.consumer_seq === delivered) completeSnapshot();
  }

  /** Until it stands again: a watcher that gives up would act on an old world. */
  async function restart(): Promise<void> {
    if (restarting || stopped) return;
    restarting = true;
    let said = false;
    try {
      while (!stopped && !link.nc.isClosed()) {
        try {
          if (link.connected) {
            await start();
            return;
          }
        } catch (error) {
          if (isStreamMissing(error)) link.onStreamMissing();
          if (!said) {
            said = true;
            link.log.warn(
              { stream, error: describe(error) },
              `Watching ${stream} was interrupted (${describe(error)}); Baton tries until it works again`,
            );
          }
        }
        await pause(PAUSE_MS);
      }
    } finally {
      restarting = false;
    }
  }

  const endMs = performance.now() + DEADLINE_MS;
  for (;;) {
    try {
      await start();
      break;
    } catch (error) {
      if (!isPassing(error) || performance.now() > endMs) {
        stopGeneration();
        throw error;
      }
      await pause(PAUSE_MS);
    }
  }
  restarting = false;
  const monitor = setInterval(() => {
    if (link.connected && !restarting && performance.now() - heardAtMs > SILENT_MS) void restart();
  }, HEARTBEAT_MS);
  const offStatus = link.onStatus((connected) => {
    if (connected) void restart();
  });

  return {
    stop() {
      stopped = true;
      clearInterval(monitor);
      offStatus();
      stopGeneration();
    },
    readAnew: () => void restart(),
    get subjects() {
      return known.size;
    },
  };
}
