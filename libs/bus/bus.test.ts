import { MESSAGES, ProbeReply } from "@baton/contracts";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Bus, connectBus } from "./index.ts";
import { startNats, type TestNats, until } from "./nats-server.testkit.ts";
import { intentOf, type Recorder, recorder, sampleOf } from "./payloads.testkit.ts";

let nats: TestNats;
let said: Recorder;
const open: Bus[] = [];

beforeAll(async () => {
  nats = await startNats();
  await (await bus("first")).ensure();
}, 30_000);
afterEach(async () => {
  await Promise.all(open.splice(0).map((b) => b.drain()));
});
afterAll(() => nats.stop());

async function bus(name: string): Promise<Bus> {
  said = recorder();
  const made = await connectBus({
    servers: nats.urls,
    name,
    source: `baton/test/${name}`,
    replicas: 1,
    log: said.log,
    metrics: said.metrics,
  });
  open.push(made);
  return made;
}

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
    a.publish(MESSAGES.sample, sampleOf({ cluster: "shop", node: "n1" }), { traceparent });
    return got.length > 0;
  });
  a.publish(MESSAGES.sample, sampleOf({ cluster: "other", node: "n9" }));
  expect(got[0]).toMatchObject({ node: "n1", source: "baton/test/a", traceparent });
  expect(got[0]?.bytes).toBeGreaterThan(100);
  expect(got.map((g) => g.node)).not.toContain("n9");
});

test("our own payload that breaks the schema is thrown back at once", async () => {
  const a = await bus("a");
  expect(() => a.publish(MESSAGES.sample, { ...sampleOf({}), rttMs: -1 })).toThrow(/rttMs/);
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

test("append says the sequence, knows its own message again, and refuses a wrong expected sequence", async () => {
  const a = await bus("a");
  const intent = intentOf({ cluster: "append", epoch: 4 });
  expect(await a.lastSequence(MESSAGES.intent, { cluster: "append" })).toBe(0);
  const first = await a.append(MESSAGES.intent, intent, { msgId: "append.4", expectLastSubjectSequence: 0 });
  expect(first.duplicate).toBe(false);
  expect(await a.lastSequence(MESSAGES.intent, { cluster: "append" })).toBe(first.sequence);
  const again = await a.append(MESSAGES.intent, intent, { msgId: "append.4", expectLastSubjectSequence: 0 });
  expect(again).toEqual({ sequence: first.sequence, duplicate: true });
  await expect(
    a.append(MESSAGES.intent, intent, { msgId: "append.5", expectLastSubjectSequence: 0 }),
  ).rejects.toMatchObject({ name: "BusConflict", expectedSequence: 0 });
});
