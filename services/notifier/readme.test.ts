/** The receivers that the README shows are run as they stand there. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { webhookChannel } from "./channels/webhook.ts";
import { alert } from "./receiver.testkit.ts";

const readme = readFileSync(new URL("./README.md", import.meta.url), "utf8");
const sample = (language: string) =>
  new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "s").exec(readme)?.[1] as string;
const secret = "a secret of the README";
const hasPython = spawnSync("python3", ["--version"]).status === 0;
let folder: string;
let child: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "baton-notifier-"));
});
afterEach(async () => {
  if (child && child.exitCode === null) {
    const gone = new Promise((done) => child?.once("exit", done));
    child.kill("SIGKILL");
    await gone;
  }
  rmSync(folder, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

async function accepts(program: string, file: string, text: string): Promise<void> {
  const port = await freePort();
  writeFileSync(join(folder, file), text);
  const env = { ...process.env, SECRET: secret, PORT: String(port) };
  child = spawn(program, [join(folder, file)], { env, stdio: "ignore" });
  const send = (key: string, now = Date.now) =>
    webhookChannel({
      name: "hook",
      minSeverity: "info",
      url: `http://127.0.0.1:${port}/`,
      secret: key,
      timeoutMs: 1_000,
      version: "1",
      now,
    }).send({ alert: alert("a"), traceparent: null }, AbortSignal.timeout(5_000));
  await vi.waitFor(() => send(secret), { timeout: 10_000 });
  await expect(send("another secret")).rejects.toThrow("answered 401");
  await expect(send(secret, () => Date.now() - 3_600_000)).rejects.toThrow("answered 401");
}

test(
  "the receiver in Node takes what is signed, and refuses a wrong or an old signature",
  () => accepts(process.execPath, "receiver.mjs", sample("js")),
  20_000,
);

test.skipIf(!hasPython)(
  "the receiver in Python does too",
  () => accepts("python3", "receiver.py", sample("python")),
  20_000,
);
