/** The preflight of a node: on a lab that is fit, on one that is broken setting by setting, and its pure judgements. */
import { Policy } from "@baton/contracts";
import { type Lab, startLab } from "@baton/lab";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  checkChannels,
  checkLogged,
  checkNode,
  checkPlugins,
  checkSettings,
  type Value,
} from "./check-node.ts";
import { missingPrivileges } from "./grants.ts";
import { openSession, type Session } from "./session.ts";
import { SETTINGS } from "./settings.ts";

const policy = Policy.parse({});
const asWanted = (role: "primary" | "replica") =>
  new Map<string, Value>(
    SETTINGS.filter((s) => s.of === undefined || s.of === role).map((s) => [
      s.name,
      { now: s.wanted(policy), boot: s.wanted(policy) },
    ]),
  );

describe("settings", () => {
  it("find nothing where all is as wanted", () => {
    for (const role of ["primary", "replica"] as const)
      expect(checkSettings(asWanted(role), role, policy)).toEqual([]);
  });

  it.each(SETTINGS.map((s) => [s.name, s.of ?? "replica", s] as const))(
    "find %s amiss on a %s, once, and mend it",
    (name, role, s) => {
      const values = asWanted(role as "primary" | "replica");
      const bad = s.wanted(policy) === "ON" ? "OFF" : s.wanted(policy) === "OFF" ? "ON" : "77";
      values.set(name, { now: bad, boot: bad });
      const findings = checkSettings(values, role, policy);
      expect(findings.length).toBeGreaterThanOrEqual(1);
      expect(findings[0]!.found).toContain(name);
      expect(findings[0]!.level).toBe(typeof s.level === "function" ? s.level(policy) : (s.level ?? "error"));
      expect(findings[0]!.mend).toMatch(
        /^(log_bin|replica_skip_errors)$/.test(name)
          ? /my\.cnf/
          : new RegExp(`^SET (PERSIST|PERSIST_ONLY|GLOBAL) ${name} = `),
      );
    },
  );

  it("judge the boot by what is persisted, and admit what cannot be seen", () => {
    const values = asWanted("primary");
    values.set("super_read_only", { now: "OFF", boot: "ON" });
    expect(checkSettings(values, "primary", policy)).toEqual([]);
    values.set("super_read_only", { now: "OFF", boot: null });
    expect(checkSettings(values, "primary", policy)).toMatchObject([
      { level: "advice", found: expect.stringContaining("cannot be seen from here") },
    ]);
    values.set("super_read_only", { now: "ON", boot: "OFF" });
    expect(checkSettings(values, "primary", policy)).toMatchObject([
      { level: "error", found: expect.stringContaining("at the next start") },
    ]);
  });

  it("never mend a primary's boot by making it read-only now", () => {
    const values = asWanted("primary");
    values.set("super_read_only", { now: "OFF", boot: "OFF" });
    expect(checkSettings(values, "primary", policy)[0]!.mend).toBe("SET PERSIST_ONLY super_read_only = ON");
  });

  it("want as many acks as the policy", () => {
    expect(checkSettings(asWanted("primary"), "primary", { ...policy, acks: 2 })).toMatchObject([
      { mend: "SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = 2" },
    ]);
  });

  it("want writes to wait for ever, or as long as an available cluster says", () => {
    const timeout = "rpl_semi_sync_source_timeout";
    const available = Policy.parse({ durability: "available", ackTimeoutMs: 50 });
    expect(checkSettings(asWanted("primary"), "primary", available)).toMatchObject([
      { mend: `SET GLOBAL ${timeout} = 50` },
    ]);
    const values = asWanted("primary").set(timeout, { now: "50", boot: null });
    expect(checkSettings(values, "primary", available)).toEqual([]);
    expect(checkSettings(values, "primary", policy)).toHaveLength(1);
  });

  it("want what a crash must not forget, where writes must not be lost", () => {
    const available = Policy.parse({ durability: "available", ackTimeoutMs: 50 });
    for (const name of ["sync_binlog", "innodb_flush_log_at_trx_commit"]) {
      const levelFor = (of: Policy) => {
        const values = asWanted("replica").set(name, { now: "0", boot: "0" });
        return checkSettings(values, "replica", of).map((f) => f.level);
      };
      expect(levelFor(policy)).toEqual(["error"]);
      expect(levelFor(available)).toEqual(["advice"]);
    }
  });

  it("say what the binary log leaves out", () => {
    expect(checkLogged([])).toEqual([]);
    expect(checkLogged(["binlog-ignore-db=scratch"])).toMatchObject([
      { level: "error", found: expect.stringContaining("binlog-ignore-db=scratch") },
    ]);
  });

  it("say which plugin is missing", () => {
    expect(checkPlugins(new Map()).map((f) => f.mend)).toEqual([
      "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
      "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
    ]);
  });
});

