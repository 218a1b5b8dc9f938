/**
 * A KV bucket with compare-and-set whose answer can be trusted. Written without `@nats-io/kv`: its `update` and
 * `put` drop the TTL, its reads may come from a follower, and its watch may sleep for a minute after the loss
 * of a server (FEASIBILITY.md §3, watch.ts). The layout in NATS is the same.
 */

import { BatonError, BUCKETS, type BucketName } from "@baton/contracts";
import type { StoredMsg } from "@nats-io/jetstream";
import { headers as newHeaders, nuid } from "@nats-io/transport-node";
import type { z } from "zod";
import type { Link } from "./link.ts";
import { DEADLINE_MS } from "./options.ts";
import { asBatonError, isWrongSequence, lastOn } from "./publish.ts";
import type { Rejects } from "./rejects.ts";
import { underDeadline } from "./retry.ts";
import { bucketStream } from "./streams.ts";
import { type Watching, watchSubjects } from "./watch.ts";

export type BucketValue<B extends BucketName> = z.infer<(typeof BUCKETS)[B]["schema"]>;

export interface WatchOptions<T> {
  /** Null: deleted or expired; of a bucket whose values are kept for ever also: lost by NATS, where `whenLost` says so. */
  onChange(key: string, value: T | null, revision: number): void;
  /**
   * What becomes of a value that NATS has lost (the key is gone, and nobody removed it). `remember`, the default: nothing is told, it goes on
   * being what it was. `put-back`: the same, and it is written again. `tell`: as if it were deleted.
   */
  whenLost?: "remember" | "put-back" | "tell";
  /** Once, when all values that were there at the start have been given. */
  onReady?(): void;
}

/**
 * All calls are retried under a deadline of 10 s, then throw BatonError E_NATS_UNREACHABLE: the outcome of a
 * write is then unknown. A value that breaks its schema is thrown as E_INTERNAL by `get`, skipped by `watch`.
 */
export interface Bucket<T> {
  get(key: string): Promise<{ value: T; revision: number } | null>;
  /** The revision; null when the key exists. */
  create(key: string, value: T): Promise<number | null>;
  /** Compare-and-set; null when `revision` is not the last. The bucket's TTL begins anew. Revision 0: as `create`. */
  update(key: string, value: T, revision: number): Promise<number | null>;
  /** Compare-and-delete; false when `revision` is not the last. */
  remove(key: string, revision: number): Promise<boolean>;
  /** Last writer wins: only for values that nobody races for. */
  put(key: string, value: T): Promise<number>;
  /** Initial values, then `onReady`, then changes, across lost connections and servers. Returns how to stop. */
  watch(o: WatchOptions<T>): Promise<() => void>;
}

const KEY = /^[-/=\w]+(\.[-/=\w]+)*$/;
const MESSAGE_ID = "Nats-Msg-Id";
/** The note that a key was removed need not stay in buckets whose keys come and go. */
const REMOVED_MARK_TTL = "60s";

