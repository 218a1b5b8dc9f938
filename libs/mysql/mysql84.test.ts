/** Each verb on a real primary with two replicas, and each trap that mysql84.ts calls "measured". */
import { type Lab, type LabNode, startLab } from "@baton/lab";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { dialectFor } from "./dialect.ts";
import { GtidSet } from "./gtid.ts";
import { mysql84 as d } from "./mysql84.ts";
import { openSession, type Session } from "./session.ts";
import { readStatus } from "./status.ts";

let lab: Lab;
const open: Session[] = [];
beforeAll(async () => {
  lab = await startLab({ natsServers: 0 });
});
afterEach(() => {
  for (const s of open.splice(0)) s.destroy();
});
afterAll(() => lab?.stop());

async function hand(
  name: string,
  as: { user: string; password: string } = lab.accounts.baton,
  program = "baton-test",
) {
  const s = await openSession(lab.node(name), as, { connectTimeoutMs: 5_000, name: program });
  open.push(s);
  return s;
}
const run = (s: Session, sql: string | readonly string[], deadlineMs = 5_000) =>
  s.queryAll(typeof sql === "string" ? sql : sql.join(";"), { deadlineMs });
const status = (s: Session) => readStatus(s, 5_000);
const flags = async (s: Session) => {
  const [row] = await s.query("SELECT @@GLOBAL.read_only ro, @@GLOBAL.super_read_only sro");
  return row;
};
const source = (name: string) => ({ host: lab.node(name).host, port: lab.node(name).port });
const attached = async (primary: Session) => (await status(primary)).semiSync?.clients;
const write = (node: LabNode, id: string) =>
  node.query("INSERT INTO app.writes VALUES (?, ?, 1)", [id, node.name]);

/** n1 the primary, n2 and n3 attached to it, whatever a test did. */
async function asAtFirst() {
  for (const name of ["n2", "n3"]) {
    const s = await hand(name);
    await run(
      s,
      [
        d.stopReplication,
        ...d.becomeReplica,
        d.follow(source("n1"), lab.accounts.repl, { tls: false }),
        d.startReplication,
      ],
      20_000,
    );
  }
  const n1 = await hand("n1");
  await run(n1, [d.stopReplication, d.resetReplication, ...d.openPrimary({ acks: 1, timeoutMs: null })]);
  await expect.poll(() => attached(n1), { timeout: 10_000 }).toBe(2);
  for (const s of open.splice(0)) s.destroy();
}

describe("receiver and applier", () => {
  it("stop and start alone, twice, and where there is no channel at all", async () => {
    const [n1, n2] = [await hand("n1"), await hand("n2")];
    await run(n2, [d.stopReceiver, d.stopReceiver]);
    expect((await status(n2)).replica).toMatchObject({ receiver: "off", applier: "on" });
    await run(n2, [d.startReceiver, d.startApplier]);
    await expect.poll(async () => (await status(n2)).replica?.receiver).toBe("on");
    await run(n1, [d.stopReceiver, d.stopReplication, d.resetReplication]);
    expect((await status(n1)).replica).toBeNull();
  });

  it("wait for what was received, and say when it is late", async () => {
    const [n1, n2] = [await hand("n1"), await hand("n2")];
    await write(lab.node("n1"), "waited");
    const { executed } = await status(n1);
    const waited = await run(n2, d.waitApplied(executed, 5_000));
    expect(d.applied(waited[0]!)).toBe(true);
    const never = GtidSet.parse(executed)
      .union(GtidSet.parse("aaaaaaaa-0000-0000-0000-000000000001:1"))
      .toString();
    const late = await run(n2, d.waitApplied(never, 50));
    expect(d.applied(late[0]!)).toBe(false);
    // A timeout of 0 would wait for ever.
    expect(d.applied((await run(n2, d.waitApplied(never, 0)))[0]!)).toBe(false);
  });
});

