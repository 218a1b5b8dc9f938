/** What the bus is given: where NATS is, who speaks, and where to log and count. */

/** The part of a pino logger that the bus uses. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/**
 * What the bus counts. `rejected` is a message of others that breaks the contract; `dropped` is one of ours
 * that could not be sent; `failed` is one that our own handler threw on; `retried` is one more attempt to get
 * JetStream's answer.
 */
export type BusCount =
  | "published"
  | "received"
  | "rejected"
  | "dropped"
  | "failed"
  | "retried"
  | "reconnected";

export interface BusMetrics {
  /** `of` is the message's type, or the operation or bucket. */
  count(what: BusCount, of: string): void;
}

export interface BusOptions {
  /** `host:port`, `nats://host:port` or `tls://host:port`; credentials may stand in the URL. */
  servers: string[];
  /** The instance's name, seen in NATS's own connection list. */
  name: string;
  /** `ce-source` of every message, as `baton/prober/<instance>`. */
  source: string;
  user?: string | undefined;
  password?: string | undefined;
  token?: string | undefined;
  /** Copies of each stream and bucket; needs at least as many NATS servers with JetStream. */
  replicas: 1 | 3 | 5;
  log: Log;
  metrics?: BusMetrics | undefined;
}

/** A JetStream request without an answer is asked again after this long: the client's own 5 s would cost a failover. */
export const REQUEST_TIMEOUT_MS = 250;
/** How long an operation is retried; above the 4–7 s that a lost stream leader costs (FEASIBILITY.md §3). */
export const DEADLINE_MS = 10_000;
/** Creating a stream or a consumer in a cluster takes longer than a write. */
export const MANAGE_TIMEOUT_MS = 2_000;
/** Below nats-server's default of 1 MiB, with room for headers. */
export const MAX_PAYLOAD_BYTES = 768 * 1024;
