/**
 * A model NATS: buckets with compare-and-set, revisions and leases, one stream of intents with redelivery, core messages. Each
 * process sees it through its own `Bus` (bus.ts); here is what the servers keep.
 */
import type { Intent } from "@baton/contracts";
import type { Network } from "./network.ts";
import type { Process } from "./process.ts";

export const NATS_HOST = "nats";

export interface Stored {
  value: unknown;
  /** Of the bucket: it grows with each change of any key. */
  revision: number;
}

export interface Watch {
  readonly bucket: string;
  readonly changed: (key: string, stored: Stored | null, revision: number) => void;
  /** The bucket is not what it was. */
  readonly forgot?: () => void;
}

interface Lease {
  cancelled: boolean;
}

export class ModelBucket {
  readonly #nats: Nats;
  readonly #ttlMs: number | null;
  readonly #stored = new Map<string, Stored>();
  readonly #leases = new Map<string, Lease>();
  readonly watches = new Set<Watch>();
  #revision = 0;

  constructor(nats: Nats, ttlMs: number | null) {
    this.#nats = nats;
    this.#ttlMs = ttlMs;
  }

  /** Each write and removal, so that it can be set back. */
  readonly #writes: { atMs: number; key: string; stored: Stored | null; revision: number }[] = [];

  /** As it was then; `null`: a new one of the same name. Whoever watches finds out by reading anew. */
  setBack(toMs: number | null): void {
    const kept = toMs === null ? [] : this.#writes.filter((w) => w.atMs <= toMs);
    if (toMs !== null && kept.length === this.#writes.length) return;
    this.#writes.splice(0, this.#writes.length, ...kept);
    for (const lease of this.#leases.values()) lease.cancelled = true;
    this.#leases.clear();
    this.#stored.clear();
    this.#revision = kept.at(-1)?.revision ?? 0;
    for (const { key, stored } of kept)
      if (stored === null) this.#stored.delete(key);
      else this.#stored.set(key, stored);
    for (const [key, { revision }] of this.#stored) this.#lease(key, revision);
    for (const watch of this.watches) watch.forgot?.();
  }

  get(key: string): Stored | null {
    return this.#stored.get(key) ?? null;
  }

  keys(): IterableIterator<string> {
    return this.#stored.keys();
  }

  /** Null when `expected` is not the last revision; 0: the key must not exist; null: whatever is there. */
  put(key: string, value: unknown, expected: number | null): number | null {
    const found = this.#stored.get(key);
    if (expected !== null && (found?.revision ?? 0) !== expected) return null;
    const revision = ++this.#revision;
    this.#set(key, { value, revision }, revision);
    this.#lease(key, revision);
    return revision;
  }

  remove(key: string, expected: number): boolean {
    if (this.#stored.get(key)?.revision !== expected) return false;
    this.#set(key, null, ++this.#revision);
    return true;
  }

  #lease(key: string, revision: number): void {
    const before = this.#leases.get(key);
    if (before !== undefined) before.cancelled = true;
    if (this.#ttlMs === null) return;
    const lease = this.#nats.network.timeline.after(this.#ttlMs, null, () => {
      if (this.#stored.get(key)?.revision === revision) this.#set(key, null, ++this.#revision);
    });
    this.#leases.set(key, lease);
  }

  #set(key: string, stored: Stored | null, revision: number): void {
    if (stored === null) this.#stored.delete(key);
    else this.#stored.set(key, stored);
    this.#writes.push({ atMs: this.#nats.network.timeline.nowMs, key, stored, revision });
    for (const watch of this.watches) watch.changed(key, stored, revision);
  }
}

interface Message {
  seq: number;
  atMs: number;
  doneMs?: number;
  intent: Intent;
  delivered: number;
  state: "ready" | "leased" | "done";
  holder: Puller | null;
  /** Of this delivery: an answer to an older one counts for nothing. */
  delivery: number;
}

export interface Puller {
  readonly process: Process;
  readonly ackWaitMs: number;
  /** Runs it; tells how it ended. */
  handle(intent: Intent, end: (ok: boolean) => void): void;
}

/** Messages with one id within this time are stored once. */
const DUPLICATE_MS = 120_000;
const LONGEST_NAK_MS = 30_000;

export class IntentStream {
  readonly #nats: Nats;
  readonly #messages: Message[] = [];
  readonly #ids = new Map<string, { seq: number; atMs: number }>();
  readonly #pullers = new Set<Puller>();
  /** How often an answer gets lost, so that a message comes twice. */
  readonly #again: number;

  constructor(nats: Nats, again: number) {
    this.#nats = nats;
    this.#again = again;
  }

  get last(): number {
    return this.#messages.length;
  }

  get intents(): readonly Intent[] {
    return this.#messages.map((m) => m.intent);
  }

  /** The sequence, or null when `expected` is not the last. */
  append(
    intent: Intent,
    msgId: string,
    expected: number | undefined,
  ): { seq: number; duplicate: boolean } | null {
    const { nowMs } = this.#nats.network.timeline;
    // JetStream looks at the expected sequence first.
    if (expected !== undefined && expected !== this.last) {
      const own = this.#ids.get(msgId);
      return own !== undefined && own.seq === this.last ? { seq: own.seq, duplicate: true } : null;
    }
    const known = this.#ids.get(msgId);
    if (known !== undefined && nowMs - known.atMs < DUPLICATE_MS) return { seq: known.seq, duplicate: true };
    const seq = this.#messages.length + 1;
    this.#ids.set(msgId, { seq, atMs: nowMs });
    this.#messages.push({
      seq,
      atMs: nowMs,
      intent,
      delivered: 0,
      state: "ready",
      holder: null,
      delivery: 0,
    });
    this.dispatch();
    return { seq, duplicate: false };
  }

