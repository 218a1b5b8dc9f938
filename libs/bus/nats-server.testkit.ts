/** Real nats-servers for tests: on free ports of 127.0.0.1, with their data in a folder of their own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export interface TestServer {
  readonly url: string;
  /** Where the server tells of itself over HTTP. */
  readonly monitor: string;
  readonly name: string;
  readonly pid: number;
  start(): Promise<void>;
  /** SIGKILL unless told otherwise; resolves when the process has gone. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  signal(signal: NodeJS.Signals): void;
}

export interface TestNats {
  servers: TestServer[];
  urls: string[];
  stop(): Promise<void>;
}

const inTree = fileURLToPath(new URL("../../.toolchain/mysql/bin/nats-server", import.meta.url));
const program = process.env.BATON_NATS_SERVER ?? (existsSync(inTree) ? inTree : "nats-server");

export async function freePorts(count: number): Promise<number[]> {
  const held = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = held.map((s) => (s.address() as { port: number }).port);
  await Promise.all(held.map((s) => new Promise((done) => s.close(done))));
  return ports;
}

export async function startNats(
  o: { servers?: 1 | 3; jetstream?: boolean; maxFileStore?: string; extra?: string; port?: number } = {},
): Promise<TestNats> {
  const count = o.servers ?? 1;
  const folder = await mkdtemp(join(tmpdir(), "baton-bus-test-"));
  const ports = await freePorts(count * 3);
  if (o.port) ports[0] = o.port;
  const routes = Array.from({ length: count }, (_, i) => `"nats://127.0.0.1:${ports[i * 3 + 2]}"`).join(", ");
  const servers = Array.from({ length: count }, (_, i) => {
    const [client = 0, http = 0, route = 0] = ports.slice(i * 3, i * 3 + 3);
    const config = [
      `server_name: n${i + 1}`,
      `listen: "127.0.0.1:${client}"`,
      `http: "127.0.0.1:${http}"`,
      o.jetstream === false
        ? ""
        : `jetstream { store_dir: "${join(folder, `n${i + 1}`)}"; max_file_store: ${o.maxFileStore ?? "20GB"} }`,
      count === 1 ? "" : `cluster { name: test, listen: "127.0.0.1:${route}", routes: [ ${routes} ] }`,
      o.extra ?? "",
    ].join("\n");
    return testServer(folder, `n${i + 1}`, config, client, http);
  });
  await Promise.all(servers.map((s) => s.start()));
  return {
    servers,
    urls: servers.map((s) => s.url),
    async stop() {
      await Promise.all(servers.map((s) => s.kill()));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function testServer(folder: string, name: string, config: string, port: number, http: number): TestServer {
  let child: ChildProcess | undefined;
  const file = join(folder, `${name}.conf`);
  return {
    name,
    url: `nats://127.0.0.1:${port}`,
    monitor: `http://127.0.0.1:${http}`,
    get pid() {
      return child?.pid ?? 0;
    },
    async start() {
      await writeFile(file, config);
      child = spawn(program, ["-c", file], { stdio: "ignore" });
      await until(async () => {
        if (child?.exitCode !== null) throw new Error(`nats-server ${name} ended: ${config}`);
        return (await fetch(`http://127.0.0.1:${http}/healthz`)).ok;
      }, 20_000);
    },
    async kill(signal = "SIGKILL") {
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, "exit");
      child.kill(signal);
      await gone;
    },
    signal(signal) {
      child?.kill(signal);
    },
  };
}

/** Asks until the answer is yes. Throws when it has not been within `deadlineMs`. */
export async function until(
  ask: () => boolean | Promise<boolean>,
  deadlineMs = 10_000,
  what = "it",
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  let last: unknown;
  while (performance.now() < endMs) {
    try {
      if (await ask()) return;
    } catch (error) {
      if (error instanceof Error && error.message.startsWith("nats-server")) throw error;
      last = error;
    }
    await sleep(10);
  }
  throw new Error(`${what} has not come within ${deadlineMs} ms`, { cause: last });
}
