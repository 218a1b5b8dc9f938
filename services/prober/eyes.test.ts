/** The prober's eyes on real servers. The bus is a list. */
import { DeclaredCluster, type Sample } from "@baton/contracts";
import { type Lab, startLab } from "@baton/lab";
import { openSession } from "@baton/mysql";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Eyes } from "./eyes.ts";

type Told = Sample & { trace: string | null; atMs: number };

let lab: Lab;
const open: Eyes[] = [];
beforeAll(async () => {
  lab = await startLab({ natsServers: 0 });
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((eyes) => eyes.end()));
});
afterAll(() => lab.stop());

function look(o: { password?: string; nodes?: string[]; calmMs?: number } = {}) {
  const told: Told[] = [];
  const wakers = new Set<() => void>();
  let traces = 0;
  const eyes = new Eyes({
    cluster: "shop",
    prober: "p1",
    region: "local",
    calmMs: o.calmMs ?? 1_000,
    suspectMs: 100,
    floorMs: 300,
    connectTimeoutMs: 1_000,
    access: { ...lab.accounts.baton, password: o.password ?? lab.accounts.baton.password },
    publish: (sample, trace) => {
      told.push({ ...sample, trace, atMs: performance.now() });
      for (const wake of wakers) wake();
    },
    startTrace: () => `trace-${++traces}`,
    onTurn: () => undefined,
  });
  open.push(eyes);
  const declare = (names: string[]) => {
    const all = lab.clusterDeclaration().nodes;
    const nodes = Object.fromEntries(names.map((n) => [n, all[n]]));
    eyes.declare(DeclaredCluster.parse({ cluster: "shop", nodes }));
  };
  declare(o.nodes ?? ["n1", "n2", "n3"]);
  /** The first sample from `from` on that fits. */
  const until = async (fits: (s: Told) => boolean, from = 0, deadlineMs = 10_000): Promise<Told> => {
    const end = performance.now() + deadlineMs;
    for (;;) {
      const found = told.slice(from).find(fits);
      if (found) return found;
      const left = end - performance.now();
      if (left <= 0)
        throw new Error(
          `not told: ${JSON.stringify(
            told
              .slice(from)
              .slice(-12)
              .map((s) => [s.node, s.outcome, s.cause]),
          )}`,
        );
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        wakers.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
      wakers.clear();
    }
  };
  const well = (node: string) => (s: Told) => s.node === node && s.outcome === "ok" && s.status !== null;
  const allWell = async (from = 0) => {
    for (const n of ["n1", "n2", "n3"]) await until(well(n), from);
  };
  return { eyes, told, until, well, allWell, declare };
}

describe("a cluster in calm", () => {
  it("is told with what each node says of itself", async () => {
    const { allWell, told, until } = look();
    await allWell();
    const heard = await until((s) => s.node === "n2" && s.status?.replica?.heardAgeMs != null);
    const n1 = told.find((s) => s.node === "n1" && s.status)!.status!;
    const n2 = told.find((s) => s.node === "n2" && s.status)!.status!;
    expect(n1).toMatchObject({ readOnly: false, gtidMode: true, replica: null });
    expect(n1.semiSync).toMatchObject({ source: true, sourceActive: true, clients: 2, afterSync: true });
    expect(n2).toMatchObject({ superReadOnly: true });
    expect(n2.replica).toMatchObject({ receiver: "on", applier: "on", sourceUuid: n1.serverUuid });
    expect(heard.status!.replica!.heardAgeMs).toBeLessThan(2_000);
  });
});

describe("the primary, killed", () => {
  it("closed, then refused twice, in one trace, with what the replicas say", async () => {
    const { allWell, told, until, well } = look();
    await allWell();
    const from = told.length;
    let back = from;
    try {
      lab.node("n1").killNow();
      const dead = await until((s) => s.node === "n1" && s.outcome === "refused" && s.attempts === 2, from);
      const others = [
        await until((s) => s.node === "n2" && s.outcome === "ok" && s.trace !== null, from),
        await until((s) => s.node === "n3" && s.outcome === "ok" && s.trace !== null, from),
      ];
      const of = told.slice(from).filter((s) => s.node === "n1");
      // While the killed server's sockets are torn down, further connections may be dropped before one is refused.
      const told3 = [of[0], ...of.filter((s) => s.outcome !== "closed").slice(0, 2)];
      expect(told3.map((s) => [s?.outcome, s?.cause, s?.attempts])).toEqual([
        ["closed", "closed", 0],
        ["refused", "confirm", 1],
        ["refused", "confirm", 2],
      ]);
      expect(new Set([...of, ...others].map((s) => s.trace)).size).toBe(1);
      expect(dead.trace).not.toBeNull();
      expect(dead.silentMs).toBeGreaterThan(0);
      // The receivers notice too; the samples say so without anybody's asking.
      await until((s) => s.node === "n2" && s.status?.replica?.receiver === "connecting", from);
    } finally {
      back = told.length;
      await lab.node("n1").start();
    }
    const up = await until(well("n1"), back);
    expect(up).toMatchObject({ attempts: 0, silentMs: 0 });
    expect(up.status).toMatchObject({ superReadOnly: true });
    await lab
      .node("n1")
      .query(
        "SET GLOBAL rpl_semi_sync_source_enabled=ON; SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF",
      );
  });
});

