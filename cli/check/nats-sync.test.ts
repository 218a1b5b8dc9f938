/** The real nats-server, with and without `sync_interval: always`: what its monitoring says, and what is told of it. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Config } from "@baton/contracts";
import { expect, onTestFinished, test } from "vitest";
import { findNatsServer } from "../embedded-nats.ts";
import { askSynced, monitorsOf, syncFindings } from "./nats-sync.ts";

/** Its monitoring endpoint, on a port that it chose itself. */
async function monitorOf(jetstream: string): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), "baton-nats-sync-"));
  const file = join(dir, "nats.conf");
  writeFileSync(
    file,
    `listen: "127.0.0.1:-1"\nhttp: "127.0.0.1:-1"\n${jetstream.replace("DIR", JSON.stringify(dir))}\n`,
  );
  const server = spawn(findNatsServer(process.env), ["-c", file], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((done) => server.once("exit", done));
  onTestFinished(async () => {
    server.kill("SIGKILL");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  });
  return new Promise((done, failed) => {
    let said = "";
    server.once("exit", () => failed(new Error(said)));
    server.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      const port = /Starting http monitor on 127\.0\.0\.1:(\d+)/.exec(said)?.[1];
      if (port !== undefined && said.includes("Server is ready")) done(`http://127.0.0.1:${port}`);
    });
  });
}

test("a server says whether it syncs each write", async () => {
  const monitors = await Promise.all([
    monitorOf("jetstream { store_dir: DIR, sync_interval: always }"),
    monitorOf("jetstream { store_dir: DIR }"),
    monitorOf("jetstream { store_dir: DIR, sync_interval: 10s }"),
    monitorOf(""),
  ]);
  expect(await Promise.all(monitors.map(askSynced))).toEqual([true, false, false, null]);
  expect(await askSynced("http://127.0.0.1:1")).toBe(null);
});

test("what is told of it", () => {
  const told = (synced: boolean | null, named: boolean) =>
    syncFindings([{ monitor: "http://n1:8222", synced }], named).map(({ level, found, mend }) => [
      level,
      found,
      mend,
    ]);
  expect(told(true, true)).toEqual([]);
  expect(told(null, false)).toEqual([]);
  expect(told(false, false)).toEqual([
    [
      "advice",
      "http://n1:8222: JetStream answers before what it has stored is on the disk.",
      "jetstream { sync_interval: always } in the server's configuration",
    ],
  ]);
  expect(told(null, true)[0]?.[1]).toBe("http://n1:8222: nothing there says how JetStream writes.");
});

test("who is asked", () => {
  const of = (nats: object) => monitorsOf(Config.parse({ nats }).nats);
  expect(of({ url: ["nats://a:4333", "b", "tls://[::1]"] })).toEqual([
    "http://a:8222",
    "http://b:8222",
    "http://[::1]:8222",
  ]);
  expect(of({ url: "nats://a", monitor: "https://mon:1" })).toEqual(["https://mon:1"]);
  expect(of({})).toEqual([]);
});
