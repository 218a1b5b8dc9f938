import { BatonError, type CommandReply } from "@baton/contracts";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { buses } from "./buses.testkit.ts";
import { sealHeaders } from "./envelope.ts";
import { startNats, type TestNats, until } from "./nats-server.testkit.ts";

let nats: TestNats;
let stranger: NatsConnection;
const bus = buses(() => nats.urls);

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

const reply = (decider: string): CommandReply<"status"> => ({ decider, clusters: [] });

test("a command is answered by one of those who serve it, and by another when one has gone", async () => {
  const [cli, one, two] = [await bus("cli"), await bus("one"), await bus("two")];
  await one.serve("status", async () => reply("one"));
  await two.serve("status", async () => reply("two"));
  const who = new Set<string>();
  await until(async () => {
    who.add((await cli.command("status", { cluster: null })).decider);
    return who.size === 2;
  });
  await one.drain();
  for (let i = 0; i < 5; i++) expect((await cli.command("status", { cluster: null })).decider).toBe("two");
});

test("nobody serving is an answer at once; a slow one is none in time", async () => {
  const [cli, slow] = [await bus("cli"), await bus("slow")];
  await expect(cli.command("status", { cluster: null }, { timeoutMs: 60_000 })).rejects.toMatchObject({
    code: "E_NO_ANSWER",
    message: expect.stringContaining("no running service"),
  });
  let release = (_: CommandReply<"status">): void => {};
  await slow.serve("status", () => new Promise((done) => (release = done)));
  await expect(cli.command("status", { cluster: null }, { timeoutMs: 100 })).rejects.toMatchObject({
    code: "E_NO_ANSWER",
    message: expect.stringContaining("within 100 ms"),
  });
  release(reply("slow"));
});

test("a refusal arrives as it was meant; a bug does not end the service", async () => {
  const [cli, server] = [await bus("cli"), await bus("server")];
  let fault: Error = new BatonError("E_NOT_FOUND", {
    place: "here",
    message: "there is no cluster x.",
    remedy: "baton status lists them.",
  });
  await server.serve("status", async () => {
    throw fault;
  });
  await expect(cli.command("status", { cluster: "x" })).rejects.toMatchObject({
    code: "E_NOT_FOUND",
    message: "there is no cluster x.",
    remedy: "baton status lists them.",
  });
  fault = new Error("bug");
  await expect(cli.command("status", { cluster: "x" })).rejects.toMatchObject({ code: "E_INTERNAL" });
  expect(server.lines.some((l) => l.level === "error" && l.message.includes("bug"))).toBe(true);
});

test.each([
  ["E_USAGE", "400"],
  ["E_NOT_FOUND", "404"],
  ["E_CONFLICT", "409"],
  ["E_LOCKED", "423"],
  ["E_NO_ANSWER", "503"],
] as const)("%s is status %s to programs in any language", async (code, status) => {
  const server = await bus("server");
  await server.serve("status", async () => {
    throw new BatonError(code, { place: "here", message: "no.", remedy: "none." });
  });
  const cli = await bus("cli");
  await expect(cli.command("status", { cluster: null })).rejects.toMatchObject({ code });
  const answer = await stranger.request("baton.v1.command.status", JSON.stringify({ cluster: null }), {
    headers: sealHeaders("command.status", "stranger", null),
    timeout: 5_000,
  });
  expect(answer.headers?.get("Nats-Service-Error-Code")).toBe(status);
  expect(answer.json()).toMatchObject({ code, status: Number(status) });
});

test("a reply that breaks its schema is not sent", async () => {
  const [cli, server] = [await bus("cli"), await bus("server")];
  await server.serve("status", async () => ({ decider: "NOT A NAME", clusters: [] }));
  await expect(cli.command("status", { cluster: null })).rejects.toMatchObject({
    code: "E_INTERNAL",
    message: expect.stringContaining("decider"),
  });
});

test("a malformed request is refused with status 400", async () => {
  const server = await bus("server");
  await server.serve("history", async () => ({ auditor: "a", operations: [], records: [] }));
  const answer = await stranger.request("baton.v1.command.history", "junk");
  expect(answer.headers?.get("Nats-Service-Error-Code")).toBe("400");
  expect(answer.json()).toMatchObject({ code: "E_USAGE" });
});

test("NATS's own tools find, describe and measure the service", async () => {
  const server = await bus("server");
  await server.serve("status", async () => reply("server"));
  await (await bus("cli")).command("status", { cluster: null });
  const ask = async (subject: string) => (await stranger.request(subject)).json<Record<string, unknown>>();
  const ping = await ask("$SRV.PING");
  expect(ping).toMatchObject({
    type: "io.nats.micro.v1.ping_response",
    name: "baton-status",
    version: "0.1.0",
  });
  expect(await ask("$SRV.INFO.baton-status")).toMatchObject({
    type: "io.nats.micro.v1.info_response",
    metadata: { instance: "server" },
    endpoints: [{ name: "default", subject: "baton.v1.command.status", queue_group: "q" }],
  });
  const stats = await ask(`$SRV.STATS.baton-status.${ping.id}`);
  expect(stats).toMatchObject({ endpoints: [{ num_requests: 1, num_errors: 0, last_error: "" }] });
});

test("presence lives with its TTL, goes with its owner, and comes back", async () => {
  const [one, watcher] = [await bus("one"), await bus("watcher")];
  const seen: string[] = [];
  await watcher.bucket("baton_presence").watch({
    onChange: (key, value) => void seen.push(`${key} ${value ? value.region : "gone"}`),
  });
  const presence = {
    service: "prober" as const,
    instance: "p1",
    region: "r1",
    version: "0.1.0",
    startedUnixMs: 1,
    host: "h",
    pid: 1,
    http: null,
  };
  const stop = one.announce(presence);
  await until(() => seen.includes("prober.p1 r1"));
  stop();
  await until(() => seen.includes("prober.p1 gone"));
  one.announce({ ...presence, region: "r2" });
  await until(() => seen.includes("prober.p1 r2"));
  seen.length = 0;
  await one.drain();
  await until(() => seen.includes("prober.p1 gone"));
});
