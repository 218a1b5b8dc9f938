/**
 * Faults that kill nobody: a thread, a setting, a source made wrong by hand on one node. Expectation: mended by itself where the policy
 * says auto; named with the command, and not touched, where it says ask, during another operation and in a pause.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { type Alert, type DeclaredCluster, MESSAGES, type Repairs } from "@baton/contracts";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
const alerts: Alert[] = [];
let samples = 0;

beforeAll(async () => {
  stage = await startStage({ policy: { repairs: { cooldownMs: 0, perHour: 20 } } });
  stage.bus.subscribe(MESSAGES.alert, {}, (alert) => alerts.push(alert));
  stage.bus.subscribe(MESSAGES.sample, {}, () => {
    samples += 1;
  });
});
afterAll(async () => {
  await stage?.stop();
});
beforeEach(async () => {
  await stage.whole();
  // An applier that is killed while it works leaves no error behind, and looks like one that a person stopped.
  await stage.until("all hold the same", async () => {
    const sets = (await stage.status()).nodes.map((n) => n.executed);
    return new Set(sets).size === 1 ? true : null;
  });
  alerts.length = 0;
  stage.diagnoses.length = 0;
  stage.events.length = 0;
  stage.intents.length = 0;
});

/** The same as `baton repair`, without a process of its own; resolves when the operation has ended. */
async function repair(name: string, o: { inject?: boolean } = {}): Promise<string> {
  const request = { cluster: "shop", node: name, dryRun: false, inject: false, keep: false, ...o };
  const { operation } = await stage.bus.command("repair", request, { timeoutMs: 10_000 });
  const ended = await stage.event("operation-ended", (e) => e.operation === operation);
  return `${ended.outcome} ${ended.code ?? ""}`.trim();
}

function baton(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const main = join(import.meta.dirname, "../cli/main.ts");
  const where = ["--nats", stage.lab.nats.urls.join(",")];
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1" };
  delete env.FORCE_COLOR;
  return new Promise((done) => {
    execFile(process.execPath, [main, ...args, ...where], { env, timeout: 30_000 }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    );
  });
}

async function setRepairs(repairs: Partial<Repairs>): Promise<void> {
  const clusters = stage.bus.bucket("baton_clusters");
  const found = (await clusters.get("shop"))?.value as DeclaredCluster;
  const { policy } = found;
  await clusters.put("shop", { ...found, policy: { ...policy, repairs: { ...policy.repairs, ...repairs } } });
}

/** Each node is looked at every second: long enough for a fault to stand, and for an order to be given. */
async function watchOn(times = 9): Promise<void> {
  const from = samples;
  await stage.until("more samples", () => (samples > from + times ? true : null));
}

const node = (name: string) => stage.lab.node(name);
const replicaOf = async (name: string) =>
  (await node(name).query<Record<string, string>>("SHOW REPLICA STATUS"))[0] ?? {};
const threadOf = async (name: string, thread: string) =>
  Number(
    (
      await node(name).query<{ id: number }>(
        `SELECT PROCESSLIST_ID id FROM performance_schema.threads WHERE NAME = 'thread/sql/${thread}'`,
      )
    )[0]?.id,
  );
const problems = (name: string, code: string) =>
  stage.until(`${code} on ${name}`, async () => {
    const view = await stage.status().catch(() => null);
    const seen = view?.nodes.find((n) => n.node === name)?.problems.includes(code as never);
    return seen || (view?.diagnosis.code === code && view.diagnosis.node === name) ? true : null;
  });
const mended = (name: string, code: string) =>
  stage.event("node-repaired", (e) => e.node === name && e.detail.repair === code);
const orders = () => stage.intents.map((i) => `${i.kind} ${i.node} ${i.repair ?? ""}`.trim());

