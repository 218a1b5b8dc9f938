import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Channel } from "./channel.ts";
import { webhookChannel } from "./channels/webhook.ts";
import { type CourierReport, courier, LIMITS, NotDelivered } from "./deliver.ts";
import { remember } from "./memory.ts";
import { alert, type Receiver, startReceiver, status } from "./receiver.testkit.ts";

const quick = {
  ...LIMITS,
  retryMs: { initialDelay: 5, maxDelay: 10 },
  breakMs: { initialDelay: 50, maxDelay: 100 },
};
const never = new AbortController().signal;
let receiver: Receiver;
let results: string[];
let away: string[];
const report: CourierReport = {
  result: (channel, { alert }, result) => results.push(`${channel.name} ${alert.id} ${result}`),
  away: (channel, is) => away.push(`${channel.name} ${is ? "away" : "back"}`),
};
const hook = (name = "hook", timeoutMs = 200): Channel =>
  webhookChannel({
    name,
    minSeverity: "info",
    url: receiver.url,
    secret: "s".repeat(16),
    timeoutMs,
    version: "1",
  });
const steady = (name = "log"): Channel & { got: string[] } => {
  const got: string[] = [];
  return {
    name,
    minSeverity: "info",
    timeoutMs: null,
    target: name,
    got,
    send: async ({ alert }) => {
      got.push(alert.id);
    },
  };
};

beforeEach(async () => {
  receiver = await startReceiver();
  results = [];
  away = [];
});
afterEach(() => receiver.stop());

test("a receiver that fails twice gets it at the third try", async () => {
  let failures = 2;
  receiver.answer = (response) => status(failures-- > 0 ? 500 : 200)(response);
  await courier([hook()], remember(), report, quick).deliver({ alert: alert("a"), traceparent: null }, never);
  expect(receiver.got.map((g) => g.headers["baton-alert-id"])).toEqual(["a", "a", "a"]);
  expect(results).toEqual(["hook a taken"]);
});

test("when one channel fails the alert must come again, and then goes to that one only", async () => {
  const log = steady();
  receiver.answer = status(503);
  const c = courier([log, hook()], remember(), report, quick);
  const delivery = { alert: alert("a"), traceparent: null };
  await expect(c.deliver(delivery, never)).rejects.toMatchObject({
    name: "NotDelivered",
    channels: ["hook"],
  });
  receiver.answer = status(200);
  await vi.waitFor(() => c.deliver(delivery, never), { timeout: 5_000 });
  expect(log.got).toEqual(["a"]);
  await c.deliver(delivery, never);
  expect(receiver.got.filter((g) => g.headers["baton-alert-id"] === "a").length).toBe(LIMITS.tries + 1);
});

test("a refusal for good is said once and not tried again", async () => {
  receiver.answer = status(422);
  const c = courier([hook()], remember(), report, quick);
  await c.deliver({ alert: alert("a"), traceparent: null }, never);
  await c.deliver({ alert: alert("a"), traceparent: null }, never);
  expect(receiver.got.length).toBe(1);
  expect(results).toEqual(["hook a refused"]);
});

test("no answer in time is a failure that names the receiver and the time", async () => {
  receiver.answer = () => {};
  const c = courier([hook("hook", 50)], remember(), report, quick);
  await expect(c.deliver({ alert: alert("a"), traceparent: null }, never)).rejects.toThrow(
    /127\.0\.0\.1:\d+ did not answer within 50 ms/,
  );
  expect(receiver.got.length).toBe(LIMITS.tries);
});

test("a dead receiver is left alone after a few failures and found again when it is back", async () => {
  const { port } = receiver;
  await receiver.stop();
  const c = courier([hook()], remember(), report, quick);
  const fails = (id: string) =>
    expect(c.deliver({ alert: alert(id), traceparent: null }, never)).rejects.toBeInstanceOf(NotDelivered);
  await fails("a");
  await fails("b");
  expect(away).toEqual(["hook away"]);
  receiver = await startReceiver(port);
  await vi.waitFor(() => c.deliver({ alert: alert("c"), traceparent: null }, never), { timeout: 5_000 });
  expect(away.at(-1)).toBe("hook back");
  expect(receiver.got.map((g) => g.headers["baton-alert-id"])).toEqual(["c"]);
});

test("a receiver that hangs holds neither the other channel nor the alerts behind it", async () => {
  const log = steady();
  receiver.answer = () => {};
  const c = courier([log, hook("hook", 60_000)], remember(), report, quick);
  const stop = new AbortController();
  const count = LIMITS.atOnce + LIMITS.waiting + 20;
  const ids = Array.from({ length: count }, (_, i) => `a${i}`);
  let over = 0;
  const all = ids.map((id) =>
    c.deliver({ alert: alert(id), traceparent: null }, stop.signal).catch((error: unknown) => {
      over += 1;
      return error;
    }),
  );
  // Those above the channel's limits come back at once instead of holding a hand.
  await vi.waitFor(() => expect(over).toBe(20));
  expect(log.got).toEqual(ids);
  stop.abort();
  const errors = await Promise.all(all);
  expect(errors.every((e) => e instanceof NotDelivered)).toBe(true);
});
