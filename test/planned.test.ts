/**
 * A switchover is planned, and deciders come and go. Expectation: it is done once, when its time has come, or is skipped with a reason.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { type Alert, type ClusterState, MESSAGES, type Planned } from "@baton/contracts";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
const alerts: Alert[] = [];

beforeAll(async () => {
  stage = await startStage({ services: { decider: 2 } });
  stage.bus.subscribe(MESSAGES.alert, {}, (alert) => alerts.push(alert));
});
afterAll(async () => {
  await stage?.stop();
});
beforeEach(() => {
  alerts.length = 0;
  stage.events.length = 0;
  stage.intents.length = 0;
});

function baton(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const main = join(import.meta.dirname, "../cli/main.ts");
  const where = ["--nats", stage.lab.nats.urls.join(",")];
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1", TZ: "Europe/Berlin" };
  delete env.FORCE_COLOR;
  return new Promise((done) => {
    execFile(process.execPath, [main, ...args, ...where], { env, timeout: 30_000 }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    );
  });
}

const inSeconds = (s: number) => new Date(Date.now() + s * 1_000).toISOString();
const switchovers = () => stage.intents.filter((i) => i.kind === "switchover");
const plans = () => stage.bus.bucket("baton_plans");
const forgotten = () =>
  stage.until("the plan is forgotten", async () => ((await plans().get("shop")) === null ? true : null));
const skipped = () =>
  stage.until("the skip", () => alerts.find((a) => a.code === "switchover-skipped") ?? null);
const replicasOf = (primary: string | null) =>
  ["n1", "n2", "n3"].filter((n) => n !== primary) as [string, string];

it("is kept through restarts of all deciders, shown, and done once", async () => {
  const { primary, epoch } = await stage.whole();
  const [to] = replicasOf(primary);
  // Three commands are given before: on a busy machine each takes seconds.
  const set = await baton("switchover", "shop", "--to", to, "--at", inSeconds(30));
  expect(set).toMatchObject({ code: 0, stderr: "" });
  expect(set.stdout).toMatch(
    new RegExp(`^Planned: a switchover of shop to ${to} for \\w{3} .* \\+0[12]:00 \\(.* UTC\\)\\.`),
  );
  expect(set.stdout).toContain(`As things are now, ${to} would take over.`);
  expect((await baton("status", "shop")).stdout).toMatch(
    new RegExp(`switchover to ${to} planned for .* UTC, by `),
  );
  const second = await baton("switchover", "shop", "--at", inSeconds(60));
  expect(second.stderr).toMatch(/^E_CONFLICT .* is planned already for .*--cancel/);
  for (const name of ["decider-1", "decider-2"]) stage.system.program(name).kill();

  const changed = await stage.event("primary-changed", () => true, 90_000);
  expect(changed).toMatchObject({ node: to, epoch: epoch + 1 });
  await forgotten();
  await stage.whole();
  expect(switchovers()).toHaveLength(1);
  expect(switchovers()[0]?.reason).toMatch(/^\S+@\S+ planned it for .* UTC\.$/);
  expect((await stage.status()).epoch).toBe(epoch + 1);
  expect(await stage.status()).toMatchObject({ planned: null });
});

it("is taken back; a time that is over is refused", async () => {
  await stage.whole();
  expect((await baton("switchover", "shop", "--at", "2020-01-01T00:00Z")).stderr).toMatch(
    /^E_USAGE .* is over/,
  );
  expect((await baton("switchover", "shop", "--at", "noon")).code).toBe(2);
  await baton("switchover", "shop", "--at", "2099-01-01T00:00Z").then((r) =>
    expect(r.stderr).toContain("more than a year away"),
  );
  expect((await baton("switchover", "shop", "--at", inSeconds(3_600))).code).toBe(0);
  const back = await baton("switchover", "shop", "--cancel");
  expect(back.stdout).toMatch(/^Taken back: a switchover of shop to whom Baton chooses then for /);
  expect((await baton("switchover", "shop", "--cancel")).stdout).toContain(
    "No switchover of shop is planned",
  );
  expect(switchovers()).toEqual([]);
});

const plan = (more: Partial<Planned>): Planned => ({
  cluster: "shop",
  id: `plan-${Math.round(performance.now())}`,
  atUnixMs: Date.now(),
  to: null,
  force: false,
  by: "ann@ops1",
  order: null,
  ...more,
});

it("is skipped with a reason when Baton was down for it, the cluster is paused, or is not fit", async () => {
  const { primary } = await stage.whole();
  const [to] = replicasOf(primary);
  await plans().create("shop", plan({ atUnixMs: Date.now() - 600_000 }));
  expect((await skipped()).summary).toMatch(/^no decider ran at .* UTC or within 3 minutes after it$/);
  await forgotten();

  alerts.length = 0;
  await baton("pause", "shop", "--reason", "stop it all");
  await plans().create("shop", plan({}));
  expect((await skipped()).summary).toContain("stop it all");
  await forgotten();
  await baton("resume", "shop");

  alerts.length = 0;
  const node = stage.lab.node(to);
  // STOP REPLICA stops the applier first, and may be seen half-way.
  await node.query("STOP REPLICA IO_THREAD");
  await stage.until("it is seen", async () => {
    const { nodes } = await stage.status();
    return nodes.find((n) => n.node === to)?.problems.includes("replication-stopped") ? true : null;
  });
  await plans().create("shop", plan({ to }));
  expect((await skipped()).summary).toContain(`${to} does not receive from ${primary}`);
  await forgotten();
  await node.query("START REPLICA IO_THREAD");
  await stage.whole();
  expect(switchovers()).toEqual([]);
  expect((await stage.status()).primary).toBe(primary);
});

it("whose decider is lost after taking it is done by another, once", async () => {
  const { primary, epoch } = await stage.whole();
  const [candidate] = replicasOf(primary);
  const { revision } = (await stage.bus.bucket("baton_state").get("shop")) as {
    value: ClusterState;
    revision: number;
  };
  const order = { candidate, stateRevision: revision, decider: "decider-gone" };
  await plans().create("shop", plan({ order }));
  const changed = await stage.event("primary-changed");
  expect(changed).toMatchObject({ node: candidate, operation: `switchover-shop-${candidate}-${revision}` });
  await forgotten();
  expect(await stage.whole()).toMatchObject({ primary: candidate, epoch: epoch + 1 });
  expect(switchovers()).toHaveLength(1);
});
