import { createServer, type Server } from "node:net";
import { MESSAGES } from "@baton/contracts";
import { afterEach, expect, test } from "vitest";
import { buses } from "./buses.testkit.ts";
import { connectBus } from "./index.ts";
import { startRelay } from "./link-break.testkit.ts";
import { freePorts, startNats, type TestNats, until } from "./nats-server.testkit.ts";
import { diagnosisOf, intentOf, lockOf, recorder, sampleOf } from "./payloads.testkit.ts";

let nats: TestNats | undefined;
const bus = buses(() => nats?.urls ?? []);

afterEach(async () => {
  await bus.drain();
  await nats?.stop();
  nats = undefined;
}, 30_000);

test("a NATS server that is killed and comes back: everything goes on by itself", async () => {
  nats = await startNats();
  const [server] = nats.servers as [TestNats["servers"][0]];
  const b = await bus("b");
  await b.ensure();
  const statuses: boolean[] = [];
  b.onStatus((connected) => void statuses.push(connected));
  const samples: number[] = [];
  const intents: number[] = [];
  const locks: (string | null)[] = [];
  b.subscribe(MESSAGES.sample, {}, (s) => void samples.push(s.seq));
  const o = { stream: "BATON_INTENTS", durable: "d", ackWaitMs: 5_000, concurrency: 1 } as const;
  await b.consume([MESSAGES.intent], o, async (_m, i) => void intents.push(i.epoch));
  await b.bucket("baton_locks").watch({ onChange: (_k, v) => void locks.push(v?.holder ?? null) });
  await b.append(MESSAGES.intent, intentOf({ epoch: 1 }));
  const revision = (await b.bucket("baton_locks").create("shop", lockOf("before"))) as number;
  await until(() => intents.length === 1 && locks.length === 1);

  await server.kill();
  await until(() => !b.connected);
  b.publish(MESSAGES.sample, sampleOf({ seq: 1 }));
  b.publish(MESSAGES.diagnosis, diagnosisOf({ epoch: 42 }));
  const appending = b.append(MESSAGES.intent, intentOf({ epoch: 2 }), { msgId: "epoch-2" });
  const renewing = b.bucket("baton_locks").update("shop", lockOf("after"), revision);
  await server.start();
  await until(() => b.connected);

  await appending;
  expect(await renewing).toBeGreaterThan(revision);
  await until(() => intents.includes(2) && locks.includes("after"), 15_000);
  await until(() => {
    b.publish(MESSAGES.sample, sampleOf({ seq: 2 }));
    return samples.includes(2);
  });
  expect(statuses).toEqual([false, true]);
  // The observation made while NATS was away is worthless now; the diagnosis is history and was kept.
  expect(samples).not.toContain(1);
  expect(b.counts["dropped sample"]).toBe(1);
  await until(async () => (await b.lastSequence(MESSAGES.diagnosis, { cluster: "shop" })) > 0);
  expect(b.lines.map((l) => l.message).join("\n")).toMatch(/lost; Baton reconnects[\s\S]*connection is back/);
}, 40_000);

test("a server that hangs is noticed and left for another", async () => {
  nats = await startNats({ servers: 3 });
  const b = await bus("b");
  const moves: boolean[] = [];
  b.onStatus((connected) => void moves.push(connected));
  const before = await serverOf(nats, "b");
  const hung = nats.servers.find((s) => s.name === before);
  expect(hung).toBeDefined();
  hung?.signal("SIGSTOP");
  await until(() => moves.includes(true), 15_000, "the reconnect");
  expect(moves).toEqual([false, true]);
  hung?.signal("SIGCONT");
}, 40_000);

/** The name of the server that a client is connected to, by the servers' own account. */
async function serverOf(cluster: TestNats, client: string): Promise<string | undefined> {
  for (const s of cluster.servers) {
    const { connections } = (await (await fetch(`${s.monitor}/connz`)).json()) as {
      connections: { name?: string }[];
    };
    if (connections.some((c) => c.name === client)) return s.name;
  }
  return undefined;
}

test("a service may be started before its NATS: it says so and waits", async () => {
  const [port = 0] = await freePorts(1);
  const { log, metrics, lines } = recorder();
  const options = { servers: [`127.0.0.1:${port}`], name: "b", source: "baton/test/b", replicas: 1 as const };
  const connecting = connectBus({ ...options, log, metrics });
  await until(() => lines.length > 0);
  expect(lines[0]).toMatchObject({ level: "warn" });
  expect(lines[0]?.message).toMatch(new RegExp(`127\\.0\\.0\\.1:${port} .*Baton keeps trying`));
  nats = await startNats({ port });
  const b = await connecting;
  expect(b.connected).toBe(true);
  await b.drain();
}, 30_000);

