/** `Bus` of libs/bus for one process, over the model NATS. Schemas are not checked here: libs/bus does that. */
import {
  type Appended,
  type Bucket,
  type BucketValue,
  type Bus,
  BusConflict,
  type WatchOptions,
} from "@baton/bus";
import {
  type Alert,
  BatonError,
  BUCKETS,
  type BucketName,
  type CommandVerb,
  type Event,
  type Intent,
  type MessageDefinition,
  type ProbeRequest,
  type Sample,
  type Step,
} from "@baton/contracts";
import { NATS_HOST, type Nats, type Puller, type Stored, Unreachable } from "./nats.ts";
import type { Process } from "./process.ts";

/** Nobody reads it: drawing one for each sample would cost as much as judging it. */
const TRACE = "00-00000000000000000000000000000001-0000000000000001-01";
/** As libs/bus waits for JetStream. */
const DEADLINE_MS = 10_000;
/** A watch that was cut off reads everything anew within this time. */
const RESYNC_MS = 2_500;

/** What an incident listens to. */
export interface Ears {
  probe(process: Process, request: ProbeRequest): void;
  step(step: Step): void;
  event(event: Event): void;
  alert(alert: Alert): void;
  ordered(process: Process, intent: Intent, stored: boolean): void;
}

export interface SimulatedBus extends Bus {
  /** A sample from a prober. */
  sample(sample: Sample): void;
  /** A command from a person; rejects as libs/bus would. */
  ask(verb: CommandVerb, request: unknown): Promise<unknown>;
}

