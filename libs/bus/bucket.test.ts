import type { BucketName } from "@baton/contracts";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { buses } from "./buses.testkit.ts";
import { startRelay } from "./link-break.testkit.ts";
import { startNats, type TestNats, until } from "./nats-server.testkit.ts";
import { lockOf } from "./payloads.testkit.ts";

let nats: TestNats;
let watcher: NatsConnection;
const bus = buses(() => nats.urls);

beforeAll(async () => {
  nats = await startNats();
  watcher = await connect({ servers: nats.urls });
  await (await bus("first")).ensure();
}, 30_000);
afterEach(() => bus.drain());
afterAll(async () => {
  await watcher.close();
  await nats.stop();
});

/** The TTL header of the last message of a key, as the server stored it. */
async function storedTtl(bucket: BucketName, key: string): Promise<string> {
  const jsm = await jetstreamManager(watcher);
  const last = await jsm.streams.getMessage(`KV_${bucket}`, { last_by_subj: `$KV.${bucket}.${key}` });
  return last?.header.get("Nats-TTL") ?? "";
}

test("create, get, update, remove; each by revision", async () => {
  const locks = (await bus("a")).bucket("baton_locks");
  expect(await locks.get("shop")).toBeNull();
  const created = await locks.create("shop", lockOf("a"));
  expect(created).toBeGreaterThan(0);
  expect(await locks.create("shop", lockOf("b"))).toBeNull();
  expect(await locks.get("shop")).toEqual({ value: lockOf("a"), revision: created });

  expect(await locks.update("shop", lockOf("b"), (created as number) + 7)).toBeNull();
  const updated = await locks.update("shop", lockOf("b"), created as number);
  expect(updated).toBeGreaterThan(created as number);
  expect(await locks.remove("shop", created as number)).toBe(false);
  expect(await locks.remove("shop", updated as number)).toBe(true);
  expect(await locks.get("shop")).toBeNull();
  // The mark that the removal left is in nobody's way.
  expect(await locks.create("shop", lockOf("c"))).toBeGreaterThan(updated as number);
});

test("a renewal keeps the TTL, and so does every other write to a bucket with one", async () => {
  const b = await bus("a");
  const locks = b.bucket("baton_locks");
  const revision = (await locks.create("ttl", lockOf("a"))) as number;
  expect(await storedTtl("baton_locks", "ttl")).toBe("15s");
  expect(await locks.update("ttl", lockOf("a"), revision)).toBeGreaterThan(revision);
  expect(await storedTtl("baton_locks", "ttl")).toBe("15s");
  await locks.put("ttl", lockOf("a"));
  expect(await storedTtl("baton_locks", "ttl")).toBe("15s");
});

test("ten who create at once: exactly one has the lock; ten who renew one revision: exactly one", async () => {
  const all = await Promise.all(Array.from({ length: 10 }, (_, i) => bus(`racer-${i}`)));
  const created = await Promise.all(
    all.map((b, i) => b.bucket("baton_locks").create("race", lockOf(`racer-${i}`))),
  );
  const won = created.filter((r) => r !== null);
  expect(won).toHaveLength(1);
  const renewed = await Promise.all(
    all.map((b, i) => b.bucket("baton_locks").update("race", lockOf(`racer-${i}`), won[0] as number)),
  );
  expect(renewed.filter((r) => r !== null)).toHaveLength(1);
});

test("an expired lock is gone, its watcher is told, and it can be had again", async () => {
  const b = await bus("a");
  const locks = b.bucket("baton_locks");
  const changes: [string, string | null][] = [];
  await locks.watch({ onChange: (key, value) => void changes.push([key, value?.holder ?? null]) });
  const revision = (await locks.create("expires", lockOf("a"))) as number;
  await until(() => changes.some(([k, v]) => k === "expires" && v === "a"));
  // Made shorter behind the bus's back, so that the test need not take 15 s.
  const { jetstream } = await import("@nats-io/jetstream");
  await jetstream(watcher).publish("$KV.baton_locks.expires", JSON.stringify(lockOf("a")), {
    ttl: "1s",
    expect: { lastSubjectSequence: revision },
  });
  await until(() => changes.some(([k, v]) => k === "expires" && v === null));
  expect(await locks.get("expires")).toBeNull();
  expect(await locks.create("expires", lockOf("b"))).toBeGreaterThan(revision);
});

test("a lost answer is not a lost race: create", async () => {
  const relay = await startRelay(nats.urls[0] as string);
  const b = await bus("a", [relay.url]);
  const locks = b.bucket("baton_locks");
  await locks.get("anything");
  relay.holdAnswers();
  const creating = locks.create("lost-create", lockOf("a"));
  await until(() => (b.counts["retried baton_locks"] ?? 0) >= 1);
  relay.releaseAnswers();
  const revision = await creating;
  expect(revision).not.toBeNull();
  expect(await locks.get("lost-create")).toEqual({ value: lockOf("a"), revision });
  await relay.stop();
});

