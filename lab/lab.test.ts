import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { createConnection } from "mysql2/promise";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lab, type LabNode, monotonicMs, startLab } from "./index.ts";
import { attached, caughtUp, follow } from "./replication.ts";
import { until } from "./until.ts";

let lab: Lab;
let other: Lab;

beforeAll(async () => {
  const spare = { nodes: 1, natsServers: 0 as const, replication: false };
  [lab, other] = await Promise.all([startLab({ regions: ["north", "south"] }), startLab(spare)]);
}, 60_000);

afterAll(async () => {
  await Promise.all([lab?.stop(), other?.stop()]);
  for (const each of [lab, other]) if (each) expect(existsSync(each.dir)).toBe(false);
}, 30_000);

async function value(node: LabNode, sql: string): Promise<unknown> {
  const [row] = await node.query<Record<string, unknown>>(sql);
  return row && Object.values(row)[0];
}

async function clients(): Promise<string> {
  const [row] = await lab
    .node("n1")
    .query<{ Value: string }>("SHOW STATUS LIKE 'Rpl_semi_sync_source_clients'");
  return row?.Value ?? "";
}

test("n1 is the primary, the others are its semi-sync replicas and get its rows", async () => {
  expect((await lab.primary())?.name).toBe("n1");
  expect(await clients()).toBe("2");
  await lab.node("n1").query("INSERT INTO app.writes VALUES ('replicated', 'n1', 1)");
  for (const name of ["n2", "n3"]) {
    await caughtUp(lab.node(name), lab.node("n1"));
    expect(await value(lab.node(name), "SELECT id FROM app.writes WHERE id = 'replicated'")).toBe(
      "replicated",
    );
  }
});

test("every node has the lossless boot configuration and an own identity", async () => {
  const wanted = {
    gtid_mode: "ON",
    log_replica_updates: 1,
    sync_binlog: 1,
    innodb_flush_log_at_trx_commit: 1,
    relay_log_recovery: 0,
    replica_net_timeout: 4,
    rpl_semi_sync_source_wait_point: "AFTER_SYNC",
    rpl_semi_sync_source_timeout: "4294967295",
    rpl_semi_sync_source_wait_no_replica: 1,
    rpl_semi_sync_source_wait_for_replica_count: 1,
  };
  const ids = new Set();
  for (const node of lab.nodes) {
    for (const [name, expected] of Object.entries(wanted)) {
      expect(`${name}=${await value(node, `SELECT @@GLOBAL.${name}`)}`).toBe(`${name}=${expected}`);
    }
    ids.add(await value(node, "SELECT @@server_uuid"));
  }
  expect(ids.size).toBe(3);
});

test("a cluster declaration names every node and hands the regions out in turn", () => {
  const { nodes } = lab.clusterDeclaration();
  expect(Object.keys(nodes)).toEqual(["n1", "n2", "n3"]);
  expect(Object.values(nodes).map((node) => node.region)).toEqual(["north", "south", "north"]);
  expect(nodes.n2).toEqual({ host: "127.0.0.1", port: lab.node("n2").port, region: "south" });
});

test("the accounts can do what they are for, over TCP without TLS, and no more", async () => {
  const replica = lab.node("n2");
  const connect = (account: { user: string; password: string }) =>
    createConnection({ host: replica.host, port: replica.port, ...account });
  const app = await connect(lab.accounts.app);
  await expect(app.query("INSERT INTO app.writes VALUES ('no', '', 0)")).rejects.toThrow(/read-only/);
  await expect(app.query("SET GLOBAL read_only=OFF")).rejects.toThrow(/denied/);
  app.destroy();
  const baton = await connect(lab.accounts.baton);
  await baton.query("SELECT * FROM performance_schema.replication_connection_status");
  await baton.query("SELECT PROCESSLIST_STATE FROM performance_schema.threads");
  await baton.query("SET GLOBAL super_read_only=ON");
  await baton.query("SELECT GET_LOCK('baton', 0)");
  await expect(baton.query("SELECT * FROM app.writes")).rejects.toThrow(/denied/);
  baton.destroy();
});

test("two labs share nothing", async () => {
  const ports = [...lab.nodes, ...other.nodes].map((node) => node.port);
  expect(new Set(ports).size).toBe(ports.length);
  expect(other.dir).not.toBe(lab.dir);
  await other.node("n1").query("INSERT INTO app.writes VALUES ('own', 'own', 1)");
  expect(await value(lab.node("n1"), "SELECT COUNT(*) FROM app.writes WHERE id = 'own'")).toBe(0);
});

