import { MESSAGES, OperationKind } from "@baton/contracts";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { buses, type TestBus } from "./buses.testkit.ts";
import { LeftForLater, LeftToAnother } from "./consume.ts";
import { startNats, type TestNats, until } from "./nats-server.testkit.ts";
import { intentOf } from "./payloads.testkit.ts";

let nats: TestNats;
let stranger: NatsConnection;
const bus = buses(() => nats.urls);
let number = 0;

beforeAll(async () => {
  nats = await startNats();
  stranger = await connect({ servers: nats.urls });
  await (await bus("first")).ensure();
}, 30_000);
afterEach(() => bus.drain());
afterAll(async () => {
  await stranger.close();
  await nats.stop();
});

/** A cluster and a durable of its own for each test; the durable begins with what comes. */
function fresh(concurrency = 1, ackWaitMs = 5_000) {
  number += 1;
  const cluster = `c${number}`;
  const o = {
    stream: "BATON_INTENTS",
    durable: `d${number}`,
    ackWaitMs,
    concurrency,
    deliver: "new",
  } as const;
  return { cluster, o };
}

const append = (b: TestBus, cluster: string, epoch = 1) =>
  b.append(MESSAGES.intent, intentOf({ cluster, epoch }), { msgId: `${cluster}.${epoch}` });

async function unacked(durable: string): Promise<{ pending: number; unacked: number }> {
  const info = await (await jetstreamManager(stranger)).consumers.info("BATON_INTENTS", durable);
  return { pending: info.num_pending, unacked: info.num_ack_pending };
}

test("each message is handed over once, with its place in the stream, and acknowledged", async () => {
  const b = await bus("b");
  const { cluster, o } = fresh();
  const got: [number, number | null, boolean][] = [];
  await b.consume([MESSAGES.intent], o, async (_m, intent, meta) => {
    got.push([intent.epoch, meta.streamSequence, meta.redelivered]);
  });
  const sequences: number[] = [];
  for (const epoch of [1, 2, 3]) sequences.push((await append(b, cluster, epoch)).sequence);
  await until(() => got.length === 3);
  expect(got).toEqual([
    [1, sequences[0], false],
    [2, sequences[1], false],
    [3, sequences[2], false],
  ]);
  await until(async () => (await unacked(o.durable)).unacked === 0);
});

test("a handler that throws gets the message again, later", async () => {
  const b = await bus("b");
  const { cluster, o } = fresh();
  const redelivered: boolean[] = [];
  await b.consume([MESSAGES.intent], o, async (_m, _intent, meta) => {
    redelivered.push(meta.redelivered);
    if (redelivered.length < 3) throw new Error("not yet");
  });
  await append(b, cluster);
  await until(() => redelivered.length === 3);
  expect(redelivered).toEqual([false, true, true]);
  expect(b.counts["failed intent"]).toBe(2);
  expect(b.lines.filter((l) => l.message.includes("not yet"))[0]?.message).toMatch(/tried again in 500 ms/);
  await until(async () => (await unacked(o.durable)).unacked === 0);
});

test("a handler that leaves its message to another takes it from nobody, and it comes again when nobody has it", async () => {
  const [a, b] = [await bus("a"), await bus("b")];
  const { cluster, o } = fresh(1, 600);
  const seen: string[] = [];
  let leave = (): void => {};
  const asleep = await a.consume([MESSAGES.intent], o, async () => {
    seen.push("a");
    await new Promise<void>((done) => (leave = done));
    throw new LeftToAnother("it slept");
  });
  await append(a, cluster);
  await until(() => seen.length === 1);
  const stopping = asleep.stop();
  leave();
  await stopping;
  expect((await unacked(o.durable)).unacked).toBe(1);
  await b.consume([MESSAGES.intent], o, async () => void seen.push("b"));
  await until(() => seen.length === 2);
  expect(seen).toEqual(["a", "b"]);
  await until(async () => (await unacked(o.durable)).unacked === 0);
  expect(a.counts["failed intent"]).toBeUndefined();
});