describe("channels", () => {
  const good = { name: "", autoPosition: true, heartbeatS: 0.2, retryS: 1, delayS: 0 };
  it("are judged by position, heartbeat, retries, delay, name and filters", () => {
    expect(checkChannels({ channels: [], filters: [] })).toEqual([]);
    expect(checkChannels({ channels: [good], filters: [] })).toEqual([]);
    const levels = (o: object, filters: string[] = []) =>
      checkChannels({ channels: [{ ...good, ...o }], filters }).map((f) => f.level);
    expect(levels({ autoPosition: false })).toEqual(["error"]);
    expect(levels({ heartbeatS: 30 })).toEqual(["error"]);
    expect(levels({ heartbeatS: 0 })).toEqual(["error"]);
    expect(levels({ retryS: 60 })).toEqual(["advice"]);
    expect(levels({ delayS: 3_600 })).toEqual(["advice"]);
    expect(levels({ name: "other" })).toEqual(["error"]);
    expect(levels({}, ["REPLICATE_DO_DB=shop"])).toEqual(["error"]);
  });
});

describe("privileges", () => {
  it("are read from SHOW GRANTS", () => {
    expect(
      missingPrivileges([
        "GRANT ALL PRIVILEGES ON *.* TO `a`@`%`",
        "GRANT REPLICATION_SLAVE_ADMIN,SYSTEM_VARIABLES_ADMIN,CONNECTION_ADMIN ON *.* TO `a`@`%`",
      ]),
    ).toEqual([]);
    const most = [
      "GRANT RELOAD, REPLICATION SLAVE ON *.* TO `a`@`%`",
      "GRANT REPLICATION_SLAVE_ADMIN,SYSTEM_VARIABLES_ADMIN ON *.* TO `a`@`%`",
      "GRANT SELECT ON `performance_schema`.* TO `a`@`%`",
      "GRANT CREATE, SELECT (cluster), INSERT, DELETE ON `baton`.* TO `a`@`%`",
    ];
    expect(missingPrivileges(most).map(({ privileges, on }) => [privileges, on])).toEqual([
      [["CONNECTION_ADMIN"], "*.*"],
      [["BACKUP_ADMIN", "CLONE_ADMIN", "REPLICATION CLIENT"], "*.*"],
      [["SELECT"], "`baton`.*"],
    ]);
  });
});

