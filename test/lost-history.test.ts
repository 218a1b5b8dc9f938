/**
 * Fault: all servers die, and the primary comes back with an older disk, alone. Expectation: it is not opened, and is replaced as soon as
 * replicas that hold all are back; where they never come back, a person gives up by name what is missing, and nothing else.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { LabNode } from "@baton/lab";
import { GtidSet } from "@baton/mysql";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

const run = promisify(execFile);

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(async () => {
  await stage?.stop();
});

const dataOf = (node: LabNode) => join(node.dir, "data");

/** Copies the primary's disk while it is down and Baton is paused; it is opened again afterwards. */
async function snapshot(node: LabNode): Promise<string> {
  const kept = `${dataOf(node)}.kept`;
  const reopened = stage.events.filter((e) => e.type === "primary-reopened").length;
  await stage.bus.command("pause", { cluster: "shop", by: "the test", reason: "a copy is made" });
  await node.kill();
  await run("cp", ["-a", "--sparse=always", dataOf(node), kept]);
  await node.start();
  await stage.until("it is seen to be back", async () =>
    (await stage.status()).diagnosis.code === "primary-read-only" ? true : null,
  );
  await stage.bus.command("resume", { cluster: "shop", by: "the test" });
  await stage.until("it is open again", () =>
    stage.events.filter((e) => e.type === "primary-reopened").length > reopened ? true : null,
  );
  await stage.whole();
  return kept;
}

/** Rows that are acknowledged after the copy, and seen to be. */
async function write(node: LabNode, from: number): Promise<void> {
  for (let id = from; id < from + 20; id++) await node.query(`INSERT INTO app.late VALUES (${id})`);
  const [row] = await node.query<{ g: string }>("SELECT @@gtid_executed g");
  const all = GtidSet.parse(String(row?.g).replaceAll("\n", ""));
  await stage.until("the mark holds them", async () => {
    const mark = await stage.bus.bucket("baton_marks").get("shop");
    return mark !== null && GtidSet.parse(mark.value.executed).contains(all) ? true : null;
  });
}

async function dieWithOldDisk(node: LabNode, kept: string): Promise<void> {
  await Promise.all(stage.lab.nodes.map((n) => n.kill()));
  await stage.until("all are seen to be gone", async () =>
    (await stage.status()).nodes.every((n) => n.outcome !== "ok") ? true : null,
  );
  await run("rm", ["-rf", dataOf(node)]);
  await run("mv", [kept, dataOf(node)]);
  await node.start();
  await stage.until("its loss is named", async () => {
    const { diagnosis } = await stage.status();
    return diagnosis.code === "primary-lost-history" ? true : null;
  });
}

const closed = async (node: LabNode) =>
  (await node.query<{ sro: number }>("SELECT @@super_read_only sro"))[0]?.sro === 1;

it("is replaced by a replica that holds all, and not opened before one is there", async () => {
  const n1 = stage.lab.node("n1");
  await n1.query("CREATE TABLE app.late (id INT PRIMARY KEY)");
  const kept = await snapshot(n1);
  await write(n1, 100);
  await dieWithOldDisk(n1, kept);
  expect(await closed(n1)).toBe(true);
  expect(await n1.query("SELECT id FROM app.late")).toEqual([]);
  expect((await stage.status()).failover).toMatchObject({ possible: false });

  await Promise.all(["n2", "n3"].map((n) => stage.lab.node(n).start()));
  const changed = await stage.event("primary-changed");
  expect(["n2", "n3"]).toContain(changed.node);
  expect(await stage.lab.node(changed.node as string).query("SELECT id FROM app.late")).toHaveLength(20);
  // Its receiver drops what came from its own server_id: following does not bring back what its disk has lost.
  await stage.event("node-quarantined", (e) => e.node === "n1");
  await stage.bus.command("rebuild", { cluster: "shop", node: "n1", from: null });
  await stage.event("node-rebuilt", (e) => e.node === "n1", 60_000);
  await stage.whole();
  expect(await n1.query("SELECT id FROM app.late")).toHaveLength(20);
});

it("is opened as it is only when a person gives up by name what it lacks", async () => {
  const view = await stage.whole();
  const primary = stage.lab.node(view.primary as string);
  const kept = await snapshot(primary);
  await write(primary, 200);
  await dieWithOldDisk(primary, kept);
  const ask = (acceptLoss: string | null) =>
    stage.bus.command("failover", {
      cluster: "shop",
      to: primary.name,
      dryRun: false,
      acceptLoss,
      acceptUnproven: false,
      by: "the test",
    });
  const refused = await ask(null);
  const end = await stage.event("operation-ended", (e) => e.operation === refused.operation);
  expect(end).toMatchObject({ outcome: "blocked", code: "mark-missed" });
  expect(await closed(primary)).toBe(true);

  // For a moment after the end of an operation no status is newer than the state.
  const missing = await stage.until("what is missing is named", async () => {
    const { diagnosis } = await stage.status();
    return /transactions \(([^)]+)\)/.exec(diagnosis.summary)?.[1] ?? null;
  });
  expect(GtidSet.parse(missing).count()).toBeGreaterThanOrEqual(20);
  const ordered = await stage.until("it can be ordered", () => ask(missing).catch(() => null));
  await stage.event("operation-ended", (e) => e.operation === ordered.operation && e.outcome === "completed");
  expect(await closed(primary)).toBe(false);
  const state = (await stage.bus.bucket("baton_state").get("shop"))?.value;
  expect(state?.forgone?.by).toBe("the test");
  expect(GtidSet.parse(state?.forgone?.gtids ?? "").equals(GtidSet.parse(missing))).toBe(true);
});
