/** The streams and buckets of libs/contracts, made or brought up to date. */

import { BatonError, BUCKETS, type BucketName, STREAMS } from "@baton/contracts";
import {
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import type { Link } from "./link.ts";
import { MAX_PAYLOAD_BYTES } from "./options.ts";
import { asBatonError } from "./publish.ts";
import { isPassing, underDeadline } from "./retry.ts";

const DUPLICATE_WINDOW_MS = 120_000;
/** How long the note that a key expired is kept; watchers that were away learn it by reading all keys anew. */
const EXPIRY_MARK_MS = 60_000;
const NAME_IN_USE = 10058;
const NOT_ENABLED_FOR_ACCOUNT = 10039;
const NO_STORAGE_LEFT = 10047;

type Wanted = Partial<StreamConfig> & { name: string; num_replicas: number };

/**
 * Idempotent; several services may do it at once. Throws BatonError E_NATS_UNREACHABLE when the cluster has
 * not let it happen within `deadlineMs` (as while fewer servers run than there should be replicas).
 */
export async function ensureStreams(link: Link, deadlineMs: number): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  for (const wanted of [...streamConfigs(link.replicas), ...bucketConfigs(link.replicas)]) {
    await underDeadline(
      `making the stream ${wanted.name}`,
      Math.max(0, endMs - performance.now()),
      () => ensureOne(link, wanted),
      () => link.metrics.count("retried", wanted.name),
    );
  }
}

export function streamNames(): string[] {
  return [...streamConfigs(1), ...bucketConfigs(1)].map((s) => s.name);
}

/**
 * A stream that vanished while Baton ran, if it is still missing. Its numbers begin where none that anybody remembers can be: an old revision
 * must not fit by chance.
 */
export async function remakeStream(link: Link, name: string): Promise<{ info: StreamInfo; made: boolean }> {
  const wanted = [...streamConfigs(link.replicas), ...bucketConfigs(link.replicas)].find(
    (s) => s.name === name,
  ) as Wanted;
  const made = (await foundConfig(link.admin, name)) === null;
  if (made) await create(link, { ...wanted, first_seq: Date.now() });
  return { info: await link.admin.streams.info(name), made };
}

function streamConfigs(replicas: number): Wanted[] {
  return Object.entries(STREAMS).map(([name, s]) => ({
    name,
    subjects: [...s.subjects],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.Old,
    max_age: nanos(s.maxAgeMs),
    max_bytes: s.maxBytes,
    max_msg_size: MAX_PAYLOAD_BYTES + 64 * 1024,
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
    num_replicas: replicas,
  }));
}

/** The layout of NATS's own KV, so that `nats kv` reads them. */
function bucketConfigs(replicas: number): Wanted[] {
  return (Object.keys(BUCKETS) as BucketName[]).map((bucket) => ({
    name: bucketStream(bucket),
    subjects: [`$KV.${bucket}.>`],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_msgs_per_subject: 1,
    max_msg_size: MAX_PAYLOAD_BYTES + 64 * 1024,
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
    allow_rollup_hdrs: true,
    // Reads go to the leader: a follower may not know yet what was just written.
    allow_direct: false,
    ...(BUCKETS[bucket].ttlS === null
      ? {}
      : { allow_msg_ttl: true, subject_delete_marker_ttl: nanos(EXPIRY_MARK_MS) }),
    num_replicas: replicas,
  }));
}

export function bucketStream(bucket: BucketName): string {
  return `KV_${bucket}`;
}

async function ensureOne(link: Link, wanted: Wanted): Promise<void> {
  const found = await foundConfig(link.admin, wanted.name);
  if (!found) {
    await create(link, wanted);
    return;
  }
  // An operator may have raised it by hand; services with an older file must not take it back.
  const config = { ...wanted, num_replicas: Math.max(wanted.num_replicas, found.num_replicas) };
  const differs = Object.entries(config).some(([key, value]) => {
    const there = found[key as keyof StreamConfig];
    return JSON.stringify(there ?? false) !== JSON.stringify(value);
  });
  if (!differs) return;
  try {
    await link.admin.streams.update(wanted.name, config);
    link.log.info({ stream: wanted.name }, `Stream ${wanted.name} brought up to date`);
  } catch (error) {
    if (!(error instanceof JetStreamApiError) || error.status === 503) throw error;
    link.log.warn(
      { stream: wanted.name, error: error.message },
      `Stream ${wanted.name} differs from what Baton wants and cannot be changed (${error.message}); Baton uses it as it is`,
    );
  }
}

async function foundConfig(admin: JetStreamManager, name: string): Promise<StreamConfig | null> {
  try {
    return (await admin.streams.info(name)).config;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) return null;
    throw refused(error, name);
  }
}

async function create(link: Link, wanted: Wanted): Promise<void> {
  try {
    await link.admin.streams.add(wanted);
    link.log.info({ stream: wanted.name, replicas: wanted.num_replicas }, `Stream ${wanted.name} made`);
  } catch (error) {
    // Another service made it in the same moment.
    if (error instanceof JetStreamApiError && error.code === NAME_IN_USE) return;
    throw refused(error, wanted.name);
  }
}

function refused(error: unknown, stream: string): unknown {
  if (!(error instanceof Error)) return error;
  const code =
    error instanceof JetStreamApiError ? error.code : (error.cause as JetStreamApiError | undefined)?.code;
  if (code === NOT_ENABLED_FOR_ACCOUNT) {
    return new BatonError("E_NATS_NO_JETSTREAM", {
      place: `stream ${stream}`,
      message: "JetStream is not enabled for Baton's NATS account.",
      remedy: "Enable it for the account in the nats-server configuration.",
      cause: error,
    });
  }
  if (code === NO_STORAGE_LEFT) {
    return new BatonError("E_DISK_FULL", {
      place: `stream ${stream}`,
      message: "NATS has no room for it.",
      remedy:
        "Give JetStream more storage: free its disk, or raise max_file_store in the nats-server configuration.",
      cause: error,
    });
  }
  return isPassing(error) ? error : asBatonError(error, `stream ${stream}`);
}