describe("on real servers", () => {
  let lab: Lab;
  const open: Session[] = [];
  beforeAll(async () => {
    lab = await startLab({ nodes: 2, natsServers: 0 });
  });
  afterEach(() => {
    for (const s of open.splice(0)) s.destroy();
  });
  afterAll(() => lab?.stop());

  async function check(
    name: string,
    role: "primary" | "replica",
    as: { user: string; password: string } = lab.accounts.baton,
  ) {
    const s = await openSession(lab.node(name), as, { connectTimeoutMs: 5_000, name: "baton-check" });
    open.push(s);
    return checkNode(s, role, policy, { replication: lab.accounts.repl });
  }

  it("finds no error in the lossless configuration", async () => {
    for (const [name, role] of [
      ["n1", "primary"],
      ["n2", "replica"],
    ] as const)
      expect((await check(name, role)).filter((f) => f.level === "error")).toEqual([]);
  });

  it("finds what is broken, and nothing any more once its own statements were run", async () => {
    const n1 = lab.node("n1");
    await n1.query(
      "SET GLOBAL rpl_semi_sync_source_timeout=10000; SET GLOBAL rpl_semi_sync_source_wait_no_replica=OFF; SET PERSIST_ONLY super_read_only=OFF; SET GLOBAL sync_binlog=0; SET GLOBAL binlog_error_action='IGNORE_ERROR'",
    );
    const findings = await check("n1", "primary");
    expect(findings.filter((f) => f.level === "error").map((f) => f.found.split(" ")[0])).toEqual([
      "super_read_only",
      "rpl_semi_sync_source_timeout",
      "rpl_semi_sync_source_wait_no_replica",
      "sync_binlog",
      "binlog_error_action",
    ]);
    for (const { mend } of findings) await n1.query(mend);
    expect(await check("n1", "primary")).toEqual([]);
    const [row] = await n1.query<{ ro: number }>("SELECT @@GLOBAL.super_read_only ro");
    expect(row!.ro).toBe(0);
  });

  it("finds a channel with slow heartbeats, and mends it", async () => {
    const n2 = lab.node("n2");
    await n2.query("STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_HEARTBEAT_PERIOD=30; START REPLICA");
    const errors = (await check("n2", "replica")).filter((f) => f.level === "error");
    expect(errors).toMatchObject([{ found: expect.stringContaining("only every 30 s") }]);
    await n2.query(errors[0]!.mend);
    expect((await check("n2", "replica")).filter((f) => f.level === "error")).toEqual([]);
  });

  it("finds a replica that filters, and its statement takes the filters away", async () => {
    const n2 = lab.node("n2");
    await n2.query(
      "STOP REPLICA SQL_THREAD; CHANGE REPLICATION FILTER REPLICATE_DO_DB = (app), REPLICATE_IGNORE_TABLE = (app.x); START REPLICA SQL_THREAD",
    );
    const errors = (await check("n2", "replica")).filter((f) => f.level === "error");
    expect(errors).toMatchObject([{ found: expect.stringContaining("REPLICATE_DO_DB=app") }]);
    await n2.query(errors[0]!.mend);
    expect((await check("n2", "replica")).filter((f) => f.level === "error")).toEqual([]);
  });

  it("names the privileges that the account lacks, and an account that replicas cannot use", async () => {
    await lab
      .node("n1")
      .query(
        "SET sql_log_bin=0; CREATE USER poor@'%' IDENTIFIED BY 'pw'; GRANT SELECT ON performance_schema.* TO poor@'%'",
      );
    const found = (await check("n1", "primary", { user: "poor", password: "pw" })).filter(
      (f) => f.code === "E_NODE_AUTH",
    );
    expect(found.map((f) => f.mend)).toEqual([
      "GRANT RELOAD ON *.* TO 'poor'@'%'",
      "GRANT REPLICATION SLAVE ON *.* TO 'poor'@'%'",
      "GRANT REPLICATION_SLAVE_ADMIN, SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.* TO 'poor'@'%'",
      "GRANT BACKUP_ADMIN, CLONE_ADMIN, REPLICATION CLIENT ON *.* TO 'poor'@'%'",
      "GRANT CREATE, SELECT, INSERT, DELETE ON `baton`.* TO 'poor'@'%'",
    ]);
    const s = await openSession(lab.node("n1"), lab.accounts.baton, {
      connectTimeoutMs: 5_000,
      name: "baton-check",
    });
    open.push(s);
    const wrong = await checkNode(s, "primary", policy, { replication: { user: "repl", password: "wrong" } });
    expect(wrong.filter((f) => f.code === "E_NODE_AUTH")).toMatchObject([
      { level: "error", found: expect.stringContaining("cannot log in from here") },
    ]);
    const powerless = await checkNode(s, "primary", policy, { replication: lab.accounts.app });
    expect(powerless.filter((f) => f.code === "E_NODE_AUTH")).toMatchObject([
      { found: expect.stringContaining("lacks REPLICATION SLAVE") },
    ]);
  });
});
