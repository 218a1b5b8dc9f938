import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Config } from "@baton/contracts";
import { expect, onTestFinished, test, vi } from "vitest";
import { natsConfiguration, startEmbeddedNats } from "./embedded-nats.ts";
import { natsAddress, natsHello, newEnough } from "./nats-hello.ts";

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "baton-cli-nats-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const nats = (o: object = {}) => Config.parse({ nats: { port: 0, ...o } }).nats;

const alive = (pid: number) => {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};
const pidIn = (file: string) => Number(readFileSync(file, "utf8"));
const gone = (pid: number) => vi.waitFor(() => expect(alive(pid)).toBe(false), { timeout: 15_000 });

async function start(store: string, o: object = {}) {
  const server = await startEmbeddedNats({ nats: nats(o), store, env: process.env, onLine: () => undefined });
  onTestFinished(async () => {
    await server.program.stop();
    server.release();
  });
  return server;
}

test("it answers with JetStream, is started again on the same port when it dies, and stops", async () => {
  const server = await start(folder());
  const address = natsAddress(server.url)!;
  const hello = await natsHello(address, 1_000);
  expect(hello).toMatchObject({ jetstream: true, serverName: "baton", authRequired: false });
  expect(newEnough(hello.version)).toBe(true);

  const first = pidIn(server.pidFile);
  process.kill(first, "SIGKILL");
  await gone(first);
  await vi.waitFor(() => natsHello(address, 1_000), { timeout: 15_000 });
  const second = pidIn(server.pidFile);
  expect(second).not.toBe(first);

  await server.program.stop();
  expect(alive(second)).toBe(false);
  await expect(natsHello(address, 1_000)).rejects.toThrow(/ECONNREFUSED/);
});

test("it asks for the account that the configuration names", async () => {
  const server = await start(folder(), { user: "me", password: 'with "quotes"' });
  expect(await natsHello(natsAddress(server.url)!, 1_000)).toMatchObject({ authRequired: true });
});

test("a guard that is killed takes the server with it", async () => {
  const server = await start(folder());
  const pid = pidIn(server.pidFile);
  server.program.kill({ restart: false });
  await gone(pid);
});

test("it does not outlive a parent that is killed with kill -9", async () => {
  const store = folder();
  const script = join(store, "parent.ts");
  const module = join(import.meta.dirname, "embedded-nats.ts");
  writeFileSync(
    script,
    `import { startEmbeddedNats } from ${JSON.stringify(module)};
     const server = await startEmbeddedNats({ nats: { port: 0, store: "", replicas: 1 }, store: ${JSON.stringify(store)}, env: process.env, onLine() {} });
     process.send(server.pidFile);`,
  );
  const parent: ChildProcess = fork(script, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const pidFile = await new Promise<string>((done) => parent.once("message", (m) => done(String(m))));
  const pid = pidIn(pidFile);
  expect(alive(pid)).toBe(true);
  parent.kill("SIGKILL");
  await gone(pid);
});

test("two of them do not share a store", async () => {
  const store = folder();
  await start(store);
  await expect(start(store)).rejects.toMatchObject({ code: "E_STORE", place: "nats.store" });
});

test("a port that is taken is one clear error, and nothing stays", async () => {
  const store = folder();
  const taken = createServer();
  await new Promise<void>((done) => taken.listen(0, "127.0.0.1", done));
  onTestFinished(() => void taken.close());
  const { port } = taken.address() as { port: number };
  await expect(start(store, { port })).rejects.toMatchObject({
    code: "E_NATS_UNREACHABLE",
    place: `embedded nats-server 127.0.0.1:${port}`,
    message: expect.stringContaining("address already in use"),
  });
  // The store is free again.
  await start(store);
});

test("a program that is no nats-server is named", async () => {
  const env = { ...process.env, BATON_NATS_SERVER: "/no/such" };
  await expect(
    startEmbeddedNats({ nats: nats(), store: folder(), env, onLine: () => undefined }),
  ).rejects.toMatchObject({ code: "E_NATS_UNREACHABLE", place: "BATON_NATS_SERVER" });
});

test("the configuration quotes what it is given", () => {
  const text = natsConfiguration({
    port: 4222,
    store: "/data/a b",
    pidFile: "/p",
    nats: { user: "u", password: 'p"w\\', token: undefined },
  });
  expect(text).toContain('jetstream { store_dir: "/data/a b", sync_interval: always }');
  expect(text).toContain('authorization { user: "u", password: "p\\"w\\\\" }');
});

test("addresses", () => {
  expect(natsAddress("nats://10.0.0.1:4333")).toEqual({ host: "10.0.0.1", port: 4333 });
  expect(natsAddress("host")).toEqual({ host: "host", port: 4222 });
  expect(natsAddress("tls://[::1]:1")).toEqual({ host: "::1", port: 1 });
  expect(natsAddress("http://host")).toBe(null);
  expect(natsAddress("://")).toBe(null);
});

test("versions", () => {
  expect(["2.10.29", "2.11.0", "2.9.10", "3.0.0", "2.15.1-dev", ""].map(newEnough)).toEqual([
    false,
    true,
    false,
    true,
    true,
    false,
  ]);
});