describe("another source", () => {
  it("is followed for good; a running applier keeps its relay log when only the receiver is redirected", async () => {
    const [n1, n2, n3] = [await hand("n1"), await hand("n2"), await hand("n3")];
    // What n3 has received and not applied.
    await run(n3, "STOP REPLICA SQL_THREAD");
    await write(lab.node("n1"), "kept");
    const { executed } = await status(n1);
    const holds = async () =>
      GtidSet.parse((await status(n3)).replica!.received).union(GtidSet.parse((await status(n3)).executed));
    await expect
      .poll(async () => (await holds()).contains(GtidSet.parse(executed)), { timeout: 10_000 })
      .toBe(true);
    await run(n3, [d.stopReceiver]);
    // Its applier starts only as the receiver is redirected: what it needs must still be in the relay log, because
    // the source that it is given does not exist.
    await run(n3, [
      d.startApplier,
      d.redirectReceiver({ host: "127.0.0.1", port: 1 }, lab.accounts.repl, { tls: false }),
      d.startReceiver,
    ]);
    expect(d.applied((await run(n3, d.waitApplied(executed, 5_000)))[0]!)).toBe(true);
    expect((await status(n3)).replica).toMatchObject({ sourcePort: 1, autoPosition: true });

    await run(n3, [
      d.stopReplication,
      d.follow(source("n2"), lab.accounts.repl, { tls: true }),
      d.startReplication,
    ]);
    await expect.poll(async () => (await status(n3)).replica?.receiver, { timeout: 20_000 }).toBe("on");
    expect((await status(n3)).replica).toMatchObject({
      sourcePort: lab.node("n2").port,
      sourceUuid: (await status(n2)).serverUuid,
    });
    await asAtFirst();
  });

  it("deletes what was received when both threads stand, whatever is set; a start there keeps it", async () => {
    const [n1, n3] = [await hand("n1"), await hand("n3")];
    const received = async () => GtidSet.parse((await status(n3)).replica!.received);
    await run(n3, "STOP REPLICA SQL_THREAD");
    await write(lab.node("n1"), "deleted");
    const last = GtidSet.parse((await status(n1)).executed);
    const missing = last.subtract(GtidSet.parse((await status(n3)).executed));
    await expect.poll(async () => (await received()).contains(missing), { timeout: 10_000 }).toBe(true);
    await run(n3, [d.stopReplication, d.startReceiver, d.stopReplication]);
    expect((await received()).contains(missing)).toBe(true);
    const settings = await run(n3, d.channelSettings as string);
    expect(settings[0]?.[0]).toMatchObject({
      port: lab.node("n1").port,
      user: lab.accounts.repl.user,
      autoPos: "1",
    });
    expect(settings[0]?.[0]).toMatchObject({ retryS: 1 });
    await run(n3, "CHANGE REPLICATION SOURCE TO SOURCE_CONNECT_RETRY=1");
    expect((await received()).intersect(missing).isEmpty()).toBe(true);
    await run(n3, d.startReplication);
    expect(d.applied((await run(n3, d.waitApplied(last.toString(), 5_000), 10_000))[0]!)).toBe(true);
  });

  it("may not be set with auto position while the applier runs (error 3081)", async () => {
    const n2 = await hand("n2");
    await run(n2, d.stopReceiver);
    await expect(run(n2, d.follow(source("n1"), lab.accounts.repl, { tls: false }))).rejects.toMatchObject({
      errno: 3081,
    });
    await run(n2, d.startReceiver);
  });

  it("is reached with a password of any characters", async () => {
    const password = 'it\'s \\ "odd" -- ; \u00e9';
    await lab
      .node("n1")
      .query("CREATE USER IF NOT EXISTS odd@'%' IDENTIFIED BY ?; GRANT REPLICATION SLAVE ON *.* TO odd@'%'", [
        password,
      ]);
    const n2 = await hand("n2");
    await run(n2, [
      d.stopReplication,
      d.follow(source("n1"), { user: "odd", password }, { tls: false }),
      d.startReplication,
    ]);
    await expect.poll(async () => (await status(n2)).replica?.receiver, { timeout: 5_000 }).toBe("on");
    await asAtFirst();
  });
});

