/** A real process, a real nats-server. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { credentials, makeGenericClientConstructor } from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { freePorts, startNats, type TestNats, until } from "../bus/nats-server.testkit.ts";

const program = fileURLToPath(new URL("./sample-service.testkit.ts", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "baton-runtime-test-"));
let nats: TestNats;
const children: ChildProcess[] = [];

beforeAll(async () => {
  nats = await startNats();
}, 30_000);
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
});
afterAll(async () => {
  await nats.stop();
  rmSync(folder, { recursive: true, force: true });
});

interface Service {
  child: ChildProcess;
  lines: Record<string, unknown>[];
  errors: () => string;
  /** Waits for a line whose message matches. */
  says(message: RegExp): Promise<Record<string, unknown>>;
  exit(): Promise<number | null>;
  http(path: string): Promise<{ status: number; body: string }>;
}

function start(o: { env?: Record<string, string>; args?: string[]; ipc?: boolean } = {}): Service {
  const child = spawn(process.execPath, [program, ...(o.args ?? [])], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      BATON_NATS_URL: nats.urls[0],
      BATON_HTTP_PORT: "0",
      BATON_GRPC_PORT: "0",
      ...o.env,
    },
    stdio: o.ipc ? ["ignore", "pipe", "pipe", "ipc"] : ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const lines: Record<string, unknown>[] = [];
  let rest = "";
  let errors = "";
  child.stdout?.on("data", (data) => {
    rest += data;
    const whole = rest.split("\n");
    rest = whole.pop() ?? "";
    for (const line of whole) lines.push(JSON.parse(line));
  });
  child.stderr?.on("data", (data) => (errors += data));
  // Not its "close": after a disconnect that never comes.
  const closed = Promise.all([
    once(child, "exit"),
    once(child.stdout as NodeJS.ReadableStream, "end"),
    once(child.stderr as NodeJS.ReadableStream, "end"),
  ]);
  const service: Service = {
    child,
    lines,
    errors: () => errors,
    async says(message) {
      const match = () => lines.find((l) => message.test(String(l.msg)));
      await until(() => match() !== undefined, 15_000, `${message} in ${JSON.stringify(lines)} ${errors}`);
      return match() as Record<string, unknown>;
    },
    async exit() {
      await closed;
      return child.exitCode;
    },
    async http(path) {
      const { http } = await service.says(/^Health and metrics/);
      const response = await fetch(`http://${http}${path}`);
      return { status: response.status, body: await response.text() };
    },
  };
  return service;
}

test("it starts, is ready, shows its metrics, and ends on SIGTERM with 0", async () => {
  const s = start({ args: ["--instance", "prober-x"] });
  await s.says(/prober-x is ready/);
  expect(await s.http("/livez")).toMatchObject({ status: 200 });
  expect(await s.http("/readyz")).toEqual({ status: 200, body: '{"ready":true}\n' });
  const { body } = await s.http("/metrics");
  expect(body).toMatch(/^baton_test_starts_total\{service="prober",instance="prober-x",region="local"\} 1$/m);
  expect(body).toMatch(/^process_resident_memory_bytes/m);
  expect((await s.http("/else")).status).toBe(404);
  s.child.kill("SIGTERM");
  expect(await s.exit()).toBe(0);
  expect(s.lines.at(-1)).toMatchObject({ msg: "prober-x has stopped", service: "prober", level: "info" });
  expect(s.errors()).toBe("");
});

test("before NATS is there it lives, is not ready, and says why; then it is ready by itself", async () => {
  const [port = 0] = await freePorts(1);
  const s = start({ env: { BATON_NATS_URL: `nats://127.0.0.1:${port}` } });
  await s.says(/NATS cannot be reached at 127\.0\.0\.1:\d+ .*Baton keeps trying/);
  expect((await s.http("/livez")).status).toBe(200);
  const waiting = await s.http("/readyz");
  expect(waiting.status).toBe(503);
  expect(JSON.parse(waiting.body)).toEqual({ ready: false, why: "NATS is not connected yet" });
  const late = await startNats({ port });
  await s.says(/is ready/);
  await late.servers[0]?.kill();
  await until(async () => (await s.http("/readyz")).body.includes("connection to NATS is lost"));
  await late.servers[0]?.start();
  await until(async () => (await s.http("/readyz")).status === 200);
  s.child.kill("SIGINT");
  expect(await s.exit()).toBe(0);
  await late.stop();
}, 30_000);