it("ask: named with the command and not touched; auto but paused: not touched; resumed: mended one after the other", async () => {
  await setRepairs({ "replication-error": "ask", "semi-sync-broken": "ask" });
  await node("n3").query(`KILL ${await threadOf("n3", "replica_sql")}`);
  await node("n2").query("SET GLOBAL rpl_semi_sync_replica_enabled=OFF");
  await node("n1").query(
    "SET GLOBAL rpl_semi_sync_source_timeout=1000; SET GLOBAL rpl_semi_sync_source_wait_no_replica=OFF",
  );
  await problems("n3", "replication-error");
  await problems("n1", "semi-sync-broken");
  const listed = await baton("repair", "shop", "--dry-run");
  expect(listed.code, listed.stderr).toBe(0);
  expect(listed.stdout).toContain("n1  semi-sync-broken  n1 goes on without acks after 1000 ms");
  expect(listed.stdout).toContain("n2  semi-sync-broken  n2 has the replica role off");
  expect(listed.stdout).toMatch(/n3 {2}replication-error .*error 1756/);
  expect(listed.stdout).toContain("baton repair shop n3");
  const alert = await stage.until(
    "the alert",
    () => alerts.find((a) => a.code === "semi-sync-broken") ?? null,
  );
  expect(alert.action).toContain("policy.repairs.semi-sync-broken is ask: baton repair shop n1 mends it");
  expect(orders()).toEqual([]);

  await stage.bus.command("pause", { cluster: "shop", by: "ann", reason: "looking" });
  await setRepairs({ "replication-error": "auto", "semi-sync-broken": "auto" });
  await watchOn();
  expect(orders()).toEqual([]);
  expect((await replicaOf("n3")).Replica_SQL_Running).toBe("No");

  await stage.bus.command("resume", { cluster: "shop", by: "ann" });
  await mended("n3", "replication-error");
  await mended("n2", "semi-sync-broken");
  await mended("n1", "semi-sync-broken");
  await stage.whole();
  expect((await replicaOf("n3")).Replica_SQL_Running).toBe("Yes");
  const [semi] = await node("n1").query(
    "SELECT @@rpl_semi_sync_source_timeout t, @@rpl_semi_sync_source_wait_no_replica w",
  );
  expect(semi).toMatchObject({ t: 4_294_967_295, w: 1 });
  const [flag] = await node("n2").query("SELECT @@rpl_semi_sync_replica_enabled r");
  expect(flag).toMatchObject({ r: 1 });
});

it("semi-sync switched off on the primary is switched on again, never while another operation has the cluster", async () => {
  const locks = stage.bus.bucket("baton_locks");
  const revision = await locks.create("shop", {
    operation: "switchover-shop-n2-0",
    kind: "switchover",
    holder: "somebody",
    sinceUnixMs: Date.now(),
  });
  await node("n1").query("SET GLOBAL rpl_semi_sync_source_enabled=OFF");
  await node("n1").query("INSERT INTO app.writes VALUES ('unacknowledged', 'n1', 0)");
  await problems("n1", "semi-sync-off");
  await watchOn();
  expect(orders()).toEqual([]);
  const [off] = await node("n1").query("SELECT @@rpl_semi_sync_source_enabled s");
  expect(off).toMatchObject({ s: 0 });
  await locks.remove("shop", revision as number);
  const event = await mended("n1", "semi-sync-off");
  expect(event.summary).toContain("waits for 1 acks");
  await stage.whole();
});

it("a replica that follows a replica follows the primary again; a writable one is shut", async () => {
  await node("n3").query(
    `STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_PORT=${node("n2").port}, SOURCE_HEARTBEAT_PERIOD=0.2; START REPLICA`,
  );
  await stage.event("node-rejoined", (e) => e.node === "n3");
  expect(orders()).toEqual(["rejoin n3 replica-wrong-source"]);
  expect(Number((await replicaOf("n3")).Source_Port)).toBe(node("n1").port);
  await stage.whole();

  await setRepairs({ "replica-writable": "ask" });
  await node("n2").query("SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF");
  await problems("n2", "replica-writable");
  await watchOn();
  expect(orders()).toHaveLength(1);
  const asked = await baton("repair", "shop", "n2");
  expect(asked).toMatchObject({ code: 0, stdout: expect.stringContaining("✔ mended") });
  const [flags] = await node("n2").query("SELECT @@super_read_only sro");
  expect(flags).toMatchObject({ sro: 1 });
  await setRepairs({ "replica-writable": "auto" });
});

it("what a person stopped stays so until a person says otherwise", async () => {
  await node("n3").query("STOP REPLICA");
  await problems("n3", "replication-stopped");
  await watchOn();
  expect(orders()).toEqual([]);
  expect(await repair("n3")).toBe("completed");
  expect(orders()).toEqual(["repair n3 replication-stopped"]);
  expect((await replicaOf("n3")).Replica_IO_Running).toBe("Yes");
});

it("an applier whose error is in the data is not started again by itself, and a person's try ends with what to do", async () => {
  const aside = (sql: string) =>
    `SET GLOBAL super_read_only=OFF; SET sql_log_bin=0; ${sql}; SET sql_log_bin=1; SET GLOBAL super_read_only=ON`;
  await node("n3").query(aside("INSERT INTO app.writes VALUES ('twice', 'n3', 0)"));
  await node("n1").query("INSERT INTO app.writes VALUES ('twice', 'n1', 0)");
  await problems("n3", "replication-error");
  await watchOn();
  expect(orders()).toEqual([]);
  const tried = await baton("repair", "shop", "n3");
  expect(tried.code).toBe(1);
  expect(tried.stdout).toMatch(/✖ cannot-follow .*1062.*next: baton rebuild shop n3/);
  await node("n3").query(aside("DELETE FROM app.writes WHERE id = 'twice'"));
  await stage.until("steady", async () => ((await stage.status()).phase === "steady" ? true : null));
  expect(await repair("n3")).toBe("completed");
});

