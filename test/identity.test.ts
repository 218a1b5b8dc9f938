/**
 * Fault: names that point at the wrong servers, somebody else's server among the nodes, another server at the primary's address.
 * Expectation: `apply` refuses; past it, nothing is shut that is not known to be ours; a primary that is gone is replaced.
 */
import { execFile } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DeclaredCluster } from "@baton/contracts";
import { type Lab, startLab } from "@baton/lab";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
/** Somebody else's server, with data of its own, writable. */
let other: Lab;
beforeAll(async () => {
  [stage, other] = await Promise.all([
    startStage({ policy: { rebuild: "auto" } }),
    startLab({ nodes: 1, natsServers: 0, replication: false }),
  ]);
  await other
    .node("n1")
    .query(
      "CREATE DATABASE orders; CREATE TABLE orders.o (id INT PRIMARY KEY); INSERT INTO orders.o VALUES (1)",
    );
});
afterAll(async () => {
  await Promise.all([stage?.stop(), other?.stop()]);
});

type Nodes = DeclaredCluster["nodes"];
let files = 0;

const declared = async () => (await stage.bus.bucket("baton_clusters").get("shop"))?.value as DeclaredCluster;

async function put(nodes: Nodes): Promise<void> {
  await stage.bus.bucket("baton_clusters").put("shop", { ...(await declared()), nodes });
}

/** The command itself, with the configuration that the system runs by, but for its nodes. */
async function apply(nodes: Nodes, ...more: string[]): Promise<{ code: number; said: string }> {
  const { policy } = await declared();
  const { lab } = stage;
  const file = join(lab.dir, `apply-${++files}.yaml`);
  const config = {
    nats: { url: lab.nats.urls },
    mysql: { ...lab.accounts.baton, replication: lab.accounts.repl },
    clusters: { shop: { nodes, policy } },
  };
  await writeFile(file, JSON.stringify(config), { mode: 0o600 });
  const main = join(import.meta.dirname, "../cli/main.ts");
  return new Promise((done) => {
    execFile(process.execPath, [main, "apply", "-c", file, ...more], (error, stdout, stderr) =>
      done({ code: error === null ? 0 : Number(error.code), said: stdout + stderr }),
    );
  });
}

const named = (code: string, since: number) =>
  stage.until(code, () => stage.diagnoses.slice(since).find((d) => d.code === code) ?? null);

/** Longer than any repair waits for: Baton has had its chance to meddle. */
const leftAlone = (codes: string[], sinceMs: number) =>
  stage.until("three more seconds of samples", async () =>
    performance.now() - sinceMs > 3_000 && codes.includes((await stage.status()).diagnosis.code)
      ? true
      : null,
  );

it("apply refuses what would lead the wrong server, and says in a dry run what it would do", async () => {
  const { nodes } = await declared();
  const { n1, n2, n3 } = nodes as { n1: Nodes[string]; n2: Nodes[string]; n3: Nodes[string] };
  const { host, port } = other.node("n1");
  const stranger = { ...n3, host, port };
  const [swapped, dropped, foreign, same] = await Promise.all([
    apply({ n1: { ...n1, port: n2.port }, n2: { ...n2, port: n1.port }, n3 }, "--dry-run"),
    apply({ n2, n3 }, "--dry-run"),
    apply({ n1, n2, n3: stranger }, "--dry-run"),
    apply(nodes, "--dry-run"),
  ]);
  expect(swapped).toMatchObject({ code: 1, said: expect.stringContaining("E_PRIMARY_MOVED") });
  expect(swapped.said).toContain(`nodes.n1: moved (${n1.host}:${n1.port} → ${n1.host}:${n2.port})`);
  expect(dropped).toMatchObject({ code: 1, said: expect.stringContaining("E_PRIMARY_DROPPED") });
  expect(foreign.said).toContain("baton apply --force-join n3 --confirm-size 3");
  expect(same).toMatchObject({ code: 0, said: expect.stringContaining("shop unchanged") });
  const refused = await apply({ n1, n2, n3: stranger });
  expect(refused).toMatchObject({ code: 1, said: expect.stringContaining("E_NODE_FOREIGN at") });
  expect(await declared()).toMatchObject({ nodes });
});

it("somebody else's server that got in all the same is named and never touched", async () => {
  const { nodes } = await declared();
  const node = other.node("n1");
  const since = stage.diagnoses.length;
  const intents = stage.intents.length;
  await put({ ...nodes, n3: { ...(nodes.n3 as Nodes[string]), host: node.host, port: node.port } });
  await named("foreign-server", since);
  const sinceMs = performance.now();
  // The true n3 goes on acknowledging meanwhile, and after three seconds that is the graver news.
  await leftAlone(["foreign-server", "undeclared-acker"], sinceMs);
  expect(stage.intents).toHaveLength(intents);
  const [row] = await node.query<Record<string, number>>(
    "SELECT @@read_only ro, (SELECT COUNT(*) FROM orders.o) n, (SELECT COUNT(*) FROM performance_schema.replication_connection_configuration) channels",
  );
  expect(row).toMatchObject({ ro: 0, n: 1, channels: 0 });
  expect((await stage.status()).failover).toMatchObject({ possible: false, refusal: "foreign-server" });
  await put(nodes);
  await stage.whole();
});

it("where names have changed places nothing is shut", async () => {
  const { nodes } = await declared();
  const writer = stage.lab.writer();
  const since = stage.diagnoses.length;
  const intents = stage.intents.length;
  await put({ ...nodes, n1: nodes.n2 as Nodes[string], n2: nodes.n1 as Nodes[string] });
  await named("topology-mismatch", since);
  await leftAlone(["topology-mismatch"], performance.now());
  expect(stage.intents).toHaveLength(intents);
  expect((await stage.status()).failover).toMatchObject({ possible: false, refusal: "topology-mismatch" });
  await put(nodes);
  await stage.whole();
  const report = await writer.stop();
  expect(report).toMatchObject({ lost: [], split: [], finalPrimary: "n1" });
});

it("another server at the primary's address is no life: a replica takes over", async () => {
  const n1 = stage.lab.node("n1");
  const writer = stage.lab.writer();
  await stage.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  const person = { cluster: "shop", by: "the test" };
  await stage.bus.command("pause", { ...person, reason: "n1 becomes another server" });
  writer.fault(n1.killNow());
  await stage.until("n1 is gone", () => (n1.running ? null : true));
  await rm(join(n1.dir, "data", "auto.cnf"));
  await n1.start();
  await named("primary-gone-other-server", 0);
  await stage.bus.command("resume", person);
  await writer.recovered(30_000);
  await stage.event("primary-changed", (e) => e.previous === "n1");
  // The same data under another name: it joins, or is quarantined and rebuilt for what nobody else has.
  await stage.whole(60_000);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});
