/**
 * Faults under a brake: the primary is killed while paused, in observe, in advise, and once too often. Expectation: the death is named
 * and nothing is touched; released, the failover comes.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { type Alert, type DeclaredCluster, type Intent, MESSAGES } from "@baton/contracts";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
const alerts: Alert[] = [];
let samples = 0;

beforeAll(async () => {
  stage = await startStage();
  stage.bus.subscribe(MESSAGES.alert, {}, (alert) => alerts.push(alert));
  stage.bus.subscribe(MESSAGES.sample, {}, () => {
    samples += 1;
  });
});
afterAll(async () => {
  await stage?.stop();
});
beforeEach(() => {
  alerts.length = 0;
  stage.diagnoses.length = 0;
  stage.events.length = 0;
  stage.intents.length = 0;
});

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

async function setPolicy(policy: Partial<DeclaredCluster["policy"]>): Promise<void> {
  const clusters = stage.bus.bucket("baton_clusters");
  const found = (await clusters.get("shop"))?.value as DeclaredCluster;
  await clusters.put("shop", { ...found, policy: { ...found.policy, ...policy } });
}

const diagnosis = (code: string, refusal: string | null = null) =>
  stage.until(
    `${code} ${refusal ?? ""}`,
    () => stage.diagnoses.find((d) => d.code === code && (refusal === null || d.refusal === refusal)) ?? null,
  );

/** Long enough for every retry and every rejoin to have had its chance. */
async function watchOn(): Promise<void> {
  const from = samples;
  await stage.until("forty more samples", () => (samples > from + 40 ? true : null));
}

async function primary() {
  return stage.lab.node((await stage.whole()).primary as string);
}

async function untouched(dead: string, epoch: number): Promise<void> {
  expect(stage.intents).toEqual([]);
  for (const node of stage.lab.nodes.filter((n) => n.name !== dead)) {
    const [found] = await node.query<Record<string, number>>("SELECT @@super_read_only sro");
    expect(found, node.name).toMatchObject({ sro: 1 });
    const rows = await node.query<Record<string, string>>("SHOW REPLICA STATUS");
    expect(rows[0]?.Replica_IO_Running, node.name).not.toBe("No");
  }
  expect(await stage.status()).toMatchObject({ epoch, primary: dead, phase: "steady" });
}

it("paused: the death is named, nothing is touched, not even by an intent that is in the stream already; resumed, it is replaced", async () => {
  const old = await primary();
  const { epoch } = await stage.status();
  const unknown = await baton("pause", "shpo");
  expect(unknown.code).toBe(1);
  expect(unknown.stderr).toMatch(/^E_NOT_FOUND at .*"shpo"\. Did you mean shop\?/);
  const paused = await baton("pause", "shop", "--reason", "moving the rack");
  expect(paused).toMatchObject({ code: 0, stderr: "" });
  expect(paused.stdout).toContain("shop is paused");
  const changed = await stage.event("brake-changed");
  expect(changed).toMatchObject({ cluster: "shop", next: "baton resume shop" });
  expect(alerts.find((a) => a.code === "brake-changed")).toMatchObject({ severity: "warning" });

  await old.kill();
  await diagnosis("primary-dead");
  await watchOn();
  await untouched(old.name, epoch);
  expect((await stage.status()).brake).toMatch(/^paused by \S+@\S+ since .* UTC: moving the rack$/);
  const warned = await stage.until("the alert", () => alerts.find((a) => a.code === "primary-dead") ?? null);
  expect(warned.action).toContain("But not now: paused by");

  // An order that was under way when the brake was put on.
  const state = (await stage.bus.bucket("baton_state").get("shop")) as NonNullable<
    Awaited<ReturnType<ReturnType<typeof stage.bus.bucket<"baton_state">>["get"]>>
  >;
  const operation = `failover-shop-${epoch + 1}-late`;
  const locks = stage.bus.bucket("baton_locks");
  const lockRevision = await locks.create("shop", {
    operation,
    kind: "failover",
    holder: "late",
    sinceUnixMs: Date.now(),
  });
  const intent: Intent = {
    operation,
    cluster: "shop",
    kind: "failover",
    node: old.name,
    epoch,
    stateRevision: state.revision,
    lockRevision: lockRevision as number,
    diagnosis: "primary-dead",
    reason: "ordered a moment before the brake",
    decider: "late",
    candidate: null,
    nodes: {},
  };
  await stage.bus.append(MESSAGES.intent, intent, { msgId: operation });
  const claim = await stage.until(
    "the claim",
    () => stage.steps.find((s) => s.operation === operation && s.step === "claim") ?? null,
  );
  expect(claim).toMatchObject({ outcome: "refused", code: "paused" });
  const ended = await stage.event("operation-ended", (e) => e.operation === operation);
  expect(ended).toMatchObject({ outcome: "rolled-back", code: "paused" });
  await stage.until("the lock is let go", async () => ((await locks.get("shop")) === null ? true : null));
  stage.intents.length = 0;
  await untouched(old.name, epoch);

  const all = await baton("resume", "--all");
  expect(all.stdout).toContain("shop stays held: paused by");
  expect(stage.intents).toEqual([]);
  expect(await baton("resume", "shop")).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("resumed"),
  });
  const next = await stage.event("primary-changed");
  expect(next).toMatchObject({ previous: old.name, epoch: epoch + 1 });
  expect((await stage.status()).brake).toBeNull();
  await stage.bringHome(old.name);
});

