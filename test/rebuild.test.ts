/**
 * Fault: a former primary comes back with a transaction that no history has. Expectation: what it alone holds is archived,
 * its data become the primary's, it follows and acknowledges; whoever dies in between, somebody finishes.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import type { BatonError, Event } from "@baton/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

const LOST = "a-row-that-nobody-was-told-OK-for";

/** Kills the primary, lets Baton fail over, and brings the old one back with a transaction of its own. */
async function comeBackErrant(s: Stage): Promise<string> {
  const { primary } = await s.status();
  const old = s.lab.node(primary as string);
  await old.kill();
  await s.event("operation-ended", (e) => e.kind === "failover" && e.outcome === "completed");
  await s.startErrant(
    old,
    `CREATE TABLE app.errant (id INT PRIMARY KEY, what TEXT); INSERT INTO app.errant VALUES (1, '${LOST}')`,
  );
  await s.event("node-quarantined", (e) => e.node === old.name);
  return old.name;
}

async function expectRebuilt(s: Stage, node: string): Promise<void> {
  const view = await s.whole(90_000);
  expect(view.nodes.find((n) => n.node === node)).toMatchObject({ role: "replica", quarantined: false });
  const here = s.lab.node(node);
  expect(await here.query("SHOW TABLES FROM app LIKE 'errant'")).toEqual([]);
  const [flags] = await here.query(
    "SELECT @@super_read_only sro, @@rpl_semi_sync_replica_enabled acks, @@rpl_semi_sync_source_enabled source",
  );
  expect(flags).toMatchObject({ sro: 1, acks: 1, source: 0 });
  const { value } = (await s.bus.bucket("baton_state").get("shop")) ?? {};
  expect(value?.unbuilt ?? {}).toEqual({});
}

/** What the event keeps of the transaction: its GTID and its row. */
function expectSalvaged(event: Event | undefined, uuid: string): void {
  expect(String(event?.detail.errant)).toContain(uuid);
  expect(String(event?.detail.events)).toContain(LOST);
  expect(String(event?.detail.events)).toContain("### INSERT INTO `app`.`errant`");
  expect(event?.detail.truncated).toBe(false);
}

const uuidOf = async (s: Stage, node: string): Promise<string> =>
  String((await s.lab.node(node).query<{ u: string }>("SELECT @@server_uuid u"))[0]?.u);

function refusal(asked: Promise<unknown>): Promise<string> {
  return asked.then(
    () => "done",
    (error: BatonError) => `${error.code} ${error.message}`,
  );
}

it("an errant former primary is rebuilt when a person says so", async () => {
  stage = await startStage();
  const s = stage;
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
  const node = await comeBackErrant(s);
  const uuid = await uuidOf(s, node);
  const quarantined = s.events.find((e) => e.type === "node-quarantined");
  expect(quarantined?.next).toBe(`baton rebuild shop ${node}`);
  const { primary } = await s.status();
  const other = ["n1", "n2", "n3"].find((n) => n !== node && n !== primary) as string;
  const ask = (name: string, from: string | null = null) =>
    s.bus.command("rebuild", { cluster: "shop", node: name, from });

  expect(await refusal(ask(primary as string))).toMatch(/^E_CONFLICT .* is the primary/);
  expect(await refusal(ask("n9"))).toMatch(/^E_NOT_FOUND /);
  // The only acker left must not be slowed down by giving a copy.
  expect(await refusal(ask(node, other))).toMatch(/^E_CONFLICT .*its acks are needed/);

  const reply = await ask(node);
  expect(reply).toMatchObject({ node, from: primary });
  const rebuilt = await s.event("node-rebuilt", (e) => e.node === node, 90_000);
  expect(rebuilt.operation).toBe(reply.operation);
  expectSalvaged(
    s.events.find((e) => e.type === "errant-salvaged"),
    uuid,
  );
  const ended = await s.event("operation-ended", (e) => e.operation === reply.operation);
  expect(ended.outcome).toBe("completed");
  await expectRebuilt(s, node);

  const told = s.events.filter((e) => e.type === "rebuild-progress");
  for (const each of told) expect(each.detail).toMatchObject({ stage: expect.any(String) });
  const { records } = await s.until("the archive has it", async () => {
    const answer = await s.bus.command("history", { cluster: null, operation: reply.operation, limit: 1 });
    return answer.records.some((r) => r.subject.endsWith(".errant-salvaged")) ? answer : null;
  });
  const kept = records.find((r) => r.subject.endsWith(".errant-salvaged"))?.payload as unknown as Event;
  expectSalvaged(kept, uuid);

  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});

