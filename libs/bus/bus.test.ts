import { MESSAGES, ProbeReply } from "@baton/contracts";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { buses } from "./buses.testkit.ts";
import { startNats, type TestNats, until } from "./nats-server.testkit.ts";
import { intentOf, sampleOf } from "./payloads.testkit.ts";

let nats: TestNats;
const bus = buses(() => nats.urls);

beforeAll(async () => {
  nats = await startNats();
  await (await bus("first")).ensure();
}, 30_000);
afterEach(() => bus.drain());
afterAll(() => nats.stop());

test("what is published arrives typed, with who sent it, when and in which trace", async () => {
  const [a, b] = [await bus("a"), await bus("b")];
  const got: { node: string; source: string; traceparent: string | null; bytes: number }[] = [];
  b.subscribe(MESSAGES.sample, { cluster: "shop" }, (sample, meta) => {
    got.push({
      node: sample.node,
      source: meta.source,
      traceparent: meta.traceparent,
      bytes: meta.payloadBytes.length,
    });
  });
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  await until(() => {
    a.publish(MESSAGES.sample, sampleOf({ cluster: "other", node: "n9" }));
    a.publish(MESSAGES.sample, sampleOf({ cluster: "shop", node: "n1" }), { traceparent });
    return got.length > 0;
  });
  expect(got[0]).toMatchObject({ node: "n1", source: "baton/test/a", traceparent });
  expect(got[0]?.bytes).toBeGreaterThan(100);
  expect(got.map((g) => g.node)).not.toContain("n9");
});

test("our own payload that breaks the schema is thrown back at once", async () => {
  const a = await bus("a");
  expect(() => a.publish(MESSAGES.sample, { ...sampleOf({}), rttMs: -1 })).toThrow(/rttMs/);
  await expect(a.append(MESSAGES.intent, { ...intentOf({}), epoch: -1 })).rejects.toThrow(/epoch/);
});

test("all who listen answer a request, and nobody listening is an empty answer at once", async () => {
  const [asker, one, two] = [await bus("asker"), await bus("one"), await bus("two")];
  for (const [name, b] of Object.entries({ one, two })) {
    b.subscribe(MESSAGES.probe, { cluster: "shop" }, (probe, meta) => {
      meta.respond?.({ cluster: probe.cluster, prober: name, region: "r1", samples: [sampleOf({})] });
    });
  }
  const ask = { cluster: "shop", nodes: [], reason: "test", asker: "asker" };
  await until(async () => {
    const replies = await asker.request(MESSAGES.probe, ask, ProbeReply, { maxWaitMs: 300, maxReplies: 2 });
    return new Set(replies.map((r) => r.prober)).size === 2;
  });
  const nobody = await asker.request(MESSAGES.probe, { ...ask, cluster: "nowhere" }, ProbeReply, {
    maxWaitMs: 60_000,
  });
  expect(nobody).toEqual([]);
});

test("a malformed reply is dropped and the others are kept", async () => {
  const [asker, one] = [await bus("asker"), await bus("one")];
  one.subscribe(MESSAGES.probe, { cluster: "bad" }, (probe, meta) => {
    meta.respond?.({ nonsense: true });
    meta.respond?.({ cluster: probe.cluster, prober: "one", region: "r1", samples: [] });
  });
  const ask = { cluster: "bad", nodes: [], reason: "test", asker: "asker" };
  await until(async () => {
    const replies = await asker.request(MESSAGES.probe, ask, ProbeReply, { maxWaitMs: 300, maxReplies: 1 });
    return replies.length === 1 && replies[0]?.prober === "one";
  });
  expect(asker.counts["rejected probe.reply"]).toBeGreaterThan(0);
  expect(asker.lines.filter((l) => l.message.includes("malformed"))).toHaveLength(1);
});

test("append says the sequence, knows its own message again, and refuses a wrong expected sequence", async () => {
  const a = await bus("a");
  const intent = intentOf({ cluster: "append", epoch: 4 });
  expect(await a.lastSequence(MESSAGES.intent, { cluster: "append" })).toBe(0);
  const first = await a.append(MESSAGES.intent, intent, { msgId: "append.4", expectLastSubjectSequence: 0 });
  expect(first.duplicate).toBe(false);
  expect(await a.lastSequence(MESSAGES.intent, { cluster: "append" })).toBe(first.sequence);

  const b = await bus("b");
  const again = await b.append(MESSAGES.intent, intent, { msgId: "append.4", expectLastSubjectSequence: 0 });
  expect(again).toEqual({ sequence: first.sequence, duplicate: true });
  const third = await b.append(MESSAGES.intent, intent, { msgId: "append.4" });
  expect(third).toEqual({ sequence: first.sequence, duplicate: true });
  await expect(
    b.append(MESSAGES.intent, intent, { msgId: "append.5", expectLastSubjectSequence: 0 }),
  ).rejects.toMatchObject({ name: "BusConflict", expectedSequence: 0 });
});

test("ten who append at once with the same expectation: exactly one succeeds", async () => {
  const all = await Promise.all(Array.from({ length: 10 }, (_, i) => bus(`racer-${i}`)));
  const outcomes = await Promise.allSettled(
    all.map((b, i) =>
      b.append(MESSAGES.intent, intentOf({ cluster: "race" }), {
        msgId: `race.${i}`,
        expectLastSubjectSequence: 0,
      }),
    ),
  );
  expect(outcomes.filter((o) => o.status === "fulfilled")).toHaveLength(1);
  for (const o of outcomes)
    if (o.status === "rejected") expect(o.reason).toHaveProperty("name", "BusConflict");
});