it("observe: diagnosed and recorded, nothing ordered, not even a reopening; in auto it is", async () => {
  const old = await primary();
  const { epoch } = await stage.status();
  await setPolicy({ mode: "observe" });
  await old.kill();
  await diagnosis("primary-dead");
  await watchOn();
  await untouched(old.name, epoch);
  expect(alerts.some((a) => a.title.includes("would"))).toBe(false);
  await old.start();
  await diagnosis("primary-read-only");
  await watchOn();
  expect(stage.intents).toEqual([]);
  await setPolicy({ mode: "auto" });
  await stage.event("primary-reopened");
  expect(await stage.whole()).toMatchObject({ epoch, primary: old.name });
});

it("advise: says once to whom and why it would fail over; in auto it does", async () => {
  const old = await primary();
  const { epoch } = await stage.status();
  await setPolicy({ mode: "advise" });
  await old.kill();
  const advice = await stage.until("the advice", () => alerts.find((a) => a.title.includes("would")) ?? null);
  expect(advice.title).toMatch(/^shop: Baton would fail over to n\d now$/);
  expect(advice.summary).toContain("2 of 2 ackers reachable");
  await watchOn();
  await untouched(old.name, epoch);
  expect(alerts.filter((a) => a.title.includes("would"))).toHaveLength(1);
  await setPolicy({ mode: "auto" });
  const changed = await stage.event("primary-changed");
  expect(advice.title).toContain(String(changed.node));
  await stage.bringHome(old.name);
});

it("the flap limit, then the cooldown: refused also by a decider that has just started, until a person acknowledges", async () => {
  const old = await primary();
  const { epoch } = await stage.status();
  // Two failovers lie behind us; the state says so.
  await setPolicy({ flapLimit: { failovers: 2, withinMs: 3_600_000 } });
  await stage.until("the status tells", async () =>
    (await stage.status()).failover.refusal === "flapping" ? true : null,
  );
  await old.kill();
  const refused = await diagnosis("failover-not-possible", "flapping");
  expect(refused.summary).toContain("baton ack shop");
  stage.system.program("decider-1").kill();
  stage.diagnoses.length = 0;
  await diagnosis("failover-not-possible", "flapping");
  await watchOn();
  await untouched(old.name, epoch);
  const acked = await baton("ack", "shop");
  expect(acked).toMatchObject({ code: 0, stdout: expect.stringContaining("2 failovers acknowledged") });
  await stage.event("primary-changed");
  await stage.bringHome(old.name);

  await stage.whole();
  await setPolicy({ cooldownMs: 600_000 });
  const view = await stage.until("the status tells", async () => {
    const now = await stage.status();
    return now.failover.refusal === "cooldown" ? now : null;
  });
  expect(view.failover).toMatchObject({ possible: false });
  expect(view.failover.reason).toMatch(/may fail over again in \d+ s, or now after: baton ack shop/);
  expect(await baton("ack", "shop")).toMatchObject({ code: 0 });
  expect((await stage.whole()).failover.possible).toBe(true);
  expect((await baton("ack", "shop")).stdout).toContain("nothing to acknowledge");
});
