/** One connection to NATS: kept for ever, and its state told to the rest of the bus. */

import { BatonError } from "@baton/contracts";
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { dialPace } from "./dial-pace.ts";
import {
  type BusMetrics,
  type BusOptions,
  type Log,
  MANAGE_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS,
} from "./options.ts";
import { describe, pause } from "./retry.ts";

/** Per-key TTL, which the lock stands on, came with 2.11: older servers ignore it without a word. */
const OLDEST_SERVER = [2, 11] as const;
const CONNECT_TIMEOUT_MS = 2_000;
const CONNECT_PAUSE_MS = 250;
const SAY_AGAIN_MS = 5_000;
const STILL_AWAY_MS = 10_000;

export interface Link {
  readonly nc: NatsConnection;
  /** For writes: answers are waited for `REQUEST_TIMEOUT_MS`. */
  readonly js: JetStreamClient;
  /** For streams, consumers and reads by the stream's leader. */
  readonly jsm: JetStreamManager;
  /** As `jsm`, with time enough to create things in a cluster. */
  readonly admin: JetStreamManager;
  readonly name: string;
  readonly source: string;
  readonly replicas: 1 | 3 | 5;
  readonly log: Log;
  readonly metrics: BusMetrics;
  readonly connected: boolean;
  /** What to do when a stream is found missing; set by whoever guards them. */
  onStreamMissing: () => void;
  /** Called at each change; returns how to stop. */
  onStatus(callback: (connected: boolean) => void): () => void;
}

/**
 * Connects, trying until it succeeds or `signal` aborts (then it rejects with the signal's reason).
 * Throws BatonError E_NATS_TOO_OLD, E_NATS_NO_JETSTREAM, or E_CONFIG_INVALID for a URL that is none.
 */
export async function openLink(o: BusOptions, signal?: AbortSignal): Promise<Link> {
  const nc = await connectForEver(o, signal);
  try {
    refuseOldServer(nc);
    await refuseWithoutJetStream(nc);
    return await watchLink(nc, o);
  } catch (error) {
    await nc.close();
    throw error;
  }
}

async function connectForEver(o: BusOptions, signal?: AbortSignal): Promise<NatsConnection> {
  const places = o.servers.map(parseServer);
  const where = places.map((p) => p.hostPort).join(", ");
  const user = o.user ?? places.find((p) => p.user !== undefined)?.user;
  const pass = o.password ?? places.find((p) => p.password !== undefined)?.password;
  let saidAtMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const nc = await connect({
        servers: places.map((p) => p.hostPort),
        name: o.name,
        ...(user === undefined ? {} : { user, pass: pass ?? "" }),
        ...(o.token === undefined ? {} : { token: o.token }),
        ...(places.some((p) => p.tls) ? { tls: {} } : {}),
        timeout: CONNECT_TIMEOUT_MS,
        maxReconnectAttempts: -1,
        ...dialPace(),
        ignoreAuthErrorAbort: true,
        // A server that hangs is given up after two unanswered pings.
        pingInterval: 1_000,
        maxPingOut: 2,
        noAsyncTraces: true,
      });
      if (signal?.aborted) {
        await nc.close();
        signal.throwIfAborted();
      }
      return nc;
    } catch (error) {
      signal?.throwIfAborted();
      if (performance.now() - saidAtMs >= SAY_AGAIN_MS) {
        saidAtMs = performance.now();
        o.log.warn(
          { code: "E_NATS_UNREACHABLE", servers: where, error: describe(error) },
          `NATS cannot be reached at ${where} (${describe(error)}); Baton keeps trying`,
        );
      }
      await pause(CONNECT_PAUSE_MS, signal);
    }
  }
}

interface ServerPlace {
  hostPort: string;
  user?: string;
  password?: string;
  tls: boolean;
}

function parseServer(text: string): ServerPlace {
  const url = URL.parse(text.includes("://") ? text : `nats://${text}`);
  if (!url || url.hostname === "" || !["nats:", "tls:"].includes(url.protocol)) {
    throw new BatonError("E_CONFIG_INVALID", {
      place: "nats.url",
      message: `${JSON.stringify(text)} is no NATS server.`,
      remedy: "Write nats://HOST:PORT or tls://HOST:PORT.",
    });
  }
  return {
    hostPort: `${url.hostname}:${url.port || "4222"}`,
    tls: url.protocol === "tls:",
    ...(url.username ? { user: decodeURIComponent(url.username) } : {}),
    ...(url.password ? { password: decodeURIComponent(url.password) } : {}),
  };
}

function isOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map((n) => Number.parseInt(n, 10) || 0);
  return major < OLDEST_SERVER[0] || (major === OLDEST_SERVER[0] && minor < OLDEST_SERVER[1]);
}

function refuseOldServer(nc: NatsConnection): void {
  const version = nc.info?.version ?? "0";
  if (!isOld(version)) return;
  throw new BatonError("E_NATS_TOO_OLD", {
    place: `nats-server at ${nc.getServer()}`,
    message: `its version is ${version}, and 2.11 or newer is needed: an older one ignores that a lock expires.`,
    remedy: "Upgrade nats-server.",
  });
}

async function refuseWithoutJetStream(nc: NatsConnection): Promise<void> {
  if (nc.info?.jetstream) return;
  // A server without JetStream may still reach one that has it, as a leaf node or a member of the cluster.
  try {
    await jetstreamManager(nc, { timeout: MANAGE_TIMEOUT_MS });
  } catch (cause) {
    throw new BatonError("E_NATS_NO_JETSTREAM", {
      place: `nats-server at ${nc.getServer()}`,
      message: `JetStream is not enabled (${describe(cause)}).`,
      remedy: "Start nats-server with a jetstream { store_dir: … } section, or with -js.",
      cause,
    });
  }
}

async function watchLink(nc: NatsConnection, o: BusOptions): Promise<Link> {
  const listeners = new Set<(connected: boolean) => void>();
  const metrics: BusMetrics = o.metrics ?? { count: () => {} };
  let connected = true;

  const set = (now: boolean): void => {
    if (connected === now) return;
    connected = now;
    for (const listener of [...listeners]) {
      try {
        listener(now);
      } catch (error) {
        o.log.error({ err: error }, `A listener to the connection's state failed: ${describe(error)}`);
      }
    }
  };
  // While a server refuses us the same error comes with each attempt, ten times a second.
  const saidAtMs = new Map<string, number>();
  const sayError = (message: string): void => {
    if (performance.now() - (saidAtMs.get(message) ?? Number.NEGATIVE_INFINITY) < SAY_AGAIN_MS) return;
    if (saidAtMs.size > 100) saidAtMs.clear();
    saidAtMs.set(message, performance.now());
    o.log.error({ error: message }, `NATS says: ${message}`);
  };
  let away: NodeJS.Timeout | undefined;
  void (async () => {
    for await (const status of nc.status()) {
      if (status.type === "disconnect" && connected) {
        o.log.warn({ server: status.server }, `NATS connection to ${status.server} lost; Baton reconnects`);
        const sinceMs = performance.now();
        away = setInterval(() => {
          const awayS = Math.round((performance.now() - sinceMs) / 1_000);
          o.log.warn({ awayS }, `NATS has been away for ${awayS} s; Baton keeps reconnecting`);
        }, STILL_AWAY_MS);
        away.unref();
        set(false);
      } else if (status.type === "reconnect") {
        clearInterval(away);
        o.log.info({ server: status.server }, `NATS connection is back, to ${status.server}`);
        metrics.count("reconnected", "nats");
        if (isOld(nc.info?.version ?? "0")) {
          o.log.error(
            { code: "E_NATS_TOO_OLD", version: nc.info?.version },
            `nats-server at ${status.server} is older than 2.11: locks do not expire there; upgrade it`,
          );
        }
        set(true);
      } else if (status.type === "error") {
        sayError(status.error.message);
      }
    }
    clearInterval(away);
    set(false);
  })();

  const admin = await jetstreamManager(nc, { timeout: MANAGE_TIMEOUT_MS, checkAPI: false });
  const jsm = await jetstreamManager(nc, { timeout: REQUEST_TIMEOUT_MS, checkAPI: false });
  return {
    nc,
    js: jetstream(nc, { timeout: REQUEST_TIMEOUT_MS }),
    jsm,
    admin,
    name: o.name,
    source: o.source,
    replicas: o.replicas,
    log: o.log,
    metrics,
    onStreamMissing: () => {},
    get connected() {
      return connected && !nc.isClosed();
    },
    onStatus(callback) {
      listeners.add(callback);
      return () => listeners.delete(callback);
    },
  };
}