describe("closing writes", () => {
  it("is 1 in one flag and 0 in the other while it waits, holds off other commits, and is given up by the server", async () => {
    const [n1, other, blocker] = [
      await hand("n1"),
      await hand("n1"),
      await hand("n1", lab.accounts.app, "app"),
    ];
    await run(blocker, "LOCK TABLES app.writes WRITE");
    const session = { ...d, closeWrites: ["SET SESSION lock_wait_timeout=1", d.closeWrites.at(-1)!] };
    const closing = run(n1, session.closeWrites).then(
      () => "closed",
      (e: { errno: number }) => e.errno,
    );
    await expect.poll(async () => Number((await run(other, d.closingWrites))[0]![0]!.closing)).toBe(1);
    expect(await flags(other)).toEqual({ ro: 0, sro: 1 });
    expect(await closing).toBe(1205);
    expect(await flags(other)).toEqual({ ro: 0, sro: 0 });
    expect(Number((await run(other, d.closingWrites))[0]![0]!.closing)).toBe(0);
  });

  it("is bounded in the server even when its client is gone", () => {
    expect(d.closeWrites[0]).toMatch(/^SET SESSION lock_wait_timeout=\d$/);
    expect(d.closeWrites.at(-1)).toBe("SET GLOBAL super_read_only=ON");
  });

  it("lets waiting writes go only while it holds off others for sure", async () => {
    const [n1, other, blocker] = [
      await hand("n1"),
      await hand("n1"),
      await hand("n1", lab.accounts.app, "app"),
    ];
    const letGo = async (on: typeof n1) => (await run(on, d.letWaitersGo)).at(-1);
    expect(await letGo(other)).toEqual([{ still: 1 }]);
    await run(blocker, "LOCK TABLES app.writes WRITE");
    // The server gives it up after 5 s, and no deadline of ours before that.
    const closing = n1
      .queryAll(d.closeWrites.join(";"), { deadlineMs: 30_000 })
      .catch((e: { errno: number }) => e.errno);
    const waited = `SELECT PROCESSLIST_TIME AS s FROM performance_schema.threads WHERE PROCESSLIST_ID=${n1.threadId}`;
    await expect.poll(async () => Number((await run(other, waited))[0]![0]!.s)).toBeGreaterThan(2);
    // It may give it up within a second: who has slept must not believe what it saw before.
    expect(Number((await run(other, d.closingWrites))[0]![0]!.closing)).toBe(1);
    expect(await letGo(other)).toEqual([{ still: 1 }]);
    expect(await closing).toBe(1205);
    // Where the role is off it is not switched on either.
    const n2 = await hand("n2");
    expect(await letGo(n2)).toEqual([{ still: 0 }]);
    expect((await status(n2)).semiSync?.source).toBe(false);
  });

  it("then kill, then semi-sync off: a write that waits for an ack ends without an OK", async () => {
    const [n1, helper, app] = [await hand("n1"), await hand("n1"), await hand("n1", lab.accounts.app, "app")];
    for (const name of ["n2", "n3"]) await run(await hand(name), d.stopReceiver);
    const insert = app
      .query("INSERT INTO app.writes VALUES ('unanswered', 'n1', 1)", { deadlineMs: 30_000 })
      .then(
        () => "OK",
        (e: { outcome: string }) => e.outcome,
      );
    await expect.poll(async () => (await status(helper)).semiSync?.waiting, { timeout: 5_000 }).toBe(1);
    expect(d.owned((await run(helper, d.ownedSql))[0]!)).not.toBe("");
    const closing = run(n1, d.closeWrites);
    closing.catch(() => undefined);
    await expect.poll(async () => Number((await run(helper, d.closingWrites))[0]![0]!.closing)).toBe(1);
    const [clients] = await run(helper, d.clientSessions);
    expect(clients!.map((r) => Number(r.id))).toEqual([app.threadId]);
    await run(helper, d.kill(app.threadId));
    expect(await insert).not.toBe("OK");
    await expect.poll(async () => (await run(helper, d.letWaitersGo)).at(-1)).toEqual([{ still: 0 }]);
    await closing;
    expect(await flags(helper)).toEqual({ ro: 1, sro: 1 });
    await expect(app.query("SELECT 1")).rejects.toMatchObject({ outcome: "closed" });
    await expect(write(lab.node("n1"), "refused")).rejects.toMatchObject({ errno: 1290 });
    await asAtFirst();
  });
});

it("what sessions own is read whole, of several UUIDs and with tags", async () => {
  const n1 = lab.node("n1");
  const uuid = (n: number) => `${n}aaaaaaa-0000-0000-0000-000000000001`;
  const gtids = [`${uuid(1)}:5`, `${uuid(1)}:7`, `${uuid(2)}:5`, `${uuid(1)}:tag:3`, `${uuid(2)}:abcdef12:9`];
  const ends: (() => Promise<void>)[] = [];
  try {
    for (const gtid of gtids) ends.push(await n1.hold(`SET SESSION gtid_next='${gtid}'`));
    const [rows] = await run(await hand("n1"), d.ownedSql);
    expect(GtidSet.parse(d.owned(rows!)).toString()).toBe(GtidSet.parse(gtids.join(",")).toString());
  } finally {
    for (const end of ends) await end();
  }
});

describe("client sessions", () => {
  it("are all but Baton's, replication's and the server's own, even where a client shares Baton's account", async () => {
    const helper = await hand("n1");
    const holder = await hand("n1", lab.accounts.baton, "renamed");
    await run(holder, d.takeNodeLock(0));
    const clients = [
      await hand("n1", lab.accounts.app, "app"),
      await hand("n1", lab.accounts.baton, "somebody's script"),
      await hand("n1", lab.accounts.app, "baton-impostor"),
    ];
    const [rows] = await run(helper, d.clientSessions);
    expect(rows!.map((r) => Number(r.id)).sort((a, b) => a - b)).toEqual(
      clients.map((s) => s.threadId).sort((a, b) => a - b),
    );
  });
});