describe("a primary that hangs", () => {
  it("is told when the silence counts, again as it grows, and at once when it ends", async () => {
    const { allWell, told, until, well } = look();
    await allWell();
    const from = told.length;
    lab.node("n1").hang();
    try {
      const first = await until((s) => s.node === "n1" && s.outcome !== "ok", from);
      expect(first).toMatchObject({ outcome: "timeout-query", attempts: 1 });
      expect(first.silentMs).toBeGreaterThanOrEqual(first.thresholdMs);
      const third = await until((s) => s.node === "n1" && s.attempts === 3, from);
      expect(third.silentMs).toBeGreaterThan(first.silentMs);
      expect(third.trace).toBe(first.trace);
      await until((s) => s.node === "n2" && (s.status?.replica?.heardAgeMs ?? 0) > 500, from);
    } finally {
      lab.node("n1").resume();
    }
    const up = await until(well("n1"), told.length);
    expect(up).toMatchObject({ attempts: 0, silentMs: 0 });
  });
});

describe("a server that refuses this account, or anybody", () => {
  it("auth is no death", async () => {
    const { until } = look({ password: "wrong" });
    const s = await until((s) => s.node === "n1");
    expect(s).toMatchObject({ outcome: "auth", errno: 1045, status: null });
  });

  it("too many connections is no death, and ends when there is room", async () => {
    const { until, told, well } = look({ nodes: ["n3"] });
    await until(well("n3"));
    const { host, port } = lab.node("n3");
    const holder = () =>
      openSession({ host, port }, lab.accounts.baton, { connectTimeoutMs: 1_000, name: "holder" });
    // The second takes the place that is kept free for administrators, of whom the prober's account is one.
    const [first, second] = await Promise.all([holder(), holder()]);
    const [row] = await first.query<{ most: number }>("SELECT @@GLOBAL.max_connections AS most");
    try {
      await first.query("SET GLOBAL max_connections=1");
      const from = told.length;
      const others = await first.query<{ id: number }>(
        "SELECT PROCESSLIST_ID AS id FROM performance_schema.threads WHERE PROCESSLIST_USER = 'baton' AND PROCESSLIST_ID NOT IN (?)",
        { params: [[first.threadId, second.threadId]] },
      );
      for (const { id } of others) await first.query(`KILL ${id}`).catch(() => undefined);
      const s = await until((s) => s.outcome === "too-many-connections", from);
      expect(s.errno).toBe(1040);
    } finally {
      await first.query(`SET GLOBAL max_connections=${row!.most}`);
      first.destroy();
      second.destroy();
    }
    await until(well("n3"), told.length);
  });
});

describe("a held session that somebody kills", () => {
  it("is closed and well again at once, with no refusal in between", async () => {
    const { until, told, well, allWell } = look();
    await allWell();
    const from = told.length;
    const [row] = await lab
      .node("n2")
      .query<{ id: number }>(
        "SELECT MIN(PROCESSLIST_ID) AS id FROM performance_schema.threads WHERE PROCESSLIST_USER = 'baton'",
      );
    await lab.node("n2").query(`KILL ${row!.id}`);
    await until((s) => s.node === "n2" && s.outcome === "closed", from);
    await until(well("n2"), from + 1);
    expect(told.slice(from).filter((s) => s.node === "n2" && !["ok", "closed"].includes(s.outcome))).toEqual(
      [],
    );
  });
});

describe("look now", () => {
  it("gives a fresh sample of each node that was asked for", async () => {
    const { eyes, allWell, told } = look({ calmMs: 60_000 });
    await allWell();
    const askedAt = performance.now();
    const samples = await eyes.lookNow([], "theirs");
    expect(samples.map((s) => s.node).sort()).toEqual(["n1", "n2", "n3"]);
    for (const s of samples) {
      expect(s.outcome).toBe("ok");
      const of = told.find((t) => t.node === s.node && t.seq === s.seq)!;
      // What was told a moment ago is now.
      expect(of.atMs).toBeGreaterThanOrEqual(askedAt - 10);
      if (s.cause === "look-now") expect(of.trace).not.toBeNull();
    }
    expect((await eyes.lookNow(["n2"], null)).map((s) => s.node)).toEqual(["n2"]);
  });
});

describe("a declaration that changes", () => {
  it("adds and drops nodes while the rest goes on, and leaves no session behind", async () => {
    const { declare, until, told, well } = look({ nodes: ["n1", "n2"] });
    await until(well("n2"));
    declare(["n1", "n3"]);
    const from = told.length;
    await until(well("n3"), from);
    await until(well("n1"), from);
    expect(told.slice(from).some((s) => s.node === "n2")).toBe(false);
    const left = async () => {
      const [row] = await lab
        .node("n2")
        .query<{ n: number }>(
          "SELECT COUNT(*) AS n FROM performance_schema.threads WHERE PROCESSLIST_USER = 'baton'",
        );
      return Number(row!.n);
    };
    await expect.poll(left, { timeout: 5_000 }).toBe(0);
  });
});