test("a hung node answers again after resume; a killed one comes back read-only on its port", async () => {
  const node = lab.node("n3");
  const { port, pid } = node;
  node.hang();
  expect(node.hung).toBe(true);
  node.resume();
  expect(await value(node, "SELECT 1")).toBe(1);
  const beforeMs = monotonicMs();
  const atMs = node.killNow();
  expect(atMs).toBeGreaterThanOrEqual(beforeMs);
  expect(atMs).toBeLessThanOrEqual(monotonicMs());
  await node.start();
  expect(node.port).toBe(port);
  expect(node.pid).not.toBe(pid);
  expect(await value(node, "SELECT @@GLOBAL.super_read_only")).toBe(1);
  expect(node.log()).toContain("ready for connections");
  await node.query("SET GLOBAL rpl_semi_sync_replica_enabled=ON; START REPLICA");
  await attached(lab.node("n1"), 2);
}, 30_000);

test("a reseeded node is empty and new, and gets back everything, its own old writes too", async () => {
  const [n1, n3] = [lab.node("n1"), lab.node("n3")];
  const uuid = await value(n3, "SELECT @@server_uuid");
  // A row that n3 wrote itself: under the same server_id its receiver would drop it.
  await n3.query(
    "STOP REPLICA; SET GLOBAL super_read_only=OFF; INSERT INTO app.writes VALUES ('of-n3', '', 0); SET GLOBAL super_read_only=ON",
  );
  await n1.query(
    "SET GLOBAL rpl_semi_sync_source_enabled=OFF; SET GLOBAL rpl_semi_sync_replica_enabled=OFF; " +
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=${n3.port}, SOURCE_USER='repl', ` +
      "SOURCE_PASSWORD='lab-repl', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA",
  );
  await caughtUp(n1, n3);
  await n1.query("STOP REPLICA; RESET REPLICA ALL; SET GLOBAL rpl_semi_sync_source_enabled=ON");
  await n3.reseed();
  expect(await value(n3, "SELECT @@server_uuid")).not.toBe(uuid);
  expect(await value(n3, "SELECT COUNT(*) FROM app.writes")).toBe(0);
  await follow(n3, n1);
  await attached(n1, 2);
  await caughtUp(n3, n1);
  expect(await value(n3, "SELECT id FROM app.writes WHERE id = 'of-n3'")).toBe("of-n3");
}, 30_000);

test("nats-server has JetStream, and is back with its store after a kill", async () => {
  const [server] = lab.nats.servers;
  if (!server) throw new Error("the lab has no NATS server");
  expect(lab.nats.urls).toEqual([server.url]);
  await server.kill();
  expect(server.running).toBe(false);
  await server.start();
  await server.ready(false);
  const body = (await (await fetch(`http://127.0.0.1:${server.monitorPort}/jsz`)).json()) as {
    config?: object;
  };
  expect(body.config).toHaveProperty("store_dir");
});

test("an unknown node, a bad option and a start of a running node say what to do", async () => {
  expect(() => lab.node("n9")).toThrow(/unknown-node: found n9; expected one of n1, n2, n3/);
  await expect(startLab({ nodes: 0 })).rejects.toMatchObject({ code: "bad-option" });
  await expect(startLab({ name: "a b" })).rejects.toMatchObject({ code: "bad-option" });
  await expect(lab.node("n1").start()).rejects.toMatchObject({ code: "node-running" });
});

test("a lab that cannot start leaves nothing behind", async () => {
  const failed = startLab({
    nodes: 2,
    natsServers: 0,
    name: "broken",
    mysqldArgs: { n2: ["--no-such-option"] },
  });
  await expect(failed).rejects.toMatchObject({
    code: "server-died",
    found: expect.stringContaining("no-such-option"),
  });
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith("baton-lab-broken-"))).toEqual([]);
}, 30_000);

test("an abort ends the lab while it starts", async () => {
  const abort = new AbortController();
  const starting = startLab({
    nodes: 1,
    natsServers: 0,
    name: "aborted",
    signal: abort.signal,
    onProgress: () => abort.abort(),
  });
  await expect(starting).rejects.toThrow();
  await until(async () => !readdirSync(tmpdir()).some((name) => name.startsWith("baton-lab-aborted-")), {
    timeoutMs: 10_000,
    onTimeout: () => new Error("the directory of an aborted lab is still there"),
  });
}, 30_000);