describe("roles", () => {
  it("a replica becomes a primary whose first write waits for acks, and goes back", async () => {
    const [n1, n2, n3] = [await hand("n1"), await hand("n2"), await hand("n3")];
    await run(n1, d.closeWrites);
    await run(n1, d.semiSyncSourceOff);
    const { executed } = await status(n1);
    for (const s of [n2, n3]) {
      expect(d.applied((await run(s, d.waitApplied(executed, 5_000)))[0]!)).toBe(true);
      await run(s, d.stopReceiver);
    }
    await run(n2, d.openPrimary({ acks: 1, timeoutMs: null }));
    expect(await status(n2)).toMatchObject({
      readOnly: false,
      superReadOnly: false,
      semiSync: {
        source: true,
        sourceActive: true,
        acks: 1,
        waitNoReplica: true,
        afterSync: true,
        timeoutMs: 4_294_967_295,
        replica: false,
      },
    });
    const first = write(lab.node("n2"), "first of the new reign");
    await expect.poll(async () => (await status(n2)).semiSync?.waiting, { timeout: 5_000 }).toBe(1);
    await run(n3, [
      ...d.becomeReplica,
      d.redirectReceiver(source("n2"), lab.accounts.repl, { tls: false }),
      d.startReplication,
    ]);
    await first;
    await run(n2, [d.stopReplication, d.resetReplication]);
    expect((await status(n2)).replica).toBeNull();

    const canary = await run(n2, d.writeCanary({ cluster: "shop", epoch: 2, operation: "o'peration" }));
    const { checksum, executed: upTo } = canary.at(-1)![0]!;
    const read = await run(n3, [d.waitApplied(String(upTo), 5_000), d.readCanary("shop")]);
    expect(d.applied(read[0]!)).toBe(true);
    expect(read[1]![0]!.checksum).toBe(checksum);
    expect(String(checksum)).toMatch(/^[0-9a-f]+$/);

    await run(n1, [
      ...d.becomeReplica,
      d.follow(source("n2"), lab.accounts.repl, { tls: false }),
      d.startReplication,
    ]);
    expect(d.applied((await run(n1, d.waitApplied(String(upTo), 10_000)))[0]!)).toBe(true);
    await run(n2, d.closeWrites);
    await run(n2, d.semiSyncSourceOff);
    await asAtFirst();
  });

  it("an isolated node is read-only and acknowledges nothing", async () => {
    const n3 = await hand("n3");
    await run(n3, [d.stopReplication, ...d.isolate]);
    expect(await status(n3)).toMatchObject({
      superReadOnly: true,
      semiSync: { source: false, replica: false },
      replica: { receiver: "off" },
    });
    await asAtFirst();
  });
});

describe("the node lock", () => {
  it("is one session's, is named to the next, and ends with its holder", async () => {
    const [a, b] = [await hand("n1"), await hand("n1")];
    expect((await run(a, d.takeNodeLock(0)))[0]![0]).toMatchObject({ taken: 1, holder: a.threadId });
    expect((await run(b, d.takeNodeLock(0)))[0]![0]).toMatchObject({ taken: 0, holder: a.threadId });
    await run(b, d.kill(a.threadId));
    expect((await run(b, d.takeNodeLock(2)))[0]![0]).toMatchObject({ taken: 1, holder: b.threadId });
    await run(b, d.releaseNodeLock);
    const c = await hand("n1");
    expect((await run(c, d.takeNodeLock(0)))[0]![0]).toMatchObject({ taken: 1, helper: null });
  });

  it("has a second one for a helper of its holder, which the next holder is told of", async () => {
    const [a, helper, b] = [await hand("n1"), await hand("n1"), await hand("n1")];
    await run(a, d.takeNodeLock(2));
    expect((await run(helper, d.takeHelperLock(0)))[0]![0]).toMatchObject({ taken: 1, holder: a.threadId });
    await run(b, d.kill(a.threadId));
    expect((await run(b, d.takeNodeLock(2)))[0]![0]).toMatchObject({ taken: 1, helper: helper.threadId });
    await run(b, d.kill(helper.threadId));
    expect((await run(b, d.takeHelperLock(2)))[0]![0]).toMatchObject({ taken: 1, holder: b.threadId });
  });
});

describe("dialectFor", () => {
  it("knows MySQL from 8.4 on and refuses others in words", () => {
    for (const v of ["8.4.0", "9.7.4-2", "8.4.3-commercial", "10.1.0"]) expect(dialectFor(v)).toBe(d);
    for (const v of ["8.0.39", "5.7.44-log", "", "nonsense"]) {
      expect(() => dialectFor(v)).toThrow(expect.objectContaining({ code: "E_NODE_SETTING" }));
    }
  });
});
