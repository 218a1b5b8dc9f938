/**
 * Fault: a node alone holds what was acknowledged, and is to be led home, quarantined, or was emptied. Expectation: its relay logs stay, it
 * leaves only when others hold what it holds, and who lacks a part of the history acknowledges nothing.
 */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await startStage({ policy: { deadlines: { openMs: 1_500 }, repairs: { cooldownMs: 0 } } });
});
afterAll(async () => {
  await stage?.stop();
});
beforeEach(async () => {
  await stage.whole();
  stage.events.length = 0;
});

const node = (name: string) => stage.lab.node(name);
const write = (name: string, id: string) =>
  node(name).query("INSERT INTO app.writes VALUES (?, ?, 1)", [id, name]);
const executed = async (name: string) =>
  (await node(name).query<{ set: string }>("SELECT @@GLOBAL.gtid_executed AS `set`"))[0]?.set ?? "";
const has = async (name: string, id: string) =>
  (await node(name).query("SELECT 1 FROM app.writes WHERE id = ?", [id])).length === 1;
const ended = (name: string, code: string) =>
  stage.event("operation-ended", (e) => e.node === name && e.code === code);
const stateNow = async () => (await stage.bus.bucket("baton_state").get("shop"))?.value;

it("relay logs of a restarted replica stay, also when its source does not let it in any more", async () => {
  const setPassword = (password: string) =>
    node("n1").query(`SET sql_log_bin=0; ALTER USER repl IDENTIFIED BY '${password}'`);
  node("n2").hang();
  await node("n3").query("STOP REPLICA SQL_THREAD");
  await write("n1", "n3-alone");
  await setPassword("rotated");
  await node("n3").kill();
  await node("n3").start();
  await ended("n3", "cannot-follow");
  // It can have it from nowhere but its relay log.
  await stage.until("it is applied", async () => ((await has("n3", "n3-alone")) ? true : null));
  await setPassword(stage.lab.accounts.repl.password);
  node("n2").resume();
});

it("relay logs that a boot with relay_log_recovery=ON put its applier behind are applied", async () => {
  const release = await node("n3").hold("FLUSH TABLES WITH READ LOCK");
  for (let number = 0; number < 5; number++) await write("n1", `left-behind-${number}`);
  await stage.until("n3 has received them", async () => {
    const [row] = await node("n3").query<{ all: number }>(
      `SELECT GTID_SUBSET('${await executed("n1")}', CONCAT(RECEIVED_TRANSACTION_SET, ',', @@GLOBAL.gtid_executed)) AS \`all\`
       FROM performance_schema.replication_connection_status`,
    );
    return row?.all === 1 ? true : null;
  });
  await node("n3").kill();
  await release();
  // Baton does not reach it at its first boot.
  const before = node("n3").bootWith([]);
  node("n3").bootWith([...before, "--relay-log-recovery=ON", "--skip-networking"]);
  await node("n3").start();
  await node("n3").kill();
  node("n3").bootWith(before);
  await node("n3").start();
  await stage.event("node-rejoined", (e) => e.node === "n3");
  await write("n1", "left-behind-after");
  await stage.until("all are applied", async () => {
    for (const id of ["0", "4", "after"]) if (!(await has("n3", `left-behind-${id}`))) return null;
    return true;
  });
  await stage.whole();
  const [channel] = await node("n3").query("SHOW REPLICA STATUS");
  expect(channel).toMatchObject({ Auto_Position: 1, Replica_IO_Running: "Yes", Replica_SQL_Running: "Yes" });
});

it("the only one that holds what was acknowledged is not quarantined, and is when another holds it too", async () => {
  await node("n3").query(
    "SET GLOBAL super_read_only=OFF; INSERT INTO app.writes VALUES ('drift', 'n3', 0); SET GLOBAL super_read_only=ON",
  );
  await node("n2").kill();
  await write("n1", "before-its-restart");
  await node("n3").kill();
  await node("n3").start();
  const told = await ended("n3", "handover-unproven");
  expect(told.summary).toMatch(/n3 stays a member: .*n2 cannot be read: start it/);
  expect((await stateNow())?.quarantined).toEqual([]);
  // It acknowledges on: nobody else is there to do it.
  await write("n1", "after-its-restart");

  const clusters = stage.bus.bucket("baton_clusters");
  const declared = (await clusters.get("shop"))?.value as NonNullable<
    Awaited<ReturnType<typeof clusters.get>>
  >["value"];
  const { policy } = declared;
  await clusters.put("shop", {
    ...declared,
    policy: { ...policy, repairs: { ...policy.repairs, "gtid-drift": "auto" } },
  });
  await node("n2").start();
  await stage.event("node-quarantined", (e) => e.node === "n3");
  expect(await has("n2", "after-its-restart")).toBe(true);
  await node("n3").reseed();
  await stage.event("node-rejoined", (e) => e.node === "n3");
});

it("a former primary that was emptied under its old server id acknowledges nothing and is no replica", async () => {
  await stage.bus.command("switchover", { cluster: "shop", to: "n2", force: false, dryRun: false });
  await stage.event("operation-ended", (e) => e.kind === "switchover" && e.outcome === "completed");
  await stage.whole();
  await write("n2", "after-the-switchover");
  await node("n1").kill();
  await node("n1").seed();
  await node("n1").start();
  const told = await stage.event("node-quarantined", (e) => e.node === "n1");
  expect(told).toMatchObject({ code: "not-whole", next: "baton rebuild shop n1" });
  expect(await stateNow()).toMatchObject({ quarantined: ["n1"], hollow: { n1: node("n1").serverId } });
  const [flags] = await node("n1").query(
    "SELECT @@rpl_semi_sync_replica_enabled acks, @@super_read_only sro",
  );
  expect(flags).toMatchObject({ acks: 0, sro: 1 });
  const view = await stage.until("it is told", async () => {
    const now = await stage.status();
    return now.diagnosis.code === "replica-hollow" ? now : null;
  });
  expect(view.diagnosis.node).toBe("n1");
  // Under another id it gets everything.
  await node("n1").reseed();
  await stage.event("node-rejoined", (e) => e.node === "n1");
  await stage.whole();
  expect(await stateNow()).toMatchObject({ quarantined: [], hollow: {} });
});
