/** The one-round-trip status on real servers. */
import { NodeStatus } from "@baton/contracts";
import { type Lab, startLab } from "@baton/lab";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isMissingTable } from "./epoch-row.ts";
import { mysql84 } from "./mysql84.ts";
import { openSession, type Session } from "./session.ts";
import { parseStatus, readStatus, STATUS_SQL } from "./status.ts";

let lab: Lab;
const sessions: Session[] = [];
const of = new Map<string, Session>();
beforeAll(async () => {
  lab = await startLab({ nodes: 2, natsServers: 0 });
  for (const node of lab.nodes) {
    const s = await openSession(node, lab.accounts.baton, { connectTimeoutMs: 5_000, name: "baton-test" });
    sessions.push(s);
    of.set(node.name, s);
  }
});
afterAll(async () => {
  for (const s of sessions) s.destroy();
  await lab?.stop();
});

const read = async (node: string) => NodeStatus.parse(await readStatus(of.get(node)!, 5_000));

describe("a status", () => {
  it("of a primary fits its contract and says what the server says", async () => {
    const [truth] = await lab
      .node("n1")
      .query("SELECT @@server_uuid u, @@server_id i, @@version v, @@gtid_executed g, UNIX_TIMESTAMP() now");
    const s = await read("n1");
    expect(s).toMatchObject({
      serverUuid: truth!.u,
      serverId: truth!.i,
      version: truth!.v,
      flavour: "mysql",
      readOnly: false,
      superReadOnly: false,
      gtidMode: true,
      executed: String(truth!.g).replaceAll("\n", ""),
      relayLogRecovery: false,
      replica: null,
      semiSync: {
        source: true,
        sourceActive: true,
        acks: 1,
        timeoutMs: 4_294_967_295,
        waitNoReplica: true,
        afterSync: true,
        clients: 1,
        waiting: 0,
        replica: false,
      },
    });
    expect(s.startedUnixS).toBeLessThanOrEqual(Number(truth!.now));
    expect(s.startedUnixS).toBeGreaterThan(Number(truth!.now) - 600);
  });

  it("gives one start to the second, however often it is read", async () => {
    const starts = new Set<number>();
    const untilMs = performance.now() + 2_100;
    while (performance.now() < untilMs) starts.add((await read("n1")).startedUnixS);
    expect(starts.size).toBe(1);
  });

  it("of a replica tells its source, what it received and how old its last word is", async () => {
    await expect.poll(async () => (await read("n2")).replica?.heardAgeMs, { timeout: 5_000 }).not.toBeNull();
    const [primary, s] = [await read("n1"), await read("n2")];
    expect(s).toMatchObject({
      readOnly: true,
      superReadOnly: true,
      semiSync: { source: false, replica: true, replicaActive: true },
    });
    expect(s.replica).toMatchObject({
      sourceHost: "127.0.0.1",
      sourcePort: lab.node("n1").port,
      sourceUuid: primary.serverUuid,
      receiver: "on",
      receiverErrno: 0,
      applier: "on",
      applierErrno: 0,
      autoPosition: true,
    });
    await lab.node("n1").query("INSERT INTO app.writes VALUES ('status', 'n1', 1)");
    await expect.poll(async () => (await read("n2")).executed).toBe((await read("n1")).executed);
    expect((await read("n2")).replica).toMatchObject({
      delayMs: 0,
      received: expect.stringContaining(primary.serverUuid),
    });
  });

  it("tells of replication filters, which leave rows out of what its sets name", async () => {
    const n2 = lab.node("n2");
    expect((await read("n2")).replica?.filtered).toBeUndefined();
    const filter = (rule: string) =>
      n2.query(
        `STOP REPLICA SQL_THREAD; CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = (${rule}); START REPLICA SQL_THREAD`,
      );
    await filter("scratch");
    expect((await read("n2")).replica?.filtered).toBe(true);
    await filter("");
    expect((await read("n2")).replica?.filtered).toBeUndefined();
  });

  it("is none where its statement was interrupted, which the server answers with NULLs and without an error", async () => {
    // In the midst: what stands before it was done, what stands behind it was not.
    const asleep = STATUS_SQL.replace("'channel', ", "'asleep', (SELECT SLEEP(20)), 'channel', ");
    const halved = of.get("n2")!.queryAll(asleep, { deadlineMs: 30_000 });
    let id: unknown;
    while (id === undefined) {
      const [row] = await lab
        .node("n2")
        .query(
          "SELECT PROCESSLIST_ID id FROM performance_schema.threads WHERE PROCESSLIST_STATE = 'User sleep'",
        );
      id = row?.id;
    }
    await lab.node("n2").query(`KILL QUERY ${id}`);
    const sets = await halved;
    expect(sets[0]?.[0]?.status).toMatchObject({ asleep: 1, channel: null, counters: null });
    expect(() => parseStatus(sets)).toThrow(expect.objectContaining({ outcome: "error", errno: 1317 }));
    expect((await read("n2")).replica).not.toBeNull();
  });

  it("ages as its source goes silent, and tells the receiver's states apart", async () => {
    lab.node("n1").hang();
    try {
      await expect
        .poll(async () => (await read("n2")).replica!.heardAgeMs, { timeout: 5_000 })
        .toBeGreaterThan(500);
    } finally {
      lab.node("n1").resume();
    }
    await expect
      .poll(async () => (await read("n2")).replica!.heardAgeMs, { timeout: 5_000 })
      .toBeLessThan(400);
    const n2 = lab.node("n2");
    await n2.query("STOP REPLICA IO_THREAD");
    expect((await read("n2")).replica).toMatchObject({ receiver: "off", applier: "on" });
    await n2.query(
      "STOP REPLICA SQL_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_PORT=1; START REPLICA IO_THREAD",
    );
    await expect
      .poll(async () => (await read("n2")).replica!.receiverErrno, { timeout: 5_000 })
      .toBeGreaterThan(0);
    expect((await read("n2")).replica).toMatchObject({ receiver: "connecting", applier: "off" });
    await n2.query(
      `STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_PORT=${lab.node("n1").port}; START REPLICA`,
    );
    await expect.poll(async () => (await read("n2")).replica!.receiver, { timeout: 5_000 }).toBe("on");
  });

  it("names an applier's error by its worker, not by the coordinator that only heard of it", async () => {
    const [n1, n2] = [lab.node("n1"), lab.node("n2")];
    await n2.query(
      "SET GLOBAL super_read_only=OFF; SET sql_log_bin=0; INSERT INTO app.writes VALUES ('clash', 'n2', 1); SET GLOBAL super_read_only=ON",
    );
    await n1.query("INSERT INTO app.writes VALUES ('clash', 'n1', 1)");
    await expect.poll(async () => (await read("n2")).replica!.applierErrno, { timeout: 5_000 }).toBe(1062);
    const { replica } = await read("n2");
    expect(replica).toMatchObject({ applier: "off", receiver: "on" });
    expect(replica!.applierError).toContain("Duplicate entry 'clash'");
    await n2.query(
      "SET GLOBAL super_read_only=OFF; SET sql_log_bin=0; DELETE FROM app.writes WHERE id='clash'; SET GLOBAL super_read_only=ON; START REPLICA SQL_THREAD",
    );
    await expect.poll(async () => (await read("n2")).replica!.applierErrno, { timeout: 5_000 }).toBe(0);
  });

  it("does without the semi-sync plugins, and with them again once they are there", async () => {
    const n2 = lab.node("n2");
    await n2.query(
      "STOP REPLICA; SET GLOBAL super_read_only=OFF; SET sql_log_bin=0; " +
        "UNINSTALL PLUGIN rpl_semi_sync_replica; UNINSTALL PLUGIN rpl_semi_sync_source",
    );
    expect((await read("n2")).semiSync).toBeNull();
    expect((await read("n2")).replica).not.toBeNull();
    await n2.query(
      "SET sql_log_bin=0; INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'; INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'; SET GLOBAL super_read_only=ON",
    );
    await read("n2"); // notices
    expect((await read("n2")).semiSync).toMatchObject({ source: false, replica: false });
    await n2.query("SET GLOBAL rpl_semi_sync_replica_enabled=ON; START REPLICA");
  });
});

