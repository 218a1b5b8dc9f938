import { MESSAGES, type StreamName } from "@baton/contracts";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { buses } from "./buses.testkit.ts";
import { startNats, type TestNats, type TestServer, until } from "./nats-server.testkit.ts";
import { intentOf, lockOf } from "./payloads.testkit.ts";

let nats: TestNats;
const bus = buses(() => nats.urls, 3);

beforeAll(async () => {
  nats = await startNats({ servers: 3 });
}, 60_000);
afterEach(() => bus.drain(), 30_000);
afterAll(() => nats.stop());

async function leaderOf(stream: StreamName | "KV_baton_locks"): Promise<TestServer> {
  const nc = await connect({ servers: nats.urls });
  const jsm = await jetstreamManager(nc);
  let name: string | undefined;
  await until(async () => {
    name = (await jsm.streams.info(stream)).cluster?.leader;
    return name !== undefined && name !== "";
  });
  await nc.close();
  const server = nats.servers.find((s) => s.name === name);
  if (!server) throw new Error(`no leader of ${stream}`);
  return server;
}

test("several services make the streams at once, in three copies each", async () => {
  const all = await Promise.all([bus("a"), bus("b"), bus("c")]);
  await Promise.all(all.map((b) => b.ensure({ deadlineMs: 60_000 })));
  const nc = await connect({ servers: nats.urls });
  const jsm = await jetstreamManager(nc);
  for (const stream of [
    "BATON_INTENTS",
    "BATON_EVENTS",
    "BATON_ALERTS",
    "KV_baton_locks",
    "KV_baton_state",
  ]) {
    expect((await jsm.streams.info(stream)).config.num_replicas).toBe(3);
  }
  await nc.close();
}, 90_000);

test("the death of the locks' leader: renewals, watches, appends and consumers outlive it", async () => {
  const leader = await leaderOf("KV_baton_locks");
  const survivors = nats.urls.filter((u) => u !== leader.url);
  const b = await bus("b", survivors);
  await b.ensure({ deadlineMs: 60_000 });
  const locks = b.bucket("baton_locks");
  const seen: string[] = [];
  const consumed: number[] = [];
  await locks.watch({ onChange: (key, value) => void seen.push(`${key} ${value?.holder ?? "gone"}`) });
  const o = {
    stream: "BATON_INTENTS",
    durable: "d",
    ackWaitMs: 5_000,
    concurrency: 1,
    deliver: "new",
  } as const;
  await b.consume([MESSAGES.intent], o, async (_m, i) => void consumed.push(i.epoch));
  const created = (await locks.create("shop", lockOf("before"))) as number;
  expect(created).toBeGreaterThan(0);
  await b.append(MESSAGES.intent, intentOf({ epoch: 1 }));
  await until(() => consumed.includes(1));

  await leader.kill();
  const [renewed, appended] = await Promise.all([
    locks.update("shop", lockOf("after"), created),
    b.append(MESSAGES.intent, intentOf({ epoch: 2 }), { msgId: "shop.2", deadlineMs: 20_000 }),
  ]);
  expect(renewed).toBeGreaterThan(created);
  expect(appended.sequence).toBeGreaterThan(0);
  expect(await locks.get("shop")).toEqual({ value: lockOf("after"), revision: renewed });
  await until(() => seen.includes("shop after") && consumed.includes(2), 30_000);
  // The renewed lease is one: it still ends by itself.
  await until(() => seen.includes("shop gone"), 30_000, "the lease's end");
  await leader.start();
}, 120_000);

test("with a majority gone nothing is promised, and it works again when they are back", async () => {
  const [keep, ...others] = nats.servers as [TestServer, TestServer, TestServer];
  const b = await bus("b", [keep.url]);
  await b.ensure({ deadlineMs: 60_000 });
  await Promise.all(others.map((s) => s.kill()));
  await expect(
    b.append(MESSAGES.intent, intentOf({ epoch: 9 }), { deadlineMs: 1_000 }),
  ).rejects.toMatchObject({
    code: "E_NATS_UNREACHABLE",
  });
  await expect(b.ensure({ deadlineMs: 1_000 })).rejects.toMatchObject({ code: "E_NATS_UNREACHABLE" });
  await Promise.all(others.map((s) => s.start()));
  await b.ensure({ deadlineMs: 60_000 });
  const { sequence } = await b.append(MESSAGES.intent, intentOf({ cluster: "back" }), { deadlineMs: 30_000 });
  expect(await b.lastSequence(MESSAGES.intent, { cluster: "back" })).toBe(sequence);
}, 150_000);