test("a lost answer is not a lost race: update; and a race that was lost meanwhile is", async () => {
  const relay = await startRelay(nats.urls[0] as string);
  const [a, other] = [await bus("a", [relay.url]), (await bus("b")).bucket("baton_locks")];
  const locks = a.bucket("baton_locks");
  const first = (await locks.create("lost-update", lockOf("a"))) as number;
  relay.holdAnswers();
  const updating = locks.update("lost-update", lockOf("a"), first);
  await until(() => (a.counts["retried baton_locks"] ?? 0) >= 1);
  relay.releaseAnswers();
  const second = await updating;
  expect(second).toBeGreaterThan(first);

  // The same bytes, written by another: not ours.
  relay.holdAnswers();
  const before = a.counts["retried baton_locks"] ?? 0;
  const theirs = await other.update("lost-update", lockOf("a"), second as number);
  expect(theirs).not.toBeNull();
  const losing = locks.update("lost-update", lockOf("a"), second as number);
  await until(() => (a.counts["retried baton_locks"] ?? 0) > before);
  relay.releaseAnswers();
  expect(await losing).toBeNull();
  await relay.stop();
});

test("a watch gives what is there, then says so, then what changes", async () => {
  const b = await bus("a");
  const vouch = b.bucket("baton_vouch");
  const of = (node: string, held: string) => ({
    cluster: "shop",
    node,
    serverUuid: "u",
    startedUnixS: 1,
    held,
  });
  await vouch.put("shop.n1", of("n1", "a:1"));
  await vouch.put("shop.n2", of("n2", "a:1"));
  const seen: string[] = [];
  const stop = await vouch.watch({
    onChange: (key, value, revision) => void seen.push(`${key} ${value?.held ?? "gone"} ${revision > 0}`),
    onReady: () => void seen.push("ready"),
  });
  await until(() => seen.includes("ready"));
  expect(seen.slice(0, 3).sort()).toEqual(["ready", "shop.n1 a:1 true", "shop.n2 a:1 true"]);
  expect(seen[2]).toBe("ready");
  const revision = await vouch.put("shop.n1", of("n1", "a:1-2"));
  await until(() => seen.includes("shop.n1 a:1-2 true"));
  expect(await vouch.remove("shop.n1", revision)).toBe(true);
  await until(() => seen.includes("shop.n1 gone true"));
  stop();
  await vouch.put("shop.n2", of("n2", "a:1-3"));
  expect(seen.some((s) => s.includes("a:1-3"))).toBe(false);
});

test("a watch of an empty bucket is ready at once", async () => {
  const b = await bus("a");
  let ready = false;
  await b.bucket("baton_clusters").watch({ onChange: () => {}, onReady: () => (ready = true) });
  await until(() => ready);
});

test("what came, changed and went while the watcher was cut off is told when it is back", async () => {
  const relay = await startRelay(nats.urls[0] as string);
  const [cutOff, free] = [await bus("cut-off", [relay.url]), await bus("free")];
  const vouch = free.bucket("baton_vouch");
  const of = (held: string) => ({ cluster: "cut", node: "n", serverUuid: "u", startedUnixS: 1, held });
  const going = await vouch.put("cut.going", of("a:1"));
  await vouch.put("cut.changing", of("a:1"));
  await vouch.put("cut.staying", of("a:1"));
  const seen: string[] = [];
  await cutOff.bucket("baton_vouch").watch({
    whenLost: "tell",
    onChange: (key, value) => void seen.push(`${key} ${value?.held ?? "gone"}`),
  });
  await until(() => seen.filter((s) => s.startsWith("cut.")).length === 3);
  seen.length = 0;

  relay.holdAnswers();
  relay.cut();
  await until(() => !cutOff.connected);
  await vouch.remove("cut.going", going);
  await vouch.put("cut.changing", of("a:1-9"));
  await vouch.put("cut.coming", of("a:1"));
  // Even the mark of what went is gone: only reading anew can tell.
  const jsm = await jetstreamManager(watcher);
  await jsm.streams.purge("KV_baton_vouch", { filter: "$KV.baton_vouch.cut.going" });
  relay.releaseAnswers();
  await until(() => seen.length >= 3);
  expect(seen.sort()).toEqual(["cut.changing a:1-9", "cut.coming a:1", "cut.going gone"]);
  await relay.stop();
});

test("a malformed value is skipped by a watch, and said by get", async () => {
  const b = await bus("a");
  const changes: string[] = [];
  await b.bucket("baton_state").watch({ onChange: (key) => void changes.push(key) });
  watcher.publish("$KV.baton_state.broken", '{"cluster":"broken"}');
  await until(() => b.counts["rejected baton_state"] === 1);
  expect(changes).toEqual([]);
  await expect(b.bucket("baton_state").get("broken")).rejects.toMatchObject({
    code: "E_INTERNAL",
    place: expect.stringMatching(/^baton_state broken revision \d+$/),
  });
});

test("a key that NATS does not know is our own mistake", async () => {
  const locks = (await bus("a")).bucket("baton_locks");
  await expect(locks.get("a..b")).rejects.toThrow(/no key/);
  await expect(locks.create("a b", lockOf("a"))).rejects.toThrow(/no key/);
  await expect(locks.get("*")).rejects.toThrow(/no key/);
});