export function createBus(process: Process, nats: Nats, ears: Ears): SimulatedBus {
  const { network } = nats;
  const { timeline } = network;
  const samples: ((sample: Sample, meta: { traceparent: string }) => void)[] = [];
  const commands = new Map<CommandVerb, (request: never) => Promise<unknown>>();
  const cleanup: (() => void)[] = [];
  process.onDeath.push(() => {
    for (const end of cleanup) end();
  });

  async function ask<T>(what: string, carryOut: () => T, deadlineMs = DEADLINE_MS): Promise<T> {
    try {
      return await nats.ask(process, deadlineMs, carryOut);
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      throw new BatonError("E_NATS_UNREACHABLE", {
        place: what,
        message: error.message,
        remedy: "Wait until the fault is healed.",
      });
    }
  }

  function bucket<B extends BucketName>(name: B): Bucket<BucketValue<B>> {
    type Value = BucketValue<B>;
    const model = nats.bucket(name);
    return {
      get: (key) =>
        ask(`reading ${name} ${key}`, () => model.get(key) as { value: Value; revision: number } | null),
      create: (key, value) => ask(`writing ${name} ${key}`, () => model.put(key, value, 0)),
      update: (key, value, revision) => ask(`writing ${name} ${key}`, () => model.put(key, value, revision)),
      remove: (key, revision) => ask(`removing ${name} ${key}`, () => model.remove(key, revision)),
      put: (key, value) => ask(`writing ${name} ${key}`, () => model.put(key, value, null) as number),
      watch: (o) => watch(name, o as WatchOptions<unknown>),
    };
  }

  async function watch(name: BucketName, o: WatchOptions<unknown>): Promise<() => void> {
    const model = nats.bucket(name);
    const given = new Map<string, number>();
    const values = new Map<string, unknown>();
    let lastMs = 0;
    let behind = false;
    /** In order, as on one connection. */
    const later = (run: () => void): void => {
      lastMs = Math.max(lastMs, timeline.nowMs + network.delayMs());
      timeline.at(lastMs, process, run);
    };
    const tell = (key: string, stored: Stored | null, revision: number): void => {
      if ((given.get(key) ?? -1) >= revision) return;
      given.set(key, revision);
      if (stored === null) values.delete(key);
      else values.set(key, stored.value);
      later(() => o.onChange(key, stored === null ? null : stored.value, revision));
    };
    const resync = (): void => {
      behind = false;
      for (const key of model.keys()) tell(key, model.get(key), model.get(key)?.revision ?? 0);
      for (const [key, revision] of given) if (model.get(key) === null) tell(key, null, revision + 0.5);
    };
    /** As libs/bus's guard: it looks every 2.5 s, and a watch then reads everything anew, by the revisions that there are now. */
    const readAnew = (): void => {
      if (!nats.reaches(process)) {
        timeline.after(RESYNC_MS, process, readAnew);
        return;
      }
      for (const key of model.keys()) {
        const stored = model.get(key) as Stored;
        if (given.get(key) === stored.revision) continue;
        given.set(key, stored.revision);
        later(() => o.onChange(key, stored.value, stored.revision));
        values.set(key, stored.value);
      }
      const whenLost = BUCKETS[name].ttlS === null ? (o.whenLost ?? "remember") : "tell";
      for (const [key, revision] of given) {
        if (model.get(key) !== null) continue;
        given.delete(key);
        if (whenLost === "tell") later(() => o.onChange(key, null, revision));
        else if (whenLost === "put-back" && values.has(key))
          ask(`writing ${name} ${key}`, () => model.put(key, values.get(key), 0)).catch(() => undefined);
      }
    };
    const entry = {
      bucket: name,
      forgot: () => void timeline.after(network.random.between(0, RESYNC_MS), process, readAnew),
      changed: (key: string, stored: Stored | null, revision: number) => {
        if (behind) return;
        if (nats.reaches(process)) tell(key, stored, revision);
        else behind = true;
      },
    };
    const back = (): void => {
      if (behind)
        timeline.after(network.random.between(0, RESYNC_MS), null, () =>
          nats.reaches(process) ? resync() : undefined,
        );
    };
    await ask(`watching ${name}`, () => {
      model.watches.add(entry);
      nats.onBack.add(back);
      resync();
      later(() => o.onReady?.());
    });
    const stop = (): void => {
      model.watches.delete(entry);
      nats.onBack.delete(back);
    };
    cleanup.push(stop);
    return stop;
  }

  return {
    get connected() {
      return nats.reaches(process);
    },
    onStatus: () => () => undefined,
    ensure: async () => undefined,
    guard: () => () => undefined,
    onLoss: () => () => undefined,
    publish(message, payload) {
      process.emit(() => {
        if (message.type === "probe") ears.probe(process, payload as ProbeRequest);
      });
    },
    async append(message, payload, o = {}): Promise<Appended> {
      if (message.type !== "intent") {
        return ask(`appending ${message.type}`, () => {
          if (message.type === "step") ears.step(payload as Step);
          else if (message.type === "event") ears.event(payload as Event);
          else ears.alert(payload as Alert);
          return { sequence: 0, duplicate: false };
        });
      }
      const intent = payload as Intent;
      const expected = o.expectLastSubjectSequence;
      const stored = await ask(
        "appending an intent",
        () => {
          const found = nats.intents.append(intent, o.msgId ?? "", expected);
          if (found?.duplicate !== true) ears.ordered(process, intent, found !== null);
          return found;
        },
        o.deadlineMs,
      );
      if (stored === null)
        throw new BusConflict(`intent.${intent.cluster}`, expected ?? 0, "wrong last sequence");
      return { sequence: stored.seq, duplicate: stored.duplicate };
    },
    subscribe(message, _given, handler) {
      if (message.type === "sample") samples.push(handler as unknown as (typeof samples)[number]);
      if (message.type === "confirm") {
        const hear = handler as unknown as (question: unknown, meta: unknown) => void;
        nats.confirmers.set(process, (question, respond) => hear(question, { traceparent: TRACE, respond }));
        cleanup.push(() => nats.confirmers.delete(process));
      }
      return () => undefined;
    },
    request: (_message, question, _reply, o) =>
      new Promise((resolve) => {
        const answers: unknown[] = [];
        const end = () => resolve(answers as never);
        timeline.after(o.maxWaitMs, process, end);
        /** By way of NATS, if it can be reached from there. */
        const send = (from: Process, to: Process, run: () => void): void =>
          from.emit(() => {
            if (nats.reaches(from)) network.datagram(NATS_HOST, to.host, to, run);
          });
        for (const [decider, hear] of nats.confirmers)
          send(process, decider, () =>
            hear(question, (answer) =>
              send(decider, process, () => {
                answers.push(answer);
                if (answers.length >= (o.maxReplies ?? 1)) end();
              }),
            ),
          );
      }),
    async consume(_messages, o, handler) {
      const puller: Puller = {
        process,
        ackWaitMs: o.ackWaitMs,
        handle(intent, end) {
          const meta = { traceparent: null } as never;
          const control = { working: () => undefined, signal: new AbortController().signal };
          handler(undefined as never, intent as never, meta, control).then(
            () => end(true),
            () => end(false),
          );
        },
      };
      await ask("making the consumer", () => nats.intents.pull(puller));
      cleanup.push(() => nats.intents.leave(puller));
      return { stop: async () => nats.intents.leave(puller) };
    },
    bucket,
    lastSequence: (_message: MessageDefinition) => ask("reading the last sequence", () => nats.intents.last),
    async serve(verb, handler) {
      commands.set(verb, handler as never);
      return async () => undefined;
    },
    command: async () => {
      throw new Error("no process of the model gives commands");
    },
    announce: () => () => undefined,
    drain: async () => undefined,
    sample(sample) {
      for (const handler of samples)
        network.datagram(NATS_HOST, process.host, process, () => handler(sample, { traceparent: TRACE }));
    },
    async ask(verb, request) {
      const handler = commands.get(verb);
      if (handler === undefined) throw new Error(`nobody serves ${verb}`);
      return handler(request as never);
    },
  };
}