it("by policy it is rebuilt by itself, from a replica that can be spared", async () => {
  stage = await startStage({ lab: { nodes: 4 }, policy: { rebuild: "auto" } });
  const s = stage;
  const node = await comeBackErrant(s);
  await s.event("node-rebuilt", (e) => e.node === node, 90_000);
  await expectRebuilt(s, node);
  const { primary } = await s.status();
  const check = s.steps.find((x) => x.kind === "rebuild" && x.step === "check");
  expect(check?.outcome).toBe("done");
  expect(["n1", "n2", "n3", "n4"]).toContain(check?.detail.donor);
  expect([primary, node]).not.toContain(check?.detail.donor);
});

describe("an executor that dies in a rebuild", () => {
  it.each(["before:clone", "in the copy", "before:rejoin"])("%s: its successor completes", async (when) => {
    const env = when.startsWith("before") ? { executor: { BATON_FAULT_POINT: `${when}=kill` } } : undefined;
    stage = await startStage({ services: { executor: 2 }, ...(env === undefined ? {} : { env }) });
    const s = stage;
    const node = await comeBackErrant(s);
    const { operation } = await s.bus.command("rebuild", { cluster: "shop", node, from: null });
    if (env === undefined) {
      const executor = await s.until("the copy has begun", async () => {
        const found = (await s.bus.bucket("baton_state").get("shop"))?.value;
        return found?.unbuilt?.[node] === undefined ? null : (found.operation?.executor ?? null);
      });
      s.system.program(executor).kill();
    }
    const rebuilt = await s.event("node-rebuilt", (e) => e.node === node, 90_000);
    expect(rebuilt.operation).toBe(operation);
    expect(s.exits.length).toBeGreaterThan(0);
    await expectRebuilt(s, node);
  });
});

it("a failover interrupts it, and it is carried on afterwards", async () => {
  stage = await startStage({ lab: { nodes: 4 } });
  const s = stage;
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
  const node = await comeBackErrant(s);
  const { operation } = await s.bus.command("rebuild", { cluster: "shop", node, from: null });
  await s.until("the copy has begun", async () => {
    const found = (await s.bus.bucket("baton_state").get("shop"))?.value;
    return found?.unbuilt?.[node] === undefined ? null : true;
  });
  const { primary, epoch } = await s.status();
  writer.fault(s.lab.node(primary as string).killNow());
  await writer.recovered(40_000);
  await s.event("primary-changed", (e) => e.epoch === epoch + 1);
  const rebuilt = await s.event("node-rebuilt", (e) => e.node === node, 90_000);
  expect(rebuilt.operation).not.toBe(operation);
  await s.lab.node(primary as string).start();
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});

function baton(s: Stage, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const main = join(import.meta.dirname, "../cli/main.ts");
  const nats = ["--nats", s.lab.nats.urls[0] as string];
  const env = { ...process.env, NO_COLOR: "1" };
  return new Promise((done) => {
    execFile(process.execPath, [main, ...args, ...nats], { env, timeout: 90_000 }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    );
  });
}

it("a healthy replica, at the terminal, without a supervisor: refused while it cannot be, then done", async () => {
  stage = await startStage({ lab: { nodes: 4, supervised: false } });
  const s = stage;
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
  const n4 = s.lab.node("n4");
  const readOnly = (on: 0 | 1) => `SET GLOBAL super_read_only=${on}`;

  await n4.query(`${readOnly(0)}; UNINSTALL PLUGIN clone; ${readOnly(1)}`);
  const refused = await baton(s, "rebuild", "shop", "n4");
  expect(refused.stdout).toMatch(/✖ cannot-clone .*INSTALL PLUGIN clone SONAME.*data were not touched/);
  expect(refused).toMatchObject({ code: 1, stderr: "" });
  const state = async () => (await s.bus.bucket("baton_state").get("shop"))?.value;
  expect(await state()).toMatchObject({ phase: "steady", quarantined: [], last: { outcome: "blocked" } });
  await n4.query(`${readOnly(0)}; INSTALL PLUGIN clone SONAME 'mysql_clone.so'; ${readOnly(1)}`);
  await s.whole();

  const begun = n4.pid;
  const showing = baton(s, "rebuild", "shop", "n4", "--from", "n3");
  await s.until("mysqld has stopped at the end of the copy", () => (n4.running ? null : true));
  expect(await state()).toMatchObject({ quarantined: ["n4"] });
  await n4.start();
  expect(n4.pid).not.toBe(begun);
  const { code, stdout, stderr } = await showing;
  expect(stdout.split("\n")[0]).toMatch(/^n3 → n4 {2}rebuild-shop-n4-\d+$/);
  expect(stdout).toContain("✔ n4 is rebuilt, follows and acknowledges");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(s.events.filter((e) => e.type === "errant-salvaged")).toEqual([]);
  await s.whole();
  expect(await state()).toMatchObject({ quarantined: [], last: { kind: "rebuild", outcome: "completed" } });
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});
