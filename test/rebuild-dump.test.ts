/**
 * Fault: a node is to be rebuilt, and the clone plugin is missing. Expectation: it is refused in words that help as long as nothing else
 * can be done, then done by a dump: everything is there, nothing else is, and it follows; an executor that dies is followed by one that begins again.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import type { LabNode } from "@baton/lab";
import { afterEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
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

const PRIVILEGES = `GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, CREATE, ALTER, DROP, INDEX, REFERENCES, INSERT, UPDATE, DELETE,
  CREATE VIEW, CREATE ROUTINE, ALTER ROUTINE, SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER ON *.* TO 'baton'@'%'`;

/**
 * All kinds of things, and rows enough for a load that can be interrupted. One statement at a time: of a trigger made in a query of
 * several, MySQL keeps the semicolon, and mysqldump then writes what no server takes (measured on 9.7.4).
 */
const THINGS = [
  "CREATE DATABASE things",
  "CREATE TABLE things.many (id INT PRIMARY KEY AUTO_INCREMENT, bytes BLOB, text VARCHAR(400))",
  `INSERT INTO things.many (bytes, text) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 40000)
    SELECT /*+ SET_VAR(cte_max_recursion_depth=100000) */ UNHEX(LPAD(HEX(n), 64, '0A0D00FF27')), CONCAT(REPEAT('line\\r\\n\\'"', 30), n) FROM c`,
  "CREATE VIEW things.few AS SELECT id FROM things.many WHERE id < 10",
  "CREATE DEFINER='nobody'@'%' PROCEDURE things.nothing() SELECT 1",
  "CREATE TRIGGER things.shout BEFORE INSERT ON things.many FOR EACH ROW SET NEW.text = UPPER(NEW.text)",
  "CREATE EVENT things.seldom ON SCHEDULE EVERY 1 DAY STARTS '2099-01-01' DO DELETE FROM things.many",
  "CREATE USER 'eve'@'%' IDENTIFIED BY 'secret'",
  "GRANT SELECT ON things.* TO 'eve'@'%'",
];

async function fill(node: LabNode): Promise<void> {
  for (const statement of THINGS) await node.query(statement);
}

async function withoutPlugin(node: LabNode): Promise<void> {
  await node.query("SET GLOBAL super_read_only=OFF; UNINSTALL PLUGIN clone; SET GLOBAL super_read_only=ON");
}

/** What a node holds, in words that can be compared. */
async function inventory(node: LabNode) {
  const one = async (sql: string) => JSON.stringify(await node.query(sql));
  return {
    rows: await one("CHECKSUM TABLE things.many, things.few"),
    view: await one("SELECT COUNT(*) n FROM things.few"),
    rest: await one(
      `SELECT ROUTINE_NAME a, DEFINER b FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'things'
       UNION SELECT TRIGGER_NAME, DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'things'
       UNION SELECT EVENT_NAME, DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'things'`,
    ),
    users: await one("SELECT user, host, authentication_string a FROM mysql.user ORDER BY user, host"),
    databases: await one("SHOW DATABASES"),
  };
}

const settings = (node: LabNode) =>
  node.query(
    "SELECT @@innodb_stats_auto_recalc recalc, @@log_bin_trust_function_creators trust, @@event_scheduler events, @@super_read_only sro",
  );

async function state(s: Stage) {
  return (await s.bus.bucket("baton_state").get("shop"))?.value;
}