export function openBucket<B extends BucketName>(
  link: Link,
  rejects: Rejects,
  bucket: B,
  /** Tells whoever guards the streams that this one is watched; returns how to forget it. */
  guarded: (stream: string, watching: Watching) => () => void,
): Bucket<BucketValue<B>> {
  const definition = BUCKETS[bucket];
  const stream = bucketStream(bucket);
  const prefix = `$KV.${bucket}.`;
  const ttl = definition.ttlS === null ? undefined : `${definition.ttlS}s`;
  const onRetry = (): void => link.metrics.count("retried", bucket);
  type Value = BucketValue<B>;

  const subjectOf = (key: string): string => {
    if (!KEY.test(key)) throw new TypeError(`${JSON.stringify(key)} is no key of ${bucket}`);
    return prefix + key;
  };
  const encode = (value: Value): Uint8Array => {
    const checked = definition.schema.safeParse(value);
    if (!checked.success)
      throw new TypeError(`Our own value for ${bucket} breaks its schema: ${checked.error.message}`);
    return new TextEncoder().encode(JSON.stringify(checked.data));
  };

  const readLast = (key: string): Promise<StoredMsg | null> => lastOn(link, stream, subjectOf(key));

  /** Resolves to the new revision, or null when the last revision is not the expected one. */
  async function write(
    key: string,
    body: Uint8Array,
    o: { expected?: number; remove?: boolean },
  ): Promise<number | null> {
    const subject = subjectOf(key);
    // The same id on each attempt, so that a write whose answer was lost is known again.
    const msgID = nuid.next();
    const hdrs = newHeaders();
    if (o.remove) hdrs.set("KV-Operation", "DEL");
    const keepFor = ttl && o.remove ? REMOVED_MARK_TTL : ttl;
    let answerLost = false;
    try {
      const ack = await underDeadline(
        `writing ${bucket} ${key}`,
        DEADLINE_MS,
        () =>
          link.js.publish(subject, body, {
            headers: hdrs,
            msgID,
            ...(o.expected === undefined ? {} : { expect: { lastSubjectSequence: o.expected } }),
            ...(keepFor === undefined ? {} : { ttl: keepFor }),
          }),
        () => {
          answerLost = true;
          onRetry();
        },
      );
      return ack.seq;
    } catch (error) {
      if (!isWrongSequence(error)) throw asBatonError(error, `writing ${bucket} ${key}`);
      if (!answerLost) return null;
      // JetStream looks at the expected revision before the id: the conflict may be our own write.
      const last = await readLast(key);
      return last?.header.get(MESSAGE_ID) === msgID ? last.seq : null;
    }
  }

  async function create(key: string, value: Value): Promise<number | null> {
    const body = encode(value);
    let expected = 0;
    // The key may have been removed, which leaves a mark with a revision of its own; and that may change.
    for (let attempt = 0; attempt < 5; attempt++) {
      const revision = await write(key, body, { expected });
      if (revision !== null) return revision;
      const last = await readLast(key);
      if (last && !isMark(last.header, last.data)) return null;
      expected = last?.seq ?? 0;
    }
    return null;
  }

  return {
    async get(key) {
      const last = await readLast(key);
      if (!last || isMark(last.header, last.data)) return null;
      const value = decode(definition.schema, last.data);
      if (typeof value === "string") {
        throw new BatonError("E_INTERNAL", {
          place: `${bucket} ${key} revision ${last.seq}`,
          message: `the stored value is malformed: ${value}.`,
          remedy: `Look at it with: nats kv get ${bucket} ${key}. Another version of Baton may have written it.`,
        });
      }
      return { value: value.value as Value, revision: last.seq };
    },
    create,
    update(key, value, revision) {
      return revision === 0 ? create(key, value) : write(key, encode(value), { expected: revision });
    },
    async remove(key, revision) {
      return (await write(key, new Uint8Array(), { expected: revision, remove: true })) !== null;
    },
    async put(key, value) {
      const revision = await write(key, encode(value), {});
      if (revision === null) throw new Error("unreachable: a put expects nothing");
      return revision;
    },
    async watch(o) {
      // Where nothing expires a removed key leaves a mark for ever: one that is gone without was lost.
      const whenLost = definition.ttlS === null ? (o.whenLost ?? "remember") : "tell";
      const last = new Map<string, Uint8Array>();
      const watching = await watchSubjects(link, stream, `${prefix}>`, {
        onMessage(subject, msg, revision) {
          const key = subject.slice(prefix.length);
          if (msg === null && whenLost !== "tell") {
            const body = last.get(key);
            if (whenLost === "put-back" && body !== undefined) putBack(key, body);
            return;
          }
          if (msg === null || isMark(msg.headers, msg.data)) {
            last.delete(key);
            o.onChange(key, null, revision);
            return;
          }
          const value = decode(definition.schema, msg.data);
          if (typeof value === "string") {
            rejects.reject(bucket, subject, { reason: "schema", detail: value, source: `bucket ${bucket}` });
            return;
          }
          if (whenLost === "put-back") last.set(key, msg.data);
          o.onChange(key, value.value as Value, revision);
        },
        onReady: () => o.onReady?.(),
      });
      const forget = guarded(stream, watching);
      return () => {
        forget();
        watching.stop();
      };
    },
  };

  /** Behind nothing: whatever has been written meanwhile is newer. */
  function putBack(key: string, body: Uint8Array): void {
    write(key, body, { expected: 0 }).then(
      (revision) =>
        revision !== null &&
        link.log.warn({ bucket, key, revision }, `${bucket} ${key}: NATS had lost it, it has been put back`),
      (error: unknown) =>
        link.log.error(
          { err: error, bucket, key },
          `${bucket} ${key}: NATS has lost it, and it could not be put back`,
        ),
    );
  }
}

/** A key that was removed by somebody, or by its TTL. */
function isMark(headers: { get(name: string): string } | undefined, data: Uint8Array): boolean {
  return data.length === 0 && Boolean(headers?.get("KV-Operation") || headers?.get("Nats-Marker-Reason"));
}

function decode<S extends z.ZodType>(schema: S, data: Uint8Array): { value: z.infer<S> } | string {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch {
    return "it is not JSON";
  }
  const checked = schema.safeParse(json);
  if (checked.success) return { value: checked.data };
  const issue = checked.error.issues[0];
  return `${issue?.path.map(String).join(".")}: ${issue?.message}`;
}
