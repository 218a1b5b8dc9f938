/**
 * NATS's service protocol (ADR-32): a service is found with `$SRV.PING`, described with `$SRV.INFO`, measured
 * with `$SRV.STATS`; `nats micro ls` shows it. Spoken here because `@nats-io/services` has only pre-releases on
 * npm, which bring a second, older NATS client along.
 */
import { type Msg, headers as newHeaders, nuid, type Subscription } from "@nats-io/transport-node";
import type { Link } from "./link.ts";

export interface MicroService {
  /** `[A-Za-z0-9_-]+`. */
  name: string;
  version: string;
  description: string;
  subject: string;
  metadata: Record<string, string>;
  /** Answers in bytes, or throws a MicroError. */
  handle(msg: Msg): Promise<{ body: Uint8Array; headers: ReturnType<typeof newHeaders> }>;
}

export class MicroError extends Error {
  readonly status: number;
  readonly body: Uint8Array;

  constructor(status: number, message: string, body: Uint8Array) {
    super(message);
    this.name = "MicroError";
    this.status = status;
    this.body = body;
  }
}

const QUEUE = "q";

/** Returns how to stop: no new requests are taken, those at work are answered. */
export function startMicro(link: Link, service: MicroService): () => Promise<void> {
  const id = nuid.next();
  const started = new Date().toISOString();
  const stats = { num_requests: 0, num_errors: 0, last_error: "", processing_time: 0 };
  const working = new Set<Promise<void>>();
  const identity = { name: service.name, id, version: service.version, metadata: service.metadata };
  const endpoint = { name: "default", subject: service.subject, queue_group: QUEUE };

  const answers: Record<string, () => object> = {
    PING: () => ({ type: "io.nats.micro.v1.ping_response", ...identity }),
    INFO: () => ({
      type: "io.nats.micro.v1.info_response",
      ...identity,
      description: service.description,
      endpoints: [{ ...endpoint, metadata: {} }],
    }),
    STATS: () => ({
      type: "io.nats.micro.v1.stats_response",
      ...identity,
      started,
      endpoints: [
        {
          ...endpoint,
          ...stats,
          average_processing_time:
            stats.num_requests === 0 ? 0 : Math.round(stats.processing_time / stats.num_requests),
        },
      ],
    }),
  };

  const respond = (msg: Msg, body: string | Uint8Array, headers?: ReturnType<typeof newHeaders>): void => {
    try {
      msg.respond(body, headers ? { headers } : {});
    } catch {
      // The connection is closed; the asker runs into its timeout.
    }
  };

  async function serve(msg: Msg): Promise<void> {
    const beginMs = performance.now();
    stats.num_requests += 1;
    try {
      const { body, headers } = await service.handle(msg);
      respond(msg, body, headers);
    } catch (error) {
      const failure =
        error instanceof MicroError ? error : new MicroError(500, String(error), new Uint8Array());
      stats.num_errors += 1;
      stats.last_error = `${failure.status}:${failure.message}`;
      const headers = newHeaders();
      headers.set("Nats-Service-Error", failure.message.replace(/[\r\n]+/g, " "));
      headers.set("Nats-Service-Error-Code", String(failure.status));
      respond(msg, failure.body, headers);
    } finally {
      stats.processing_time += Math.round((performance.now() - beginMs) * 1e6);
    }
  }

  const subscriptions: Subscription[] = [];
  for (const [verb, answer] of Object.entries(answers)) {
    for (const subject of [
      `$SRV.${verb}`,
      `$SRV.${verb}.${service.name}`,
      `$SRV.${verb}.${service.name}.${id}`,
    ]) {
      subscriptions.push(
        link.nc.subscribe(subject, {
          callback(error, msg) {
            if (!error) respond(msg, JSON.stringify(answer()));
          },
        }),
      );
    }
  }
  const requests = link.nc.subscribe(service.subject, {
    queue: QUEUE,
    callback(error, msg) {
      if (error) {
        link.log.error(
          { subject: service.subject },
          `NATS refuses to let ${service.name} serve: ${error.message}`,
        );
        return;
      }
      const task = serve(msg).finally(() => working.delete(task));
      working.add(task);
    },
  });

  return async () => {
    for (const s of subscriptions) s.unsubscribe();
    if (!requests.isClosed()) await requests.drain().catch(() => {});
    await Promise.allSettled([...working]);
  };
}