test("a handler that works three times longer than the ack wait keeps its message", async () => {
  const [a, b] = [await bus("a"), await bus("b")];
  const { cluster, o } = fresh(1, 600);
  let calls = 0;
  let ended = false;
  const handler = async () => {
    calls += 1;
    await new Promise((done) => setTimeout(done, 1_800));
    ended = true;
  };
  await a.consume([MESSAGES.intent], o, handler);
  await b.consume([MESSAGES.intent], o, handler);
  await append(a, cluster);
  await until(() => ended);
  await until(async () => (await unacked(o.durable)).unacked === 0);
  expect(calls).toBe(1);
});

test("one that dies loses its message to another", async () => {
  const [dies, lives] = [await bus("dies"), await bus("lives")];
  const { cluster, o } = fresh(1, 600);
  let begun = false;
  await dies.consume([MESSAGES.intent], o, async () => {
    begun = true;
    await new Promise(() => {});
  });
  await append(lives, cluster);
  await until(() => begun);
  const got: boolean[] = [];
  await lives.consume([MESSAGES.intent], o, async (_m, _i, meta) => void got.push(meta.redelivered));
  // A process that has gone: its connection ends and nothing is acknowledged.
  const dead = dies.drain();
  await until(() => got.length === 1);
  expect(got).toEqual([true]);
  await dead;
}, 20_000);

test("never more at a time than its concurrency, and not one waits where a hand is free", async () => {
  const [a, b] = [await bus("a"), await bus("b")];
  const { cluster, o } = fresh(2);
  const release: (() => void)[] = [];
  const at: Record<string, number> = { a: 0, b: 0 };
  const handler = (name: string) => async () => {
    at[name] = (at[name] ?? 0) + 1;
    await new Promise<void>((done) => release.push(done));
    at[name] -= 1;
  };
  await a.consume([MESSAGES.intent], o, handler("a"));
  await b.consume([MESSAGES.intent], o, handler("b"));
  for (let epoch = 1; epoch <= 6; epoch++) await append(a, cluster, epoch);
  await until(() => at.a === 2 && at.b === 2);
  expect(await unacked(o.durable)).toEqual({ pending: 2, unacked: 4 });
  for (const done of release.splice(0)) done();
  await until(() => release.length === 2);
  for (const done of release.splice(0)) done();
  await until(async () => (await unacked(o.durable)).unacked === 0);
});

test("a malformed message is counted, said and taken away for good", async () => {
  const b = await bus("b");
  const { cluster, o } = fresh();
  const got: number[] = [];
  await b.consume([MESSAGES.intent], o, async (_m, intent) => void got.push(intent.epoch));
  const bad = headers();
  bad.set("ce-source", "stranger");
  stranger.publish(`baton.v1.intent.${cluster}`, "{", { headers: bad });
  stranger.publish(`baton.v1.intent.${cluster}`, "{}");
  await stranger.flush();
  await append(b, cluster, 7);
  await until(() => got.length === 1);
  expect(got).toEqual([7]);
  expect(b.counts["rejected intent"]).toBe(2);
  await until(async () => (await unacked(o.durable)).unacked === 0);
});

/** As a later version appends it, whose words this one does not know. */
function appendLater(cluster: string, o: Record<string, unknown>): void {
  const all = headers();
  const event = { "ce-specversion": "1.0", "ce-id": "1", "ce-source": "later", "ce-type": "baton.v1.intent" };
  for (const [k, v] of Object.entries({ ...event, "ce-time": new Date().toISOString() })) all.set(k, v);
  const body = JSON.stringify({ ...intentOf({ cluster }), ...o });
  stranger.publish(`baton.v1.intent.${cluster}`, body, { headers: all });
}

/** A version that knows one kind of intent more. */
const LATER_INTENT = {
  ...MESSAGES.intent,
  schema: MESSAGES.intent.schema.extend({ kind: z.enum([...OperationKind.options, "members"]) }),
} as unknown as typeof MESSAGES.intent;

