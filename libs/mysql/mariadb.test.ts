/** What docs/operate/mariadb.md and mariadb.ts say of a real MariaDB server, held against one. */
import { Policy } from "@baton/contracts";
import { type Lab, startLab } from "@baton/lab";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { checkNode } from "./check-node.ts";
import { dialectFor } from "./dialect.ts";
import { GtidSet } from "./gtid.ts";
import { mariadb as d } from "./mariadb.ts";
import { openSession, type Session } from "./session.ts";
import { readStatus } from "./status.ts";

const policy = Policy.parse({});
let lab: Lab;
const open: Session[] = [];

beforeAll(async () => {
  lab = await startLab({ flavour: "mariadb", natsServers: 0 });
});
afterEach(() => {
  for (const s of open.splice(0)) s.destroy();
});
afterAll(() => lab?.stop());

async function session(node: string, as: { user: string; password: string } = lab.accounts.baton) {
  const s = await openSession(lab.node(node), as, { connectTimeoutMs: 5_000, name: "baton-test" });
  open.push(s);
  return s;
}
const run = (s: Session, sql: string | readonly string[]) =>
  s.queryAll(typeof sql === "string" ? sql : sql.join(";"), { deadlineMs: 20_000 });
const status = (s: Session) => readStatus(s, 5_000);

