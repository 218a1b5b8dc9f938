/**
 * Four nodes, one ack. Expectation: a replica whose server is gone is waited for no more, so that the primary's death right after it loses
 * nothing and is no reason to refuse; one that only hangs goes on counting, until a person says otherwise; both count again when they are back.
 * One that is taken out of the declaration counts until others hold what it holds.
 */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DeclaredCluster } from "@baton/contracts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await startStage({ lab: { nodes: 4 } });
});
afterAll(async () => {
  await stage?.stop();
});

function baton(...args: string[]): Promise<{ code: number; said: string }> {
  const main = join(import.meta.dirname, "../cli/main.ts");
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1" };
  delete env.FORCE_COLOR;
  const all = [main, ...args, "--nats", stage.lab.nats.urls.join(",")];
  return new Promise((done) => {
    execFile(process.execPath, all, { env, timeout: 60_000 }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code ?? -1) : 0, said: stdout + stderr }),
    );
  });
}

const parked = async () =>
  Object.keys((await stage.bus.bucket("baton_state").get("shop"))?.value.parked ?? {});
const memberOf = async (node: string) => (await stage.status()).nodes.find((n) => n.node === node)?.member;

it("a replica dies, and then the primary: the failover asks only those that can have acknowledged", async () => {
  const writer = stage.lab.writer();
  await stage.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  await stage.lab.node("n4").kill();
  await stage.event("member-parked", (e) => e.node === "n4");
  expect(await parked()).toEqual(["n4"]);
  const shown = await baton("members", "shop");
  expect(shown).toMatchObject({ code: 0 });
  expect(shown.said).toMatch(/2 members beside it/);
  expect(shown.said).toMatch(/n4 +\S+ +parked since .* UTC: n4's server is gone/);
  await stage.until("a failover would succeed", async () =>
    (await stage.status()).failover.possible ? true : null,
  );

  writer.fault(stage.lab.node("n1").killNow());
  await writer.recovered(30_000);
  const moved = await stage.event("primary-changed", (e) => e.previous === "n1");
  expect(["n2", "n3"]).toContain(moved.primary?.node);

  // It counts before its receiver starts: the event of its coming home says nothing of the order, the state does.
  await stage.lab.node("n4").start();
  await stage.event("node-rejoined", (e) => e.node === "n4");
  expect(await parked()).not.toContain("n4");
  expect(await memberOf("n4")).toMatchObject({ counts: true });
  await stage.bringHome("n1");
  await stage.whole();
  expect(await parked()).toEqual([]);
  const report = await writer.stop();
  expect(report).toMatchObject({ lost: [], split: [] });
});

it("a replica that hangs goes on counting; a person's word takes it out, and it counts again when it is back", async () => {
  const { primary } = await stage.status();
  const node = ["n1", "n2", "n3", "n4"].find((n) => n !== primary) as string;
  const others = ["n1", "n2", "n3", "n4"].filter((n) => n !== primary && n !== node);
  const early = await baton("forget", "shop", node);
  expect(early).toMatchObject({ code: 1 });
  expect(early.said).toContain(`${node} can be reached`);
  const typo = await baton("forget", "shop", "n44");
  expect(typo.said).toContain("Did you mean n4?");
  const itself = await baton("forget", "shop", primary as string);
  expect(itself.said).toContain("is the primary");

  stage.lab.node(node).hang();
  await stage.until("nobody reaches it", async () => {
    const found = await baton("forget", "shop", node, "--dry-run");
    return found.code === 0 ? found.said : null;
  });
  // Longer than a dead one takes to be parked.
  const untilMs = performance.now() + 5_000;
  await stage.until("five seconds", () => (performance.now() > untilMs ? true : null));
  expect(await parked()).toEqual([]);
  const writer = stage.lab.writer();
  const said = await baton("forget", "shop", node, "--reason", "its disk is gone");
  expect(said.said).toContain(`${node} does not count until it is led home`);
  expect(said.code).toBe(0);
  expect(await parked()).toEqual([node]);
  expect(await memberOf(node)).toMatchObject({
    counts: false,
    why: expect.stringContaining("its disk is gone"),
  });
  const again = await baton("forget", "shop", node);
  expect(again.said).toContain("does not count among the members as it is");

  await stage.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  writer.fault(stage.lab.node(primary as string).killNow());
  await writer.recovered(30_000);
  const moved = await stage.event("primary-changed", (e) => e.previous === primary);
  expect(others).toContain(moved.primary?.node);
  stage.lab.node(node).resume();
  await stage.until("it counts again", async () => ((await memberOf(node))?.counts === true ? true : null));
  await stage.bringHome(primary as string);
  await stage.whole();
  expect(await parked()).toEqual([]);
  const report = await writer.stop();
  expect(report).toMatchObject({ lost: [], split: [] });
});

const declared = async () => (await stage.bus.bucket("baton_clusters").get("shop"))?.value as DeclaredCluster;

/** As a person writes it into baton.yaml. */
async function apply(nodes: DeclaredCluster["nodes"]): Promise<{ code: number; said: string }> {
  const { lab } = stage;
  const file = join(lab.dir, "apply.yaml");
  const config = {
    nats: { url: lab.nats.urls },
    mysql: { ...lab.accounts.baton, replication: lab.accounts.repl },
    clusters: { shop: { nodes, policy: (await declared()).policy } },
  };
  await writeFile(file, JSON.stringify(config), { mode: 0o600 });
  const main = join(import.meta.dirname, "../cli/main.ts");
  return new Promise((done) => {
    execFile(process.execPath, [main, "apply", "-c", file], { timeout: 60_000 }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code ?? -1) : 0, said: stdout + stderr }),
    );
  });
}

