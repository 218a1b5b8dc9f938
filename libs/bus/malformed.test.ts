import { MESSAGES, subjectOf } from "@baton/contracts";
import { connect, headers, type MsgHdrs, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { buses } from "./buses.testkit.ts";
import { startNats, type TestNats, until } from "./nats-server.testkit.ts";
import { sampleOf } from "./payloads.testkit.ts";

let nats: TestNats;
let stranger: NatsConnection;
const bus = buses(() => nats.urls);
const subject = subjectOf(MESSAGES.sample, sampleOf({}));
const good = JSON.stringify(sampleOf({}));

beforeAll(async () => {
  nats = await startNats();
  stranger = await connect({ servers: nats.urls });
}, 30_000);
afterEach(() => bus.drain());
afterAll(async () => {
  await stranger.close();
  await nats.stop();
});

function event(o: Record<string, string> = {}): MsgHdrs {
  const h = headers();
  const all = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "stranger",
    "ce-type": "baton.v1.sample",
    "ce-time": "2026-01-01T00:00:00.000Z",
    ...o,
  };
  for (const [k, v] of Object.entries(all)) if (v !== "") h.set(k, v);
  return h;
}

const cases: [string, { subject?: string; body?: string | Uint8Array; headers?: MsgHdrs | null }, RegExp][] =
  [
    ["not JSON", { body: "{" }, /not JSON/],
    ["an empty body", { body: "" }, /not JSON/],
    ["text that is no UTF-8", { body: Uint8Array.of(0x22, 0xff, 0x22) }, /not JSON/],
    ["a wrong schema", { body: good.replace('"rttMs":1.5', '"rttMs":"fast"') }, /rttMs/],
    ["a field missing", { body: good.replace('"outcome":"ok",', "") }, /outcome/],
    ["not an object", { body: "[1]" }, /the body/],
    ["no headers", { headers: null }, /no headers/],
    ["no CloudEvents version", { headers: event({ "ce-specversion": "" }) }, /ce-specversion/],
    ["no id", { headers: event({ "ce-id": "" }) }, /ce-id/],
    ["no source", { headers: event({ "ce-source": "" }) }, /ce-source/],
    ["another type", { headers: event({ "ce-type": "baton.v1.alert" }) }, /ce-type/],
    ["no time", { headers: event({ "ce-time": "yesterday" }) }, /ce-time/],
    ["another node's subject", { subject: "baton.v1.sample.shop.n2.r1" }, /belongs on/],
    ["huge", { body: JSON.stringify({ ...sampleOf({}), junk: "x".repeat(800 * 1024) }) }, /bytes/],
  ];

test.each(cases)(
  "%s: counted, said once, dropped, and the next good one arrives",
  async (_name, bad, said) => {
    const b = await bus("b");
    let got = 0;
    b.subscribe(MESSAGES.sample, {}, () => {
      got += 1;
    });
    await until(() => {
      stranger.publish(subject, good, { headers: event({}) });
      return got > 0;
    });
    const options = bad.headers === null ? {} : { headers: bad.headers ?? event() };
    for (let i = 0; i < 3; i++) stranger.publish(bad.subject ?? subject, bad.body ?? good, options);
    await until(() => b.counts["rejected sample"] === 3);
    const lines = b.lines.filter((l) => l.level === "warn");
    expect(lines).toHaveLength(1);
    expect(lines[0]?.message).toMatch(said);
    expect(lines[0]?.message).toMatch(/Dropped a malformed sample message from (stranger|an unknown sender)/);

    const before = got;
    await until(() => {
      stranger.publish(subject, good, { headers: event() });
      return got > before;
    });
  },
);

test("each sender is said once", async () => {
  const b = await bus("b");
  b.subscribe(MESSAGES.sample, {}, () => {});
  await until(() => {
    for (const source of ["s1", "s2", "s3"]) {
      stranger.publish(subject, "{", { headers: event({ "ce-source": source }) });
    }
    return (b.counts["rejected sample"] ?? 0) >= 9;
  });
  expect(b.lines.filter((l) => l.level === "warn")).toHaveLength(3);
});

test("a flood of made-up senders is counted and does not fill the memory", async () => {
  const b = await bus("b");
  b.subscribe(MESSAGES.sample, {}, () => {});
  await until(() => {
    stranger.publish(subject, "{", { headers: event() });
    return (b.counts["rejected sample"] ?? 0) > 0;
  });
  const before = b.counts["rejected sample"] ?? 0;
  for (let i = 0; i < 3_000; i++) {
    stranger.publish(subject, "{", { headers: event({ "ce-source": `made-up-${i}` }) });
  }
  await until(() => (b.counts["rejected sample"] ?? 0) >= before + 3_000);
  expect(b.lines.length).toBeLessThan(1_010);
});

test("a handler that throws is said and counted, and gets the next message", async () => {
  const b = await bus("b");
  let calls = 0;
  b.subscribe(MESSAGES.sample, {}, () => {
    calls += 1;
    throw new Error("handler bug");
  });
  await until(() => {
    stranger.publish(subject, good, { headers: event() });
    return calls > 3;
  });
  expect(b.counts["failed sample"]).toBeGreaterThan(2);
  expect(b.lines.some((l) => l.level === "error" && l.message.includes("handler bug"))).toBe(true);
});

test("a traceparent that is none does not spread", async () => {
  const b = await bus("b");
  const seen: (string | null)[] = [];
  b.subscribe(MESSAGES.sample, {}, (_s, meta) => seen.push(meta.traceparent));
  await until(() => {
    stranger.publish(subject, good, { headers: event({ traceparent: "evil" }) });
    return seen.length > 0;
  });
  expect(seen[0]).toBeNull();
});