test("it ends on SIGTERM also while it waits for NATS", async () => {
  const [port = 0] = await freePorts(1);
  const s = start({ env: { BATON_NATS_URL: `nats://127.0.0.1:${port}` } });
  await s.says(/NATS cannot be reached/);
  s.child.kill("SIGTERM");
  expect(await s.exit()).toBe(0);
});

test("the standard gRPC health service serves and tells its watchers", async () => {
  const s = start();
  const { grpc } = await s.says(/^gRPC health/);
  await s.says(/is ready/);
  const Health = makeGenericClientConstructor(healthService, "Health");
  const client = new Health(String(grpc), credentials.createInsecure());
  const check = (name: string) =>
    new Promise<string>((done) =>
      client.check?.({ service: name }, (error: Error | null, value?: { status: string }) =>
        done(error ? error.message : (value?.status ?? "")),
      ),
    );
  await until(async () => (await check("")) === "SERVING");
  expect(await check("baton.prober")).toBe("SERVING");
  expect(await check("baton.other")).toMatch(/unknown/);
  client.close();
});

test("a service that is not ready says why", async () => {
  const s = start({ env: { TEST_FAIL: "unready" } });
  await s.says(/works and is not ready yet: it is told so/);
  expect((await s.http("/readyz")).status).toBe(503);
});

test.each([
  ["http.ports.prober", "BATON_HTTP_PORT"],
  ["grpc.ports.prober", "BATON_GRPC_PORT"],
])("a port in use: %s", async (key, variable) => {
  const holder = createServer();
  await new Promise<void>((done) => holder.listen(0, "127.0.0.1", done));
  const { port } = holder.address() as { port: number };
  const s = start({ env: { [variable]: String(port) } });
  const line = await s.says(/E_PORT_IN_USE/);
  expect(line).toMatchObject({ level: "fatal", code: "E_PORT_IN_USE", place: `127.0.0.1:${port} (${key})` });
  expect(await s.exit()).toBe(1);
  expect(s.lines.filter((l) => l.level === "fatal")).toHaveLength(1);
  holder.close();
});

test.each<[string, string[], string, RegExp]>([
  ["a wrong option", ["--wat"], "", /^E_USAGE at command line: .*--wat.* Usage: prober \[-c FILE\]/],
  ["a wrong instance", ["--instance", "No Name"], "", /^E_USAGE at command line: --instance "No Name"/],
  [
    "a file that is not there",
    ["-c", "none.yaml"],
    "",
    /^E_CONFIG_NOT_FOUND at none\.yaml: there is no such file/,
  ],
  [
    "a file with a mistake",
    ["-c", "bad.yaml"],
    "prober: { calmMs: x }",
    /^E_CONFIG_INVALID at bad\.yaml:1:11 prober\.calmMs:/,
  ],
])("%s: one line, exit code 2", async (_name, args, yaml, line) => {
  writeFileSync(join(folder, "bad.yaml"), yaml);
  const s = start({ args });
  expect(await s.exit()).toBe(2);
  expect(s.errors()).toMatch(line);
  expect(s.errors().trim().split("\n")).toHaveLength(1);
  expect(s.lines).toEqual([]);
});

test("what start throws is one clear line and exit code 1", async () => {
  const s = start({ env: { TEST_FAIL: "start" } });
  expect(await s.exit()).toBe(1);
  expect(s.lines.filter((l) => l.level === "fatal")).toMatchObject([
    { code: "E_STORE", msg: "E_STORE at test: cannot start. Mend it." },
  ]);
});

test("an error that nobody caught is one fatal line and exit code 1", async () => {
  const s = start({ env: { TEST_FAIL: "crash" } });
  expect(await s.exit()).toBe(1);
  expect(s.lines.filter((l) => l.level === "fatal")).toMatchObject([
    { msg: expect.stringContaining("boom") },
  ]);
});

test("a second signal ends a stop that hangs", async () => {
  const s = start({ env: { TEST_FAIL: "stop" } });
  await s.says(/is ready/);
  s.child.kill("SIGTERM");
  await s.says(/stops: SIGTERM/);
  s.child.kill("SIGTERM");
  expect(await s.exit()).toBe(1);
  expect(s.lines.at(-1)?.msg).toMatch(/exits at once/);
});

test("it ends when its parent goes away", async () => {
  const s = start({ ipc: true });
  await s.says(/is ready/);
  s.child.disconnect();
  expect(await s.exit()).toBe(0);
  await s.says(/the parent process has gone/);
});