it("a replica that is taken out counts until it has left, acknowledges nothing then and replicates on; taken in, it counts again", async () => {
  const { primary } = await stage.whole();
  const node = ["n1", "n2", "n3", "n4"].find((n) => n !== primary) as string;
  const { nodes } = await declared();
  const { [node]: _, ...without } = nodes;
  const lab = stage.lab.node(node);
  const writer = stage.lab.writer();
  await stage.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));

  lab.hang();
  await stage.until("nobody reaches it", async () =>
    (await stage.status()).nodes.find((n) => n.node === node)?.outcome !== "ok" ? true : null,
  );
  const early = await apply(without);
  expect(early.said).toMatch(
    new RegExp(`! ${node} still counts in shop: it cannot be asked .*baton forget shop`),
  );
  expect(early.code).toBe(1);
  expect(await declared()).toMatchObject({ leaving: [node], nodes: { [node]: { promotion: "never" } } });
  expect(await memberOf(node)).toMatchObject({ counts: true });
  expect((await stage.status()).failover).toMatchObject({ possible: false, refusal: "ackers-unreachable" });

  lab.resume();
  await stage.event("member-left", (e) => e.node === node);
  const done = await apply(without);
  expect(done.said).toContain(`nodes.${node}: removed`);
  expect(done.code).toBe(0);
  expect(Object.keys((await declared()).nodes)).toEqual(Object.keys(without));
  expect((await declared()).leaving).toBeUndefined();
  const semi = async () =>
    (await lab.query("SHOW STATUS LIKE 'Rpl_semi_sync_replica_status'"))[0]?.Value as string;
  expect(await semi()).toBe("OFF");
  const behind = writer.acknowledged();
  await stage.until("it replicates on", async () => {
    const [row] = await lab.query<{ n: number }>("SELECT COUNT(*) n FROM app.writes");
    return Number(row?.n) > behind ? true : null;
  });

  // Longer than an acker that nobody knows takes to be told.
  const untilMs = performance.now() + 5_000;
  await stage.until("five seconds", () => (performance.now() > untilMs ? true : null));
  expect(await stage.status()).toMatchObject({
    diagnosis: { code: "healthy" },
    failover: { possible: true },
  });
  // What it gets and others do not is errant when it is taken in again: nothing is to be under way.
  const report = await writer.stop();
  expect(report).toMatchObject({ lost: [], split: [] });
  const executed = async (name: string) =>
    (await stage.lab.node(name).query<{ g: string }>("SELECT @@gtid_executed g"))[0]?.g;
  await stage.until("all hold the same", async () => {
    const sets = await Promise.all(Object.keys(nodes).map(executed));
    return new Set(sets).size === 1 ? true : null;
  });
  await stage.lab.node(primary as string).kill();
  const moved = await stage.event("primary-changed", (e) => e.previous === primary);
  expect(Object.keys(without)).toContain(moved.primary?.node);
  await stage.bringHome(primary as string);

  const back = await apply(nodes);
  expect(back.code).toBe(0);
  await stage.whole();
  expect(await memberOf(node)).toMatchObject({ counts: true });
  expect(await semi()).toBe("ON");

  const again = await apply(without);
  expect(again.said).toContain(`● ${node} has left shop: it acknowledges nothing any more`);
  expect(Object.keys((await declared()).nodes)).toEqual(Object.keys(without));
  expect((await apply(nodes)).code).toBe(0);
  await stage.whole();
});

it("with two replicas and the primary gone nothing is done by itself; a person goes on with whom is left", async () => {
  const { primary } = await stage.status();
  const replicas = ["n1", "n2", "n3", "n4"].filter((n) => n !== primary);
  const [left, ...gone] = replicas as [string, string, string];
  const writer = stage.lab.writer();
  await stage.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  await writer.stop();
  await stage.until("all hold the same", async () => {
    const sets = (await stage.status()).nodes.map((n) => n.executed);
    return new Set(sets).size === 1 ? true : null;
  });
  for (const node of gone) stage.lab.node(node).hang();
  stage.lab.node(primary as string).killNow();
  await stage.until("it is said why nobody takes over", async () => {
    const { diagnosis } = await stage.status();
    return diagnosis.code === "failover-not-possible" && diagnosis.refusal === "ackers-unreachable"
      ? true
      : null;
  });
  const refused = await baton("failover", "shop");
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.said).toMatch(/ackers-unreachable.*3 of 3 ackers must be reachable, 1 are/);
  expect(refused.said).toContain("baton failover shop --accept-unproven");
  const said = await baton("failover", "shop", "--accept-unproven");
  expect(said.said).toMatch(new RegExp(`${primary} → ${left}.*Nobody proves this \\(ackers-unreachable\\)`));
  expect(await stage.status()).toMatchObject({ primary: left });
  // What was given up stands in the archive.
  const { operations } = await stage.bus.command(
    "history",
    { cluster: "shop", operation: null, limit: 5 },
    { timeoutMs: 5_000 },
  );
  expect(operations.some((o) => o.kind === "failover" && o.node === primary)).toBe(true);

  for (const node of gone) stage.lab.node(node).resume();
  await stage.lab.node(primary as string).start();
  await stage.whole(90_000);
  const after = stage.lab.writer();
  await stage.until("writes flow again", () => (after.acknowledged() > 50 ? true : null));
  expect(await after.stop()).toMatchObject({ lost: [], split: [] });
});
