/** The auditor on a real nats-server. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Bus, connectBus } from "@baton/bus";
import { MESSAGES } from "@baton/contracts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startNats, type TestNats, type TestServer } from "../../libs/bus/nats-server.testkit.ts";
import { type ServiceProcess, startServiceProcess } from "../../libs/runtime/service-process.testkit.ts";
import { openArchive } from "./archive.ts";
import { alert, diagnosis, ended, intent, step, traceOf } from "./story.testkit.ts";
import { verifyFile } from "./verify.ts";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
let nats: TestNats;
let bus: Bus;
let folder: string;
const processes: ServiceProcess[] = [];
const soon = { timeout: 30_000, interval: 50 };

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "baton-auditor-"));
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
  await bus.drain();
  await nats.stop();
  rmSync(folder, { recursive: true, force: true });
});

const start = (name: string, file = join(folder, `${name}.sqlite`)): ServiceProcess => {
  const auditor = startServiceProcess({
    service: "auditor",
    main: join(import.meta.dirname, "main.ts"),
    config: join(folder, `${name}.yaml`),
    urls: nats.urls,
    settings: { file },
    instance: `auditor-${name}`,
  });
  processes.push(auditor);
  return auditor;
};

/** What a failover publishes: six messages of one trace. */
async function tell(operation: string, trace: number): Promise<void> {
  const o = { traceparent: `00-${traceOf(trace)}-00f067aa0ba902b7-01` };
  bus.publish(MESSAGES.diagnosis, diagnosis(), o);
  await bus.append(MESSAGES.intent, intent(operation), { ...o, msgId: operation });
  await bus.append(MESSAGES.step, step(operation, "claim"), o);
  await bus.append(MESSAGES.step, step(operation, "open"), o);
  await bus.append(MESSAGES.event, ended(operation), o);
  await bus.append(MESSAGES.alert, alert(`alert-${operation}`), o);
}

const ask = (operation: string | null = null) =>
  bus.command("history", { cluster: null, operation, limit: 100 }, { timeoutMs: 2_000 });
const countIn = (file: string): number => {
  const archive = openArchive(file, { readonly: true });
  try {
    return archive.head().seq;
  } finally {
    archive.close();
  }
};
/** Waits until the file holds exactly `records`, with a chain that holds. */
async function holds(name: string, records: number): Promise<void> {
  const file = join(folder, `${name}.sqlite`);
  await vi.waitFor(() => expect(countIn(file)).toBe(records), soon);
  expect(verifyFile(file, () => {})).toBe(0);
}

test("a failover's messages become one story, told by history", async () => {
  start("a");
  await tell("failover-shop-2-x", 1);
  await tell("failover-shop-3-y", 2);
  await holds("a", 12);
  const list = await ask();
  expect(list.auditor).toBe("auditor-a");
  expect(list.operations.map((o) => [o.operation, o.outcome, o.traceId])).toEqual([
    ["failover-shop-3-y", "completed", traceOf(2)],
    ["failover-shop-2-x", "completed", traceOf(1)],
  ]);
  const { records } = await ask("failover-shop-2");
  expect(records.map((r) => r.kind)).toEqual(["diagnosis", "intent", "step", "step", "event", "alert"]);
  expect(records.map((r) => r.subject)).toContain("baton.v1.step.shop.failover-shop-2-x");
  await expect(ask("failover-shop")).rejects.toMatchObject({ code: "E_CONFLICT" });
  await expect(ask("nothing")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
});

test("killed in the middle and started again: all is there, once", async () => {
  const first = start("a");
  const telling = (async () => {
    for (let i = 0; i < 40; i += 1) await tell(`failover-shop-2-${i}`, i + 1);
  })();
  await vi.waitFor(() => expect(countIn(join(folder, "a.sqlite"))).toBeGreaterThan(20), soon);
  await first.kill("SIGKILL");
  await telling;
  start("a");
  // What the dead one held unacknowledged comes again only after its time (10 s).
  await vi.waitFor(() => expect(countIn(join(folder, "a.sqlite"))).toBe(240), {
    timeout: 60_000,
    interval: 100,
  });
  await holds("a", 240);
});

test("a second auditor with a file of its own catches up, and NATS may be killed meanwhile", async () => {
  start("a");
  await tell("failover-shop-2-x", 1);
  await holds("a", 6);
  const [server] = nats.servers as [TestServer];
  await server.kill();
  await server.start();
  await tell("failover-shop-3-y", 2);
  start("b");
  await Promise.all([holds("a", 12), holds("b", 12)]);
  const stories = ["a", "b"].map((name) => {
    const archive = openArchive(join(folder, `${name}.sqlite`), { readonly: true });
    const story = archive.story("failover-shop-3-y", 100).map((r) => [r.kind, r.id, r.sha256]);
    archive.close();
    return story;
  });
  expect(stories[0]?.length).toBe(6);
  expect(stories[1]).toEqual(stories[0]);
});

test("a file that is no database: one clear line, exit code 1", async () => {
  const file = join(folder, "a.sqlite");
  writeFileSync(file, "This is a letter, and no database at all.".repeat(40));
  const auditor = start("a", file);
  expect(await auditor.exitCode()).toBe(1);
  const lines = auditor.log.filter((l) => l.code === "E_STORE" && l.msg.includes(file));
  expect(lines.length).toBe(1);
});

test("a full disk: not ready with the reason, one alert, nothing lost", async (context) => {
  const volume = join(folder, "volume");
  mkdirSync(volume);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "baton-auditor-test", volume], {
      stdio: "ignore",
    });
  } catch {
    return context.skip();
  }
  try {
    const file = join(volume, "audit.sqlite");
    const auditor = start("a", file);
    await tell("failover-shop-2-x", 1);
    await vi.waitFor(() => expect(countIn(file)).toBe(6), soon);
    const alerts: string[] = [];
    const stop = bus.subscribe(MESSAGES.alert, {}, (a) => {
      if (a.code === "internal") alerts.push(a.summary);
    });
    const { bavail, bsize } = statfsSync(volume);
    writeFileSync(join(volume, "filler"), Buffer.alloc(bavail * bsize));
    let told = 0;
    await vi.waitFor(
      async () => {
        told += 1;
        await tell(`failover-shop-3-${told}`, told + 1);
        expect((await auditor.get("/readyz")).status).toBe(503);
      },
      { timeout: 60_000, interval: 1 },
    );
    expect((await auditor.get("/readyz")).text).toContain("E_DISK_FULL");
    await vi.waitFor(() => expect(alerts.length).toBe(1), soon);
    expect(alerts[0]).toContain(file);
    const before = countIn(file);
    expect(before).toBeLessThan((told + 1) * 6);
    // What is archived can still be read.
    expect((await ask("failover-shop-2-x")).records.length).toBe(6);

    rmSync(join(volume, "filler"));
    const all = (told + 1) * 6 + 1;
    await vi.waitFor(() => expect(countIn(file)).toBe(all), { timeout: 60_000, interval: 100 });
    expect((await auditor.get("/readyz")).status).toBe(200);
    expect(verifyFile(file, () => {})).toBe(0);
    expect(alerts.length).toBe(1);
    stop();
  } finally {
    await Promise.all(processes.splice(0).map((p) => p.kill()));
    execFileSync("umount", [volume]);
  }
});
