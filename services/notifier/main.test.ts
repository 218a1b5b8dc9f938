/** The notifier on a real nats-server, with a real HTTP receiver. */
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Bus, connectBus } from "@baton/bus";
import { Alert, MESSAGES } from "@baton/contracts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startNats, type TestNats } from "../../libs/bus/nats-server.testkit.ts";
import { type ServiceProcess, startServiceProcess } from "../../libs/runtime/service-process.testkit.ts";
import { alert, type Receiver, startReceiver, status } from "./receiver.testkit.ts";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const secret = "0123456789abcdef-secret";
const soon = { timeout: 30_000, interval: 20 };
let nats: TestNats;
let bus: Bus;
let folder: string;
let receiver: Receiver;
const processes: ServiceProcess[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "baton-notifier-"));
  receiver = await startReceiver();
  nats = await startNats();
  bus = await connectBus({
    servers: nats.urls,
    name: "test",
    source: "baton/test/a",
    replicas: 1,
    log: quiet,
  });
  await bus.ensure();
});
afterEach(async () => {
  await Promise.all(processes.splice(0).map((p) => p.kill()));
  await receiver.stop();
  await bus.drain();
  await nats.stop();
  rmSync(folder, { recursive: true, force: true });
});

const hook = () => ({ type: "webhook", name: "hook", url: receiver.url, secret, timeoutMs: 300 });
const start = (name: string, channels: object[] = [{ type: "log" }, hook()]): ServiceProcess => {
  const notifier = startServiceProcess({
    service: "notifier",
    main: join(import.meta.dirname, "main.ts"),
    config: join(folder, `${name}.yaml`),
    urls: nats.urls,
    settings: { channels },
    instance: `notifier-${name}`,
  });
  processes.push(notifier);
  return notifier;
};
const raise = (id: string, more: Partial<Alert> = {}) =>
  bus.append(MESSAGES.alert, alert(id, more), {
    msgId: id,
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  });
const got = () => receiver.got.map((g) => g.headers["baton-alert-id"]);
const logged = (notifier: ServiceProcess) =>
  notifier.log.filter((l) => l.msg.startsWith("ALERT")).map((l) => l.alert?.id);

test("an alert reaches the channels that want it, signed and with its trace", async () => {
  await raise("before-the-start");
  const notifier = start("a", [{ type: "log" }, { ...hook(), minSeverity: "critical" }]);
  await raise("small", { severity: "info" });
  await raise("big");
  await vi.waitFor(() => expect(got()).toEqual(["before-the-start", "big"]), soon);
  await vi.waitFor(() => expect(logged(notifier)).toEqual(["before-the-start", "small", "big"]), soon);
  const { headers, body } = receiver.got[1]!;
  expect(Alert.parse(JSON.parse(body))).toEqual(alert("big"));
  const t = /^t=(\d+),/.exec(headers["baton-signature"] as string)?.[1];
  const mac = createHmac("sha256", secret).update(`${t}.${body}`).digest("hex");
  expect(headers["baton-signature"]).toBe(`t=${t},v1=${mac}`);
  expect(headers.traceparent).toContain("4bf92f3577b34da6a3ce929d0e0e4736");
  expect(notifier.log.some((l) => JSON.stringify(l).includes("secret"))).toBe(false);
});

const answer = (how: Receiver["answer"]) => {
  receiver.answer = how;
};

test.each([
  ["refuses connections", async () => receiver.stop()],
  ["answers 500", async () => answer(status(500))],
  ["never answers", async () => answer(() => {})],
])("a receiver that %s gets all when it is back; the log has each at once, and once", async (_what, fail) => {
  const notifier = start("a");
  await raise("first");
  await vi.waitFor(() => expect(got()).toEqual(["first"]), soon);
  await fail();
  const { port } = receiver;
  const ids = Array.from({ length: 60 }, (_, i) => `a${i}`);
  await Promise.all(ids.map((id) => raise(id)));
  await vi.waitFor(() => expect(new Set(logged(notifier))).toEqual(new Set(["first", ...ids])), soon);
  await vi.waitFor(async () => {
    expect((await notifier.get("/metrics")).text).toMatch(
      /baton_notifier_channel_away\{.*channel="hook".*\} 1/,
    );
  }, soon);

  await receiver.stop();
  receiver = await startReceiver(port);
  await vi.waitFor(() => expect(new Set(got())).toEqual(new Set(ids)), { timeout: 60_000, interval: 50 });
  expect(logged(notifier).length).toBe(61);
});

test("killed before the receiver has taken it: the next notifier brings it", async () => {
  receiver.answer = status(503);
  const first = start("a");
  await raise("a");
  await vi.waitFor(() => expect(got()).toContain("a"), soon);
  await first.kill("SIGKILL");
  receiver.got.length = 0;
  receiver.answer = status(204);
  start("b");
  await vi.waitFor(() => expect(got()).toEqual(["a"]), soon);
});

test("two notifiers share the work: in calm each alert is brought once", async () => {
  const both = [start("a"), start("b")];
  await vi.waitFor(() => {
    for (const n of both) expect(n.log.some((l) => l.msg.includes("is ready"))).toBe(true);
  }, soon);
  const ids = Array.from({ length: 100 }, (_, i) => `a${i}`);
  await Promise.all(ids.map((id) => raise(id)));
  await vi.waitFor(() => expect(new Set(got())).toEqual(new Set(ids)), soon);
  expect(got().length).toBe(100);
  const shares = both.map((n) => logged(n).length);
  expect(shares[0]! + shares[1]!).toBe(100);
  expect(Math.min(...shares)).toBeGreaterThan(0);
});

test("a refusal for good is logged with its remedy, counted, and neither tried again nor in the way", async () => {
  receiver.answer = (response, { headers }) =>
    status(headers["baton-alert-id"] === "bad" ? 422 : 204)(response);
  const notifier = start("a");
  await raise("bad");
  await raise("good");
  await vi.waitFor(() => expect(got()).toEqual(["bad", "good"]), soon);
  await vi.waitFor(async () => {
    expect((await notifier.get("/metrics")).text).toMatch(
      /baton_notifier_deliveries_total\{.*result="refused".*\} 1/,
    );
  }, soon);
  expect(notifier.log.some((l) => /refuses the alert bad for good: .* answered 422/.test(l.msg))).toBe(true);
  await notifier.kill("SIGTERM");
  // Acknowledged: a new notifier does not get it.
  start("b");
  await raise("later");
  await vi.waitFor(() => expect(got()).toContain("later"), soon);
  expect(got()).toEqual(["bad", "good", "later"]);
});

test("two channels of one name: one clear line, exit code 2", async () => {
  const notifier = start("a", [hook(), hook()]);
  expect(await notifier.exitCode()).toBe(2);
  expect(notifier.log.filter((l) => l.msg.includes("two channels are called hook")).length).toBe(1);
});