describe("the row of baton.epoch", () => {
  const row = { installation: "i-1", cluster: "shop", epoch: 7, primaryUuid: "u-1" };
  const again = async (node: string) => {
    const s = await openSession(lab.node(node), lab.accounts.baton, {
      connectTimeoutMs: 5_000,
      name: "again",
    });
    sessions.push(s);
    return s;
  };

  it("is null where there is no such table, and comes with the data to a replica", async () => {
    expect((await read("n1")).epoch).toBeNull();
    const primary = await again("n1");
    await expect(primary.query(mysql84.writeEpoch(row))).rejects.toSatisfy((e: { errno?: number }) =>
      isMissingTable(e.errno),
    );
    await primary.queryAll([...mysql84.createEpoch, mysql84.writeEpoch(row)].join(";"));
    const [of] = await lab.node("n1").query("SELECT @@GLOBAL.gtid_executed g");
    await lab.node("n2").query(`SELECT WAIT_FOR_EXECUTED_GTID_SET('${of!.g}', 10)`);
    expect((await readStatus(await again("n2"), 5_000)).epoch).toEqual(row);
    // A session that has found none asks again a second later.
    await expect.poll(async () => (await read("n1")).epoch, { timeout: 5_000 }).toEqual(row);
  });

  it("takes the place of an earlier one and of another installation's, and of no later one", async () => {
    const primary = await again("n1");
    const write = async (more: Partial<typeof row>) => {
      await primary.query(mysql84.writeEpoch({ ...row, ...more }));
      return (await readStatus(await again("n1"), 5_000)).epoch;
    };
    expect(await write({ epoch: 8, primaryUuid: "u-2" })).toEqual({ ...row, epoch: 8, primaryUuid: "u-2" });
    expect(await write({ epoch: 7, primaryUuid: "u-9" })).toEqual({ ...row, epoch: 8, primaryUuid: "u-2" });
    expect(await write({ epoch: 8, primaryUuid: "u-3" })).toEqual({ ...row, epoch: 8, primaryUuid: "u-3" });
    expect(await write({ epoch: 1, installation: "i-2" })).toEqual({ ...row, epoch: 1, installation: "i-2" });
    expect(await write({ epoch: 1, cluster: "other" })).toEqual({ ...row, epoch: 1, cluster: "other" });
    expect(await write({})).toEqual(row);
  });

  it("holds no status up while somebody has its table", async () => {
    const person = lab.node("n1");
    const release = await person.hold("LOCK TABLES baton.epoch WRITE");
    try {
      const fresh = await again("n1");
      const status = await readStatus(fresh, 2_000);
      expect(status.serverUuid).not.toBe("");
      expect(status.epoch).toBeUndefined();
      // Now it is not asked for.
      await expect(readStatus(fresh, 90)).resolves.toMatchObject({ readOnly: false });
    } finally {
      await release();
    }
  });
});