test("waiting for NATS ends when it is told to", async () => {
  const [port = 0] = await freePorts(1);
  const { log } = recorder();
  const aborter = new AbortController();
  const options = { servers: [`127.0.0.1:${port}`], name: "b", source: "s", replicas: 1 as const, log };
  const connecting = connectBus(options, aborter.signal);
  aborter.abort(new Error("enough"));
  await expect(connecting).rejects.toThrow("enough");
});

test("wrong credentials are said and tried again, and accepted once they are right", async () => {
  nats = await startNats({ extra: "authorization { user: u, password: p }" });
  const { log, lines } = recorder();
  const [url = ""] = nats.urls;
  const aborter = new AbortController();
  const options = { servers: [url], name: "b", source: "s", replicas: 1 as const, log };
  const refused = connectBus({ ...options, user: "u", password: "wrong" }, aborter.signal);
  await until(() => lines.length > 0);
  expect(lines[0]?.message).toMatch(/Authorization/i);
  expect(lines[0]?.message).not.toMatch(/wrong/);
  aborter.abort();
  await expect(refused).rejects.toThrow();
  const b = await connectBus({ ...options, servers: [url.replace("nats://", "nats://u:p@")] });
  expect(b.connected).toBe(true);
  await b.drain();
});

test("a server without JetStream is refused, with a remedy", async () => {
  nats = await startNats({ jetstream: false });
  await expect(bus("b")).rejects.toMatchObject({
    code: "E_NATS_NO_JETSTREAM",
    remedy: expect.stringContaining("-js"),
  });
});

test("a server that would ignore a lock's TTL is refused", async () => {
  const old = await startOldServer("2.10.29");
  const { log } = recorder();
  await expect(
    connectBus({ servers: [old.url], name: "b", source: "s", replicas: 1, log }),
  ).rejects.toMatchObject({ code: "E_NATS_TOO_OLD", message: expect.stringContaining("2.10.29") });
  old.server.close();
});

/** As much of an old server as a client sees before it is refused. */
async function startOldServer(version: string): Promise<{ url: string; server: Server }> {
  const info = { server_id: "x", version, proto: 1, headers: true, jetstream: true, max_payload: 1_048_576 };
  const server = createServer((socket) => {
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on("data", (d) => String(d).includes("PING") && socket.write("PONG\r\n"));
    socket.on("error", () => {});
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return { url: `127.0.0.1:${(server.address() as { port: number }).port}`, server };
}

test("a NATS without room for the streams is refused, with a remedy", async () => {
  nats = await startNats({ maxFileStore: "1MB" });
  const b = await bus("b");
  await expect(b.ensure()).rejects.toMatchObject({
    code: "E_DISK_FULL",
    remedy: expect.stringContaining("max_file_store"),
  });
});

test("a URL that is none is refused", async () => {
  const { log } = recorder();
  const options = { name: "b", source: "s", replicas: 1 as const, log };
  await expect(connectBus({ ...options, servers: ["http://x:1"] })).rejects.toMatchObject({
    code: "E_CONFIG_INVALID",
  });
});

test("while NATS is away nothing grows without bound, and a deadline is kept", async () => {
  nats = await startNats();
  const relay = await startRelay(nats.urls[0] as string);
  const b = await bus("b", [relay.url]);
  await b.ensure();
  await relay.stop();
  await until(() => !b.connected);
  for (let i = 0; i < 1_000; i++) b.publish(MESSAGES.diagnosis, diagnosisOf({ epoch: i }));
  expect(b.counts["dropped diagnosis"]).toBe(1_000 - 256);
  await expect(b.append(MESSAGES.intent, intentOf({}), { deadlineMs: 600 })).rejects.toMatchObject({
    code: "E_NATS_UNREACHABLE",
    message: expect.stringContaining("600 ms"),
  });
  expect(
    await b.request(MESSAGES.sample, sampleOf({}), MESSAGES.sample.schema, { maxWaitMs: 60_000 }),
  ).toEqual([]);
}, 30_000);

test("drain ends in time, also with NATS away", async () => {
  nats = await startNats();
  const b = await bus("b");
  await b.ensure();
  await b.bucket("baton_locks").watch({ onChange: () => {} });
  const o = { stream: "BATON_INTENTS", durable: "d", ackWaitMs: 5_000, concurrency: 1 } as const;
  await b.consume([MESSAGES.intent], o, async () => {});
  await nats.servers[0]?.kill();
  await b.drain();
  expect(b.connected).toBe(false);
  b.publish(MESSAGES.sample, sampleOf({}));
}, 20_000);
