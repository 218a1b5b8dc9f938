/**
 * Fault: two nodes accept writes and get different rows. Expectation: the bleeding is stopped, what each held is in the audit, the lawful
 * history goes on with nothing acknowledged lost, the other is quarantined and rebuilt; a person is needed only where both are lawful.
 */
import { type Alert, type DeclaredCluster, MESSAGES } from "@baton/contracts";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
const alerts: Alert[] = [];
let samples = 0;

beforeAll(async () => {
  stage = await startStage({ lab: { nodes: 4 }, policy: { rebuild: "auto" } });
  stage.bus.subscribe(MESSAGES.alert, {}, (alert) => alerts.push(alert));
  stage.bus.subscribe(MESSAGES.sample, {}, () => {
    samples += 1;
  });
});
afterAll(async () => {
  await stage?.stop();
});
beforeEach(async () => {
  await stage.whole(90_000);
  // One that is crowned while it lags would lack what the others hold: another case than the one that is tried.
  await stage.until("all have applied the same", async () => {
    const sets = await Promise.all(
      stage.lab.nodes.map(async (n) => (await n.query<{ g: string }>("SELECT @@gtid_executed g"))[0]?.g),
    );
    return new Set(sets).size === 1 ? true : null;
  });
  alerts.length = 0;
  for (const list of [stage.diagnoses, stage.events, stage.intents, stage.steps]) list.length = 0;
});

const node = (name: string) => stage.lab.node(name);
const OPEN = "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF";
const row = (id: string, server: string) => `INSERT INTO app.writes VALUES ('${id}', '${server}', 0)`;
const orders = () => stage.intents.map((i) => i.kind);

async function setSplitBrain(to: "auto" | "ask"): Promise<void> {
  const clusters = stage.bus.bucket("baton_clusters");
  const found = (await clusters.get("shop"))?.value as DeclaredCluster;
  const repairs = { ...found.policy.repairs, "split-brain": to };
  await clusters.put("shop", { ...found, policy: { ...found.policy, repairs } });
}

async function watchOn(): Promise<void> {
  const from = samples;
  await stage.until("more samples", () => (samples > from + 12 ? true : null));
}

async function writable(): Promise<string[]> {
  const found = await Promise.all(
    stage.lab.nodes.map(async (n) => {
      const [flags] = await n.query<{ ro: number }>("SELECT @@read_only ro");
      return flags?.ro === 0 ? [n.name] : [];
    }),
  );
  return found.flat();
}

async function holds(name: string, id: string): Promise<boolean> {
  return (await node(name).query(`SELECT id FROM app.writes WHERE id = '${id}'`)).length === 1;
}

/** Made primary of its own by somebody who knows semi-sync: its writes are acknowledged by `follower`. */
async function crownBehindBatonsBack(name: string, follower: string): Promise<void> {
  await node(name).query(
    `STOP REPLICA; RESET REPLICA ALL; SET GLOBAL rpl_semi_sync_replica_enabled=OFF; SET GLOBAL rpl_semi_sync_source_enabled=ON; ${OPEN}`,
  );
  await node(follower).query(
    `STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_PORT=${node(name).port}, SOURCE_HEARTBEAT_PERIOD=0.2; START REPLICA`,
  );
}