it("commits that wait for acks that were lost are released, without anything being switched off", async () => {
  await setRepairs({ "semi-sync-waiting": "ask" });
  // Baton's own table is made beforehand: else making it would be the write that releases them.
  const writer = stage.lab.writer({ connections: 1, paceMs: 0, answerTimeoutMs: 60_000 });
  await stage.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
  const cutDumps = async () => {
    const rows = await node("n1").query<{ id: number }>(
      "SELECT PROCESSLIST_ID id FROM performance_schema.threads WHERE PROCESSLIST_COMMAND = 'Binlog Dump GTID'",
    );
    for (const { id } of rows)
      await node("n1")
        .query(`KILL ${id}`)
        .catch(() => undefined);
  };
  const attached = async () =>
    Number(
      (await node("n1").query<{ Value: string }>("SHOW STATUS LIKE 'Rpl_semi_sync_source_clients'"))[0]
        ?.Value,
    );
  await stage.until("a commit that waits for ever", async () => {
    const from = writer.acknowledged();
    await cutDumps();
    await stage.until("both are back", async () => ((await attached()) === 2 ? true : null));
    const until = performance.now() + 400;
    while (performance.now() < until && writer.acknowledged() === from)
      await new Promise((resolve) => setTimeout(resolve, 20));
    return writer.acknowledged() === from ? true : null;
  });
  await problems("n1", "semi-sync-waiting");
  const stuckAt = writer.acknowledged();
  await watchOn();
  expect(orders()).toEqual([]);
  expect(writer.acknowledged()).toBe(stuckAt);
  await setRepairs({ "semi-sync-waiting": "auto" });
  const event = await mended("n1", "semi-sync-waiting");
  expect(event.summary).toContain("for which clients waited");
  await stage.until("writes flow", () => (writer.acknowledged() > stuckAt + 100 ? true : null));
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(Object.keys(report.errors)).toEqual([]);
});

it("a person who switches semi-sync off and then shuts the primary is not taken for a reboot", async () => {
  await node("n1").query("SET GLOBAL rpl_semi_sync_source_enabled=OFF; SET GLOBAL super_read_only=ON");
  await stage.until("primary-read-only", () =>
    stage.diagnoses.some((d) => d.code === "primary-read-only") ? true : null,
  );
  await watchOn();
  expect(stage.intents).toEqual([]);
  await node("n1").query(
    "SET GLOBAL rpl_semi_sync_source_enabled=ON; SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF",
  );
});

it("a repair that does not last is made so often and no more", async () => {
  await setRepairs({ perHour: 1 });
  const undo = () => node("n3").query("SET GLOBAL rpl_semi_sync_replica_enabled=OFF");
  await undo();
  await mended("n3", "semi-sync-broken");
  const alert = await stage.until("the alert", () => alerts.find((a) => a.code === "repair-limit") ?? null);
  expect(alert.title).toContain("semi-sync-broken on n3 comes back");
  await stage.whole();
  await undo();
  await problems("n3", "semi-sync-broken");
  await watchOn();
  expect(orders()).toHaveLength(1);
  expect(await repair("n3")).toBe("completed");
  await setRepairs({ perHour: 20 });
});

it("gtid-drift: the plan names the transactions and the ways out; empty ones by order, a quarantine by policy", async () => {
  const slip = (id: string) =>
    `SET GLOBAL super_read_only=OFF; INSERT INTO app.writes VALUES ('${id}', 'n3', 0); SET GLOBAL super_read_only=ON`;
  await node("n3").query(slip("slip1"));
  const [own] = await node("n3").query<{ uuid: string }>("SELECT @@server_uuid uuid");
  await problems("n3", "gtid-drift");
  await watchOn();
  expect(orders()).toEqual([]);
  const plan = await baton("repair", "shop", "n3", "--dry-run");
  expect(plan.stdout).toContain(`1 transactions of its own: ${own?.uuid}:1`);
  for (const way of [
    "baton repair shop n3\n",
    "baton rebuild shop n3",
    "baton repair shop n3 --inject-empty",
  ])
    expect(plan.stdout).toContain(way);
  expect(orders()).toEqual([]);
  const wrong = await baton("repair", "shop", "n2", "--inject-empty");
  expect(wrong.stderr).toMatch(/^E_CONFLICT .*n2 does not hold transactions of its own/);
  expect(await repair("n3", { inject: true })).toBe("completed");
  await stage.whole();
  const [history] = await node("n1").query<{ has: number }>(
    `SELECT GTID_SUBSET('${own?.uuid}:1', @@GLOBAL.gtid_executed) has`,
  );
  expect(history?.has).toBe(1);

  await setRepairs({ "gtid-drift": "auto" });
  await node("n3").query(slip("slip2"));
  const event = await stage.event("node-quarantined", (e) => e.node === "n3");
  expect(event.next).toBe("baton rebuild shop n3");
  expect(orders().at(-1)).toBe("rejoin n3 gtid-drift");
});