it("a replica without the plugin, at the terminal: refused while it cannot be, then done under load", {
  timeout: 240_000,
}, async () => {
  stage = await startStage({ lab: { nodes: 4 } });
  const s = stage;
  const [n1, n4] = [s.lab.node("n1"), s.lab.node("n4")];
  await fill(n1);
  await withoutPlugin(n4);
  const refused = await baton(s, "rebuild", "shop", "n4");
  expect(refused.code).toBe(1);
  expect(refused.stdout).toMatch(
    /✖ cannot-clone .*n4, the node, has no active clone plugin: INSTALL PLUGIN .* Nor can a dump be made instead: Baton's account lacks .*SELECT|✖ cannot-clone .*Nor can a dump be made instead: Baton's account lacks CREATE/,
  );
  expect(refused.stdout).toContain("data were not touched");
  await n1.query(PRIVILEGES);
  await s.whole();

  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
  const before = await settings(n4);
  const { code, stdout, stderr } = await baton(s, "rebuild", "shop", "n4", "--from", "n3");
  expect(code, `${stdout}\n${stderr}`).toBe(0);
  expect(stdout).toMatch(/check .*n4 is to be copied from n3 by a dump: n3 was named/);
  expect(stdout).toMatch(/dump .*\d+ bytes dumped from n3 and loaded into n4/);
  expect(stdout).toContain("✔ n4 is rebuilt, follows and acknowledges");
  const told = s.events.filter((e) => e.type === "rebuild-progress" && e.detail.stage === "dump");
  expect(told.length).toBeGreaterThan(0);
  for (const { detail } of told) {
    expect(detail).toMatchObject({
      source: "n3",
      copiedBytes: expect.any(Number),
      leftMs: expect.anything(),
    });
    expect(detail.copiedBytes).toBeLessThanOrEqual(detail.totalBytes as number);
  }
  await s.whole();
  const report = await writer.stop();
  expect([report.lost, report.split]).toEqual([[], []]);
  expect(await inventory(n4)).toEqual(await inventory(n1));
  expect(await settings(n4)).toEqual(before);
  expect(await state(s)).toMatchObject({ quarantined: [], unbuilt: {}, last: { outcome: "completed" } });
});

it("an errant former primary: archived, emptied and loaded; an executor that dies in the load is followed by one that begins again", {
  timeout: 240_000,
}, async () => {
  stage = await startStage({ services: { executor: 2 } });
  const s = stage;
  const { primary } = await s.status();
  const old = s.lab.node(primary as string);
  await fill(old);
  await old.query(PRIVILEGES);
  await s.whole();
  await old.kill();
  await s.event("operation-ended", (e) => e.kind === "failover" && e.outcome === "completed");
  await s.startErrant(
    old,
    "CREATE DATABASE errant; CREATE TABLE errant.rows_ (id INT PRIMARY KEY); DELETE FROM things.many WHERE id < 100",
  );
  await s.event("node-quarantined", (e) => e.node === old.name);
  await withoutPlugin(old);
  const { operation } = await s.bus.command("rebuild", { cluster: "shop", node: old.name, from: null });
  const executor = await s.until("the load has begun", async () => {
    const found = await state(s);
    // Baton cuts every client off before it replaces the data: this one, too.
    const [row] = await old
      .query<{ n: number }>("SELECT COUNT(*) n FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'errant'")
      .catch(() => []);
    return found?.unbuilt?.[old.name] === undefined || row?.n !== 0
      ? null
      : (found.operation?.executor ?? null);
  });
  // Whatever it holds by now, it must not look like a node that holds the history.
  expect(await old.query("SELECT @@gtid_purged p")).toEqual([{ p: "" }]);
  s.system.program(executor).kill();
  const rebuilt = await s.event("node-rebuilt", (e) => e.node === old.name, 90_000);
  expect(rebuilt.operation).toBe(operation);
  expect(s.events.some((e) => e.type === "errant-salvaged" && e.node === old.name)).toBe(true);
  expect(
    s.steps.filter((x) => x.operation === operation && x.step === "dump" && x.outcome === "done"),
  ).toHaveLength(1);
  const view = await s.whole(90_000);
  expect(await inventory(old)).toEqual(await inventory(s.lab.node(view.primary as string)));
  expect((await inventory(old)).databases).not.toContain("errant");
  expect(await settings(old)).toMatchObject([{ recalc: 1, sro: 1 }]);
});

it("without the programs it is refused, and says which are missing and how to name them", async () => {
  stage = await startStage({
    lab: { nodes: 4 },
    env: { executor: { BATON_MYSQLDUMP: "/nowhere/mysqldump", BATON_MYSQL: "/nowhere/mysql" } },
  });
  const s = stage;
  await withoutPlugin(s.lab.node("n4"));
  const { operation } = await s.bus.command("rebuild", { cluster: "shop", node: "n4", from: null });
  const ended = await s.event("operation-ended", (e) => e.operation === operation);
  expect(ended).toMatchObject({ outcome: "blocked", code: "cannot-clone", next: "baton rebuild shop n4" });
  expect(ended.summary).toContain(
    "mysqldump and mysql must be on the executor's PATH, or named by BATON_MYSQLDUMP and BATON_MYSQL",
  );
  await s.whole();
});
