import { createHmac } from "node:crypto";
import { Alert } from "@baton/contracts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ChannelRefused } from "../channel.ts";
import { alert, type Receiver, startReceiver, status } from "../receiver.testkit.ts";
import { webhookChannel } from "./webhook.ts";

const secret = "0123456789abcdef-secret";
const nowMs = 1_700_000_123_456;
const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
let receiver: Receiver;
beforeEach(async () => {
  receiver = await startReceiver();
});
afterEach(() => receiver.stop());

const send = (url = receiver.url, signal = AbortSignal.timeout(10_000)) =>
  webhookChannel({
    name: "ops",
    minSeverity: "info",
    url,
    secret,
    timeoutMs: 1_000,
    version: "0.1.0",
    now: () => nowMs,
  }).send({ alert: alert("a-1"), traceparent }, signal);

test("sends the alert of the contract with its id, its signature and its trace", async () => {
  await send();
  const [got] = receiver.got;
  expect(Alert.parse(JSON.parse(got!.body))).toEqual(alert("a-1"));
  const mac = createHmac("sha256", secret).update(`1700000123.${got!.body}`).digest("hex");
  expect(got!.headers).toMatchObject({
    "content-type": "application/json",
    "user-agent": "Baton/0.1.0",
    "baton-alert-id": "a-1",
    "idempotency-key": "a-1",
    "baton-signature": `t=1700000123,v1=${mac}`,
    traceparent,
  });
});

test.each([400, 401, 403, 404, 410, 422])("%d is refused for good, with a remedy", async (code) => {
  receiver.answer = status(code);
  const error = await send().catch((e: unknown) => e);
  expect(error).toBeInstanceOf(ChannelRefused);
  expect((error as ChannelRefused).message).toContain(`answered ${code}: says ${code}`);
  expect((error as ChannelRefused).remedy).not.toBe("");
});

test.each([408, 429, 500, 502, 503])("%d may be tried again", async (code) => {
  receiver.answer = status(code);
  const error = await send().catch((e: unknown) => e);
  expect(error).toBeInstanceOf(Error);
  expect(error).not.toBeInstanceOf(ChannelRefused);
});

test("a redirect is not followed: the signed body goes to nobody else", async () => {
  const other = await startReceiver();
  try {
    receiver.answer = (response) => response.writeHead(307, { location: other.url }).end();
    await expect(send()).rejects.toBeInstanceOf(ChannelRefused);
    expect(other.got).toEqual([]);
  } finally {
    await other.stop();
  }
});

test("nobody listening is said with the reason, and no message holds the token of the URL", async () => {
  const { port } = receiver;
  await receiver.stop();
  const error = (await send(`http://127.0.0.1:${port}/hook?token=secret-in-url`).catch(
    (e: unknown) => e,
  )) as Error;
  expect(error.message).toContain(`http://127.0.0.1:${port} cannot be reached`);
  expect(error.message).toContain("ECONNREFUSED");
  expect(error.message).not.toContain("secret-in-url");
  receiver = await startReceiver();
});

test("an answer without an end is not read to its end", async () => {
  receiver.answer = (response) => {
    response.writeHead(500);
    const flow = () => {
      while (response.write("x".repeat(65_536)));
    };
    response.on("drain", flow);
    flow();
  };
  await expect(send()).rejects.toThrow("answered 500: xxx");
});