/** A client of this node alone: the lab's own writer would go over to whoever else accepts writes. `stop` gives its errors. */
function writeTo(name: string) {
  const answered: string[] = [];
  const errors: string[] = [];
  let on = true;
  const running = (async () => {
    for (let i = 0; on; i++) {
      const id = `client${i}`;
      await node(name)
        .query(row(id, name))
        .then(
          () => answered.push(id),
          (error: unknown) => errors.push(String(error)),
        );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  return {
    answered,
    stop: async () => {
      on = false;
      await running;
      return errors;
    },
  };
}

/** The stages of the operation that ended last, in order, and what they took together. */
function stages(): { names: string[]; tookMs: number } {
  const operation = stage.intents.find((i) => i.kind === "split-brain")?.operation;
  const steps = stage.steps.filter((s) => s.operation === operation);
  return {
    names: steps.map((s) => s.step),
    tookMs: Math.max(...steps.map((s) => s.atMs + s.tookMs)),
  };
}

const pause = (on: boolean) =>
  on
    ? stage.bus.command("pause", { cluster: "shop", by: "ann", reason: "trying" })
    : stage.bus.command("resume", { cluster: "shop", by: "ann" });

/** In the pause, from what its deciders have seen: what they order after it is for this and for nothing else. */
const isNamed = () =>
  stage.until("the split brain is named", async () =>
    (await stage.status()).diagnosis.code === "split-brain" ? true : null,
  );

it("a second pen: named while ask or paused, then taken; the primary never stops, the other's rows are archived and it is rebuilt", async () => {
  const { epoch } = await stage.status();
  const clients = writeTo("n1");
  await setSplitBrain("ask");
  await node("n3").query(`${OPEN}; ${row("rival", "n3")}`);
  const alert = await stage.until("the alert", () => alerts.find((a) => a.code === "split-brain") ?? null);
  expect(alert).toMatchObject({ severity: "critical", node: "n1" });
  expect(alert.action).toContain("policy.repairs.split-brain is ask: baton repair shop n1 mends it");
  await watchOn();
  expect(orders()).toEqual([]);
  await pause(true);
  await setSplitBrain("auto");
  await watchOn();
  expect(orders()).toEqual([]);
  await node("n3").query(row("rival2", "n3"));

  const acknowledged = clients.answered.length;
  await pause(false);
  const taken = await stage.event("node-quarantined", (e) => e.node === "n3");
  const [own] = await node("n3").query<{ uuid: string }>("SELECT @@server_uuid uuid");
  expect(taken.detail.errant).toBe(`${own?.uuid}:1-2`);
  const resolved = await stage.event("split-brain-resolved");
  expect(resolved).toMatchObject({ node: "n1", epoch });
  const archived = await stage.event("split-brain-snapshot");
  const nodes = archived.detail.nodes as Record<string, { executed: string; sessions: unknown[] }>;
  expect(nodes.n3?.executed).toContain(`${own?.uuid}:1-2`);
  expect(nodes.n1?.sessions.length).toBeGreaterThan(0);
  const told = stages();
  expect(told.names).toEqual(["claim", "stop", "snapshot", "arbitrate", "resume", "quarantine"]);
  expect(told.tookMs).toBeLessThan(60_000);

  await stage.event("node-rebuilt", (e) => e.node === "n3", 90_000);
  const view = await stage.whole(90_000);
  expect(view).toMatchObject({ epoch, primary: "n1" });
  expect(await writable()).toEqual(["n1"]);
  expect(await holds("n3", "rival")).toBe(false);
  await stage.until("writes flow", () => (clients.answered.length > acknowledged + 20 ? true : null));
  expect(await clients.stop()).toEqual([]);
  for (const name of ["n1", "n2"])
    await stage.until(`${name} has every write that was answered`, async () => {
      const rows = await node(name).query<{ id: string }>(
        "SELECT id FROM app.writes WHERE id LIKE 'client%'",
      );
      const there = new Set(rows.map((r) => r.id));
      return clients.answered.every((id) => there.has(id)) ? true : null;
    });
});

it("two histories, each acknowledged: nobody writes and nothing is done by itself until a person chooses", async () => {
  const { epoch } = await stage.status();
  await pause(true);
  await crownBehindBatonsBack("n3", "n4");
  await node("n3").query(row("of-n3", "n3"));
  await node("n1").query(row("of-n1", "n1"));
  await isNamed();
  await pause(false);
  const ended = await stage.event("operation-ended", (e) => e.kind === "split-brain");
  expect(ended).toMatchObject({ outcome: "blocked", code: "diverged" });
  expect(ended.next).toBe("baton repair shop n1 --keep or baton repair shop n3 --keep");
  expect(await writable()).toEqual([]);
  await watchOn();
  expect(orders()).toEqual(["split-brain"]);
  const view = await stage.status();
  expect(view).toMatchObject({ epoch, primary: "n1", phase: "steady" });
  expect(view.diagnosis.code).toBe("split-brain");
  expect(view.failover).toMatchObject({ possible: false, refusal: "diverged" });

  // With nobody to follow it n3 cannot be kept: then nothing is given up either, and the choice is as it was.
  await node("n4").kill();
  const request = { cluster: "shop", node: "n3", dryRun: false, inject: false, keep: true };
  const inVain = await stage.bus.command("repair", request, { timeoutMs: 10_000 });
  const failed = await stage.event("operation-ended", (e) => e.operation === inVain.operation);
  expect(failed).toMatchObject({ outcome: "blocked", code: "too-few-ackers-left" });
  const before = (await stage.bus.bucket("baton_state").get("shop"))?.value;
  expect(before).toMatchObject({ primary: "n1", undecided: ["n1", "n3"] });
  expect(before?.forgone).toBeUndefined();
  await node("n4").start();

  // The other history was acknowledged, and seen to be: it is given up by name.
  const { operation } = await stage.until("it is chosen", () =>
    stage.bus.command("repair", request, { timeoutMs: 10_000 }).catch(() => null),
  );
  const kept = await stage.event("operation-ended", (e) => e.operation === operation);
  expect(kept.outcome).toBe("completed");
  expect(await writable()).toEqual(["n3"]);
  const state = (await stage.bus.bucket("baton_state").get("shop"))?.value;
  expect(state?.forgone?.by).toBe("baton repair shop n3 --keep");
  for (const name of ["n1", "n2"]) await stage.event("node-rebuilt", (e) => e.node === name, 90_000);
  await stage.whole(90_000);
  for (const name of ["n1", "n2", "n3", "n4"]) {
    expect(await holds(name, "of-n1"), name).toBe(false);
    expect(await holds(name, "of-n3"), name).toBe(true);
  }
  const back = { cluster: "shop", to: "n1", dryRun: false, force: false };
  await stage.until("the role is back", () => stage.bus.command("switchover", back).catch(() => null));
  await stage.event("primary-changed", (e) => e.node === "n1");
  await stage.whole();
});

it("a primary made behind Baton's back whose writes alone were acknowledged keeps them, also when the executor dies in between", async () => {
  const { epoch } = await stage.status();
  await pause(true);
  await node("n1").query("SET GLOBAL super_read_only=ON");
  await crownBehindBatonsBack("n2", "n3");
  await node("n2").query(row("lawful", "n2"));
  await node("n4").query(
    `STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_PORT=${node("n2").port}, SOURCE_HEARTBEAT_PERIOD=0.2; START REPLICA`,
  );
  // Nobody follows it any more, so nobody is told OK for this.
  await node("n1").query(OPEN);
  const lonely = node("n1")
    .query(row("lonely", "n1"))
    .catch(() => "no answer");
  await stage.until("it waits", async () =>
    (await node("n1").query("SHOW STATUS LIKE 'Rpl_semi_sync_source_wait_sessions'"))[0]?.Value === "1"
      ? true
      : null,
  );
  // Whoever dies in the middle, somebody finishes.
  const killed = stage
    .until("the stop", () => stage.steps.find((s) => s.step === "stop") ?? null)
    .then(() => stage.system.program("executor-1").kill());
  await isNamed();
  await pause(false);
  await killed;
  const changed = await stage.event("primary-changed");
  expect(changed).toMatchObject({ node: "n2", previous: "n1", epoch: epoch + 1 });
  expect(await lonely).toBe("no answer");
  await stage.event("node-rebuilt", (e) => e.node === "n1", 90_000);
  const view = await stage.whole(90_000);
  expect(view).toMatchObject({ epoch: epoch + 1, primary: "n2" });
  expect(await writable()).toEqual(["n2"]);
  for (const { name } of stage.lab.nodes) {
    expect(await holds(name, "lawful"), name).toBe(true);
    expect(await holds(name, "lonely"), name).toBe(false);
  }
});