  /** As it was then: later messages are gone, and who was done since is given out again. */
  setBack(toMs: number): void {
    const gone = this.#messages.findIndex((m) => m.atMs > toMs);
    if (gone >= 0) this.#messages.splice(gone);
    for (const [id, { seq }] of this.#ids) if (seq > this.#messages.length) this.#ids.delete(id);
    for (const m of this.#messages) {
      if (m.state !== "done" || (m.doneMs ?? 0) <= toMs) continue;
      m.delivery++;
      this.#ready(m);
    }
  }

  pull(puller: Puller): void {
    this.#pullers.add(puller);
    this.dispatch();
  }

  leave(puller: Puller): void {
    this.#pullers.delete(puller);
  }

  /** Every message that is ready goes to somebody who can be reached, if there is anybody. */
  dispatch(): void {
    if (!this.#nats.up) return;
    const { network } = this.#nats;
    for (const message of this.#messages) {
      if (message.state !== "ready") continue;
      const able = [...this.#pullers].filter(
        (p) => !p.process.down && network.open(p.process.host, NATS_HOST),
      );
      if (able.length === 0) return;
      this.#deliver(message, network.random.pick(able));
    }
  }

  #deliver(message: Message, puller: Puller): void {
    const { network } = this.#nats;
    message.state = "leased";
    message.delivered++;
    message.holder = puller;
    const delivery = ++message.delivery;
    network.timeline.after(network.delayMs(), puller.process, () =>
      puller.handle(message.intent, (ok) =>
        // The answer goes back until it is taken.
        this.#nats
          .ask(puller.process, puller.ackWaitMs, () => this.#ended(message, delivery, ok))
          .catch(() => undefined),
      ),
    );
    this.#watchOver(message, delivery);
  }

  #ended(message: Message, delivery: number, ok: boolean): void {
    if (message.delivery !== delivery || message.state !== "leased") return;
    if (ok) {
      message.state = "done";
      message.doneMs = this.#nats.network.timeline.nowMs;
      if (!this.#nats.network.random.chance(this.#again)) return;
      // The acknowledgement was lost: it comes again.
      this.#nats.network.timeline.after(message.holder?.ackWaitMs ?? 0, null, () => this.#ready(message));
      return;
    }
    const againMs = Math.min(LONGEST_NAK_MS, 250 * 2 ** Math.min(message.delivered, 10));
    this.#nats.network.timeline.after(againMs, null, () => {
      if (message.delivery === delivery) this.#ready(message);
    });
  }

