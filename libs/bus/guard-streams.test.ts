/** What Baton made in NATS vanishes while services run. */
import { MESSAGES } from "@baton/contracts";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { buses, type TestBus } from "./buses.testkit.ts";
import type { Loss } from "./guard-streams.ts";
import { startNats, type TestNats, until } from "./nats-server.testkit.ts";
import { intentOf, lockOf } from "./payloads.testkit.ts";

let nats: TestNats;
let person: NatsConnection;
let jsm: JetStreamManager;
const bus = buses(() => nats.urls);

beforeAll(async () => {
  nats = await startNats();
  person = await connect({ servers: nats.urls });
  jsm = await jetstreamManager(person);
  await (await bus("first")).ensure();
}, 30_000);
afterEach(() => bus.drain());
afterAll(async () => {
  await person.close();
  await nats.stop();
});

async function service(name: string): Promise<{ b: TestBus; losses: Loss[] }> {
  const b = await bus(name);
  b.guard();
  const losses: Loss[] = [];
  b.onLoss((loss) => losses.push(loss));
  // The first look has been made.
  await new Promise((resolve) => setTimeout(resolve, 300));
  return { b, losses };
}

const pause = (reason: string) => ({
  paused: true,
  by: "p",
  reason,
  sinceUnixMs: 1,
  acknowledgedUnixMs: 1,
});

test.each([
  ["is deleted", () => jsm.streams.delete("KV_baton_brakes"), "missing"],
  ["is emptied", () => jsm.streams.purge("KV_baton_brakes"), "emptied"],
])("a bucket that %s is told of, and what is remembered is put back", async (_, hurt, how) => {
  const { b, losses } = await service("keeper");
  const brakes = b.bucket("baton_brakes");
  const found = await brakes.get("shop");
  await brakes.update("shop", pause("stays"), found?.revision ?? 0);
  const gone = (await brakes.create("other", pause("goes"))) as number;
  const seen: string[] = [];
  const watch = (whenLost: "put-back" | "remember") =>
    brakes.watch({
      whenLost,
      onChange: (key, value) => void seen.push(`${whenLost} ${key} ${value?.reason ?? "gone"}`),
    });
  await watch("put-back");
  await watch("remember");
  await until(() => seen.length >= 4);
  await brakes.remove("other", gone);
  await until(() => seen.filter((s) => s.endsWith("gone")).length === 2);
  seen.length = 0;

  await hurt();
  await until(() => losses.some((l) => l.stream === "KV_baton_brakes" && l.how === how), 8_000);
  await until(() => seen.length >= 2, 8_000);
  // Put back, and to nobody was it ever gone; what a person removed stays so.
  expect([...new Set(seen)].sort()).toEqual(["put-back shop stays", "remember shop stays"]);
  expect((await brakes.get("shop"))?.value.reason).toBe("stays");
  expect(await brakes.get("other")).toBeNull();
});

test("a bucket that nobody watches is made again, with numbers that no old revision fits", async () => {
  const { b } = await service("locker");
  const locks = b.bucket("baton_locks");
  const old = (await locks.create("shop", lockOf("a"))) as number;
  await jsm.streams.delete("KV_baton_locks");
  const made = await locks.create("shop", lockOf("b"));
  expect(made).toBeGreaterThan(old + 1_000_000);
  expect(await locks.update("shop", lockOf("a"), old)).toBeNull();
});

test("where it matters, a key that is lost is told as gone", async () => {
  const { b } = await service("teller");
  const vouch = b.bucket("baton_vouch");
  const entry = { cluster: "c", node: "n", serverUuid: "u", startedUnixS: 1, held: "" };
  await vouch.put("c.n", entry);
  const seen: (object | null)[] = [];
  await vouch.watch({ whenLost: "tell", onChange: (_, value) => void seen.push(value) });
  await until(() => seen.length === 1);
  await jsm.streams.delete("KV_baton_vouch");
  await until(() => seen.length === 2, 8_000);
  expect(seen[1]).toBeNull();
});

test("a stream that is deleted has its consumer back, and what is appended then is handed over", async () => {
  const { b, losses } = await service("executor");
  const taken: string[] = [];
  const o = { stream: "BATON_INTENTS", durable: "d", ackWaitMs: 5_000, concurrency: 1 } as const;
  await b.consume([MESSAGES.intent], o, async (_, intent) => void taken.push(intent.cluster));
  await jsm.streams.delete("BATON_INTENTS");
  await b.append(MESSAGES.intent, intentOf({ cluster: "again" }), { msgId: "again" });
  await until(() => taken.includes("again"), 8_000);
  expect(losses).toContainEqual({ stream: "BATON_INTENTS", how: "missing" });
});