async function until<T>(what: string, look: () => Promise<T | null | undefined | false>): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > deadline) throw new Error(`${what}: not within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const states = async (node = "n1") =>
  (await lab
    .node(node)
    .query<{ id: number; state: string }>(
      "SELECT ID id, STATE state FROM information_schema.PROCESSLIST WHERE USER = 'app' AND COMMAND = 'Query'",
    )) as { id: number; state: string }[];
const leader = async () => (await states()).find((s) => s.state === d.groupWaits?.waits) ?? null;

/** Inserts that wait; each tells how it ended. */
async function insert(ids: readonly string[]): Promise<{ ended: Map<string, string> }> {
  const ended = new Map<string, string>();
  for (const id of ids) {
    const s = await session("n1", lab.accounts.app);
    s.query(`INSERT INTO app.writes VALUES ('${id}', '', 0)`, { deadlineMs: 60_000 }).then(
      () => ended.set(id, "OK"),
      (error: { errno: number | null }) => ended.set(id, String(error.errno ?? "closed")),
    );
  }
  return { ended };
}

async function withoutAcks(work: () => Promise<void>): Promise<void> {
  for (const n of ["n2", "n3"]) await lab.node(n).query(d.stopReceiver);
  try {
    await work();
  } finally {
    for (const n of ["n2", "n3"]) await lab.node(n).query(d.startReceiver);
    await lab.node("n1").query(d.openPrimary({ acks: 1, timeoutMs: null }).join(";"));
    await until(
      "the replicas are attached",
      async () => (await status(await session("n1"))).semiSync?.clients === 2,
    );
  }
}

describe("the seam", () => {
  it("takes 10.11 and later for MariaDB, and nothing older", () => {
    for (const v of ["10.11.18-MariaDB-0+deb12u1-log", "11.8.2-MariaDB"]) expect(dialectFor(v)).toBe(d);
    for (const v of ["10.6.20-MariaDB", "5.5.5-10.5.1-MariaDB"])
      expect(() => dialectFor(v)).toThrow(expect.objectContaining({ code: "E_NODE_SETTING" }));
  });

  it("reads both roles in one round trip", async () => {
    const [n1, n2] = [await session("n1"), await session("n2")];
    await lab.node("n1").query("INSERT INTO app.writes VALUES ('status', '', 0)");
    const primary = await status(n1);
    expect(primary).toMatchObject({
      flavour: "mariadb",
      serverUuid: "server-id-1",
      readOnly: false,
      gtidMode: true,
      replica: null,
      semiSync: { source: true, sourceActive: true, acks: 1, afterSync: true, clients: 2, replica: false },
    });
    await status(n2);
    const replica = await until("it has heard", async () => {
      const s = await status(n2);
      return s.replica?.heardAgeMs !== null && s.executed === primary.executed && s;
    });
    expect(replica).toMatchObject({
      serverUuid: "server-id-2",
      readOnly: true,
      superReadOnly: true,
      replica: { sourceUuid: "server-id-1", receiver: "on", applier: "on", autoPosition: true, delayMs: 0 },
      semiSync: { source: false, replica: true, replicaActive: true },
    });
    expect(replica.replica?.received).toBe(primary.executed);
  });

  it("knows within a heartbeat that a source lives, and within a second that it hangs", async () => {
    const n2 = await session("n2");
    await status(n2);
    await until("it hears", async () => ((await status(n2)).replica?.heardAgeMs ?? 1e9) < 250);
    lab.node("n1").hang();
    await until("it is silent", async () => ((await status(n2)).replica?.heardAgeMs ?? 0) > 500);
    lab.node("n1").resume();
    await until("it hears again", async () => ((await status(n2)).replica?.heardAgeMs ?? 1e9) < 250);
  });

  it("finds no error in the lab's configuration, and what is broken with the statement that mends it", async () => {
    for (const [name, role] of [
      ["n1", "primary"],
      ["n2", "replica"],
    ] as const) {
      const findings = await checkNode(await session(name), role, policy, { replication: lab.accounts.repl });
      expect(findings.filter((f) => f.level === "error")).toEqual([]);
    }
    await lab
      .node("n1")
      .query(
        "SET GLOBAL rpl_semi_sync_master_timeout=10000; SET GLOBAL rpl_semi_sync_master_wait_point='AFTER_COMMIT'",
      );
    await lab.node("n2").query("STOP SLAVE; CHANGE MASTER TO MASTER_HEARTBEAT_PERIOD=30; START SLAVE");
    const errors = async (name: string, role: "primary" | "replica") =>
      (await checkNode(await session(name), role, policy)).filter((f) => f.level === "error");
    const [of1, of2] = [await errors("n1", "primary"), await errors("n2", "replica")];
    expect(of1.map((f) => f.found.split(" ")[0])).toEqual([
      "rpl_semi_sync_master_timeout",
      "rpl_semi_sync_master_wait_point",
    ]);
    expect(of2).toMatchObject([{ found: expect.stringContaining("only every 30 s") }]);
    for (const { mend } of of1) await lab.node("n1").query(mend);
    for (const { mend } of of2) await lab.node("n2").query(mend);
    expect([...(await errors("n1", "primary")), ...(await errors("n2", "replica"))]).toEqual([]);
  });

  it("names the privileges that an account lacks", async () => {
    await lab.node("n1").query("CREATE USER poor@'%' IDENTIFIED BY 'pw'");
    const poor = await session("n1", { user: "poor", password: "pw" });
    const found = (await checkNode(poor, "primary", policy)).filter((f) => f.code === "E_NODE_AUTH");
    expect(found.map((f) => f.mend)).toContain(
      "GRANT REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, CONNECTION ADMIN, READ_ONLY ADMIN ON *.* TO 'poor'@'%'",
    );
    for (const { mend } of found) await lab.node("n1").query(mend);
    expect((await checkNode(poor, "primary", policy)).filter((f) => f.code === "E_NODE_AUTH")).toEqual([]);
  });
});

describe("a status", () => {
  it("gives one start to the second, however often it is read", async () => {
    const n1 = await session("n1");
    const starts = new Set<number>();
    const untilMs = performance.now() + 2_100;
    while (performance.now() < untilMs) starts.add((await status(n1)).startedUnixS);
    const [now] = await n1.query<{ s: number }>("SELECT UNIX_TIMESTAMP() s");
    expect(starts.size).toBe(1);
    const [start] = [...starts] as [number];
    expect(Number(now?.s) - start).toBeLessThan(3_600);
    expect(start).toBeLessThanOrEqual(Number(now?.s));
  });
});

describe("semi-sync", () => {
  it("holds a write and what comes after it until an ack, with read_only sent and not on yet", () =>
    withoutAcks(async () => {
      const { ended } = await insert(["held"]);
      await until("it waits", leader);
      const [closer, helper] = [await session("n1"), await session("n1")];
      const closing = run(closer, d.closeWrites);
      await until(
        "it is held off",
        async () => Number((await run(helper, d.closingWrites))[0]?.[0]?.closing) > 0,
      );
      expect((await status(helper)).readOnly).toBe(false);
      // It has its GTID, and no ack.
      expect(GtidSet.parse((await status(helper)).executed).count()).toBeGreaterThan(0);
      const second = await insert(["behind"]);
      await until("it waits too", async () =>
        (await states()).some((s) => s.state === "Waiting for backup lock"),
      );
      await run(helper, d.kill(((await leader()) as { id: number }).id));
      // For a moment it neither waits nor is closed.
      await until(
        "those who wait are let go",
        async () => Number((await run(helper, d.letWaitersGo)).at(-1)?.[0]?.still) === 0,
      );
      await closing;
      expect((await status(helper)).readOnly).toBe(true);
      await until("both have ended", async () => ended.size + second.ended.size === 2);
      expect([...ended.values(), ...second.ended.values()]).toEqual(["closed", "1290"]);
    }));

  it("is not switched off for waiting writes unless others are held off", async () => {
    const helper = await session("n1");
    expect((await run(helper, d.letWaitersGo)).at(-1)).toEqual([{ still: 1 }]);
  });

  it("limit: a killed waiter lets its whole commit group be answered without an ack", () =>
    withoutAcks(async () => {
      const { ended } = await insert(["a", "b", "c", "d", "e", "f"]);
      await until("all commit", async () => (await states()).filter((s) => s.state !== "").length === 6);
      const kills = 6;
      for (let i = 0; i < kills && ended.size < 6; i++) {
        const found = await leader();
        if (found === null) break;
        // So a holder of the node's lock is not killed while it commits.
        const groups = d.groupWaits as NonNullable<typeof d.groupWaits>;
        expect((await run(await session("n1"), groups.committing(found.id)))[0]).toHaveLength(1);
        await lab
          .node("n1")
          .query(d.kill(found.id))
          .catch(() => undefined);
        await until("the next waits, or none is left", async () => {
          const now = await leader();
          return now === null ? (await states()).length === 0 : now.id !== found.id;
        });
      }
      await until("all have ended", async () => ended.size === 6);
      expect([...ended.values()]).toContain("OK");
    }));

  it("limit: one ack is all that a write waits for, and more are refused", async () => {
    await lab.node("n3").query(d.stopReceiver);
    await lab.node("n1").query("INSERT INTO app.writes VALUES ('one-ack', '', 0)");
    await lab.node("n3").query(d.startReceiver);
    expect(() => d.openPrimary({ acks: 2, timeoutMs: null })).toThrow(
      expect.objectContaining({ code: "E_NODE_SETTING" }),
    );
  });

  it("limit: when the timeout passes, writes are answered without an ack", () =>
    withoutAcks(async () => {
      await lab.node("n1").query("SET GLOBAL rpl_semi_sync_master_timeout=100");
      const { ended } = await insert(["timed-out"]);
      await until("it is answered", async () => ended.size === 1);
      expect(ended.get("timed-out")).toBe("OK");
      expect((await status(await session("n1"))).semiSync).toMatchObject({
        source: true,
        sourceActive: false,
      });
    }));

  it("limit: read_only does not hold off who has READ ONLY ADMIN", async () => {
    await lab
      .node("n1")
      .query(
        "CREATE USER admin@'%' IDENTIFIED BY 'pw'; GRANT INSERT ON app.* TO admin@'%'; GRANT READ_ONLY ADMIN ON *.* TO admin@'%'",
      );
    await lab.node("n1").query("SET GLOBAL read_only=ON");
    try {
      const [app, admin] = [
        await session("n1", lab.accounts.app),
        await session("n1", { user: "admin", password: "pw" }),
      ];
      await expect(app.query("INSERT INTO app.writes VALUES ('app', '', 0)")).rejects.toMatchObject({
        errno: 1290,
      });
      await admin.query("INSERT INTO app.writes VALUES ('admin', '', 0)");
    } finally {
      await lab.node("n1").query("SET GLOBAL read_only=OFF");
    }
  });
});

describe("relay logs", () => {
  /** n2 receives one write that its applier has not applied. */
  async function receiveOnly(id: string): Promise<Session> {
    const n2 = await session("n2");
    await run(n2, "STOP SLAVE SQL_THREAD");
    const before = (await status(n2)).executed;
    await lab.node("n1").query(`INSERT INTO app.writes VALUES ('${id}', '', 0)`);
    await until("it is received", async () => (await status(n2)).replica?.received !== before);
    return n2;
  }
  const holds = async (id: string) =>
    (await lab.node("n2").query(`SELECT 1 FROM app.writes WHERE id = '${id}'`)).length === 1;

  it("limit: are thrown away by a start with both threads standing", async () => {
    const n2 = await receiveOnly("thrown");
    await run(n2, d.stopReceiver);
    const { executed, replica } = await status(n2);
    expect(GtidSet.parse(executed).contains(GtidSet.parse(replica?.received ?? ""))).toBe(false);
    await run(n2, d.startApplier);
    const after = await status(n2);
    expect(after.replica?.received).toBe(after.executed);
    expect(await holds("thrown")).toBe(false);
    // Only the source has it now.
    await run(n2, d.startReceiver);
    await until("it is fetched again", () => holds("thrown"));
  });

  it("are kept when the applier starts before the receiver stops", async () => {
    const n2 = await receiveOnly("kept");
    await run(n2, [d.startApplier, d.stopReceiver]);
    const { replica } = await status(n2);
    const [rows] = await run(n2, d.waitApplied(replica?.received ?? "", 10_000));
    expect(d.applied(rows ?? [])).toBe(true);
    expect(await holds("kept")).toBe(true);
    await run(n2, d.startReceiver);
  });

  it("limit: are thrown away when the server restarts", async () => {
    await receiveOnly("crashed");
    await lab.node("n2").kill();
    await lab.node("n2").start();
    const n2 = await session("n2");
    expect((await status(n2)).relayLogRecovery).toBe(true);
    await run(n2, d.startApplier);
    expect(await holds("crashed")).toBe(false);
    await run(n2, [...d.becomeReplica, d.startReceiver]);
    await until("it is fetched again", () => holds("crashed"));
  });

  it("limit: a receiver cannot be pointed elsewhere while the applier runs", async () => {
    const n2 = await session("n2");
    await run(n2, d.stopReceiver);
    await expect(
      run(n2, d.redirectReceiver(lab.node("n3"), lab.accounts.repl, { tls: false })),
    ).rejects.toMatchObject({ errno: 1198 });
    await run(n2, d.startReceiver);
  });
});

it("passes the role on and lets the former primary follow, its own writes in its position", async () => {
  const [n1, n2, n3] = [await session("n1"), await session("n2"), await session("n3")];
  await lab.node("n1").query("INSERT INTO app.writes VALUES ('last', '', 0)");
  await run(n1, d.freezeWrites);
  const { executed } = await status(n1);
  const [rows] = await run(n2, d.waitApplied(executed, 10_000));
  expect(d.applied(rows ?? [])).toBe(true);
  await run(n2, [
    d.stopReceiver,
    ...d.openPrimary({ acks: 1, timeoutMs: null }),
    d.stopReplication,
    d.resetReplication,
  ]);
  await run(n3, d.waitApplied(executed, 10_000));
  const source = lab.node("n2");
  await run(n3, [
    d.stopReplication,
    d.redirectReceiver(source, lab.accounts.repl, { tls: false }),
    d.startReplication,
  ]);
  await run(n1, [
    ...d.becomeReplica,
    d.follow(source, lab.accounts.repl, { tls: false }),
    d.startReplication,
  ]);
  const written = await run(n2, d.writeCanary({ cluster: "c", epoch: 2, operation: "o" }));
  const canary = written.at(-1)?.[0] as { checksum: string; executed: string };
  for (const s of [n1, n3]) {
    const [waited, read] = await run(s, [d.waitApplied(canary.executed, 10_000), d.readCanary("c")]);
    expect(d.applied(waited ?? [])).toBe(true);
    expect(read?.[0]?.checksum).toBe(canary.checksum);
  }
  const sets = await Promise.all([n1, n2, n3].map(async (s) => GtidSet.parse((await status(s)).executed)));
  expect(new Set(sets.map(String)).size).toBe(1);
});