  #ready(message: Message): void {
    message.state = "ready";
    message.holder = null;
    this.dispatch();
  }

  /** A running handler's process says every third of ackWaitMs that it lives. */
  #watchOver(message: Message, delivery: number): void {
    const { timeline } = this.#nats.network;
    const waitMs = message.holder?.ackWaitMs ?? 0;
    let heardMs = timeline.nowMs;
    const look = (): void => {
      if (message.delivery !== delivery || message.state !== "leased") return;
      const p = message.holder?.process;
      if (p?.up === true && this.#nats.reaches(p)) heardMs = timeline.nowMs;
      if (timeline.nowMs - heardMs >= waitMs - 1 && this.#nats.up) this.#ready(message);
      else timeline.after(waitMs / 3, null, look);
    };
    timeline.after(waitMs / 3, null, look);
  }
}

/** A request without an answer is asked again after so long. */
const RETRY_MS = 250;

export class Unreachable extends Error {}

export class Nats {
  readonly network: Network;
  readonly buckets = new Map<string, ModelBucket>();
  readonly intents: IntentStream;
  up = true;
  /** Told when it can be reached again. */
  readonly onBack = new Set<() => void>();

  constructor(network: Network, o: { ttlMs: Readonly<Record<string, number | null>>; again: number }) {
    this.network = network;
    this.intents = new IntentStream(this, o.again);
    for (const [name, ttlMs] of Object.entries(o.ttlMs)) this.buckets.set(name, new ModelBucket(this, ttlMs));
  }

  bucket(name: string): ModelBucket {
    const bucket = this.buckets.get(name);
    if (bucket === undefined) throw new Error(`the model NATS has no bucket ${name}`);
    return bucket;
  }

  /** Who hears the question of an executor, and answers it or not. */
  readonly confirmers = new Map<Process, (question: unknown, respond: (answer: unknown) => void) => void>();

  reaches(process: Process): boolean {
    return this.up && this.network.open(process.host, NATS_HOST);
  }

  /** Its servers come back with what they had then. What is declared was declared long before. */
  setBack(toMs: number): void {
    for (const [name, bucket] of this.buckets) if (name !== "baton_clusters") bucket.setBack(toMs);
    this.intents.setBack(toMs);
  }

  remake(name: string): void {
    this.bucket(name).setBack(null);
  }

  stall(): void {
    this.up = false;
  }

  back(): void {
    this.up = true;
    this.reachable();
  }

  /** A cut was healed: whoever was behind may catch up. */
  reachable(): void {
    this.intents.dispatch();
    for (const tell of this.onBack) tell();
  }

  /**
   * A request with an answer, asked again until `deadlineMs` is over; then it rejects, and whether it was carried out is
   * unknown. It is carried out once only, as by its message id.
   */
  ask<T>(process: Process, deadlineMs: number, carryOut: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const { network } = this;
      const { timeline } = network;
      const untilMs = timeline.nowMs + deadlineMs;
      let done: { value: T } | { error: unknown } | null = null;
      let over = false;
      let again: { cancelled: boolean } | null = null;
      const attempt = (): void => {
        if (over) return;
        if (timeline.nowMs >= untilMs) {
          over = true;
          reject(new Unreachable(`NATS has not answered within ${deadlineMs} ms`));
          return;
        }
        again = timeline.after(RETRY_MS, process, attempt);
        process.emit(send);
      };
      const send = (): void => {
        if (!this.reaches(process) || network.lost()) return;
        timeline.after(network.delayMs(), null, () => {
          if (!this.up) return;
          if (done === null) {
            try {
              done = { value: carryOut() };
            } catch (error) {
              done = { error };
            }
          }
          const answer = done;
          if (network.cutSince(NATS_HOST, process.host) !== null || network.lost()) return;
          timeline.after(network.delayMs(), process, () => {
            if (over) return;
            over = true;
            if (again !== null) again.cancelled = true;
            if ("value" in answer) resolve(answer.value);
            else reject(answer.error);
          });
        });
      };
      attempt();
    });
  }
}