test("an intent of an unknown kind is said once, holds nobody up, and goes to one who knows it", async () => {
  const [old, later] = [await bus("old"), await bus("later")];
  const { cluster, o } = fresh();
  const byOld: string[] = [];
  const byLater: string[] = [];
  await old.consume([MESSAGES.intent], o, async (_m, intent) => void byOld.push(intent.kind));
  appendLater(cluster, { kind: "members" });
  await until(() => old.lines.some(({ message }) => message.includes("is left to whoever can handle it")));
  await append(old, cluster, 7);
  await until(() => byOld.length === 1);
  // It has come to the old one again by now, or does so while the new one is made.
  await later.consume([LATER_INTENT], o, async (_m, intent) => void byLater.push(intent.kind));
  await until(() => byLater.length === 1);
  await until(async () => (await unacked(o.durable)).unacked === 0);
  expect([byOld, byLater]).toEqual([["failover"], ["members"]]);
  expect(old.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
  expect(old.counts["rejected intent"]).toBeUndefined();
});

test("what is wrong beside its words is malformed, whoever reads it", async () => {
  const b = await bus("b");
  const { cluster, o } = fresh();
  await b.consume([MESSAGES.intent], o, async () => {});
  appendLater(cluster, { kind: "members", epoch: "one" });
  appendLater(cluster, { kind: 7 });
  await until(() => b.counts["rejected intent"] === 2);
  await until(async () => (await unacked(o.durable)).unacked === 0);
});

test("what a handler leaves for later comes again, and is taken away when nobody can handle it for long", async () => {
  const b = await bus("b");
  const { cluster, o } = fresh();
  let calls = 0;
  await b.consume([MESSAGES.intent], { ...o, laterDeliveries: 3 }, async (_m, intent) => {
    calls += 1;
    throw new LeftForLater(`${intent.cluster} is not declared`);
  });
  await append(b, cluster);
  await until(() => b.counts["rejected intent"] === 1);
  await until(async () => (await unacked(o.durable)).unacked === 0);
  expect(calls).toBe(3);
  expect(b.lines.filter(({ level }) => level === "warn").map(({ message }) => message)).toEqual([
    expect.stringMatching(/is left to whoever can handle it.*is not declared/),
    expect.stringMatching(/is dropped.*is not declared/),
  ]);
});

test("a consumer that somebody deletes is made again", async () => {
  const b = await bus("b");
  const { cluster, o } = fresh();
  const got: number[] = [];
  await b.consume([MESSAGES.intent], { ...o, deliver: "all" }, async (_m, intent) => {
    if (intent.cluster === cluster) got.push(intent.epoch);
  });
  await append(b, cluster, 1);
  await until(() => got.length === 1);
  await (await jetstreamManager(stranger)).consumers.delete("BATON_INTENTS", o.durable);
  await append(b, cluster, 2);
  await until(() => got.includes(2));
});

test("stop waits for the handler, and what was not begun is left to others", async () => {
  const b = await bus("b");
  const { cluster, o } = fresh();
  let begun = false;
  let ended = false;
  let finish = (): void => {};
  const consumer = await b.consume([MESSAGES.intent], o, async () => {
    begun = true;
    await new Promise<void>((done) => (finish = done));
    ended = true;
  });
  await append(b, cluster, 1);
  await append(b, cluster, 2);
  await until(() => begun);
  const stopping = consumer.stop();
  finish();
  await stopping;
  expect(ended).toBe(true);
  expect(await unacked(o.durable)).toEqual({ pending: 1, unacked: 0 });
});

test("stop tells a handler that does not end, and gives its message back at once", async () => {
  const [a, b] = [await bus("a"), await bus("b")];
  const { cluster, o } = fresh(1, 60_000);
  let begun = false;
  const consumer = await a.consume([MESSAGES.intent], o, async (_m, _i, _meta, { signal }) => {
    begun = true;
    await new Promise((_done, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  await append(a, cluster);
  await until(() => begun);
  await consumer.stop({ graceMs: 10 });
  let redelivered = false;
  await b.consume([MESSAGES.intent], o, async (_m, _i, meta) => {
    redelivered = meta.redelivered;
  });
  await until(() => redelivered);
});
