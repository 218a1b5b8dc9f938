import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Scene, uuid } from "./scene.testkit.ts";

/** What a prober says that was never told where the node is. */
const unresolved = {
  outcome: "error" as const,
  error: "the name db cannot be resolved",
  attempts: 5,
  silentMs: 9_000,
};
const lost = { receiver: "connecting" as const, receiverErrno: 2003 };

function calmCluster(nodes = 3, ...probers: string[]): Scene {
  const scene = new Scene(nodes);
  scene.steady();
  scene.calm(...probers);
  scene.effects = [];
  expect(scene.code()).toBe("healthy");
  return scene;
}

describe("a dead primary", () => {
  it("is replaced when refused twice and every replica has lost it", () => {
    const s = calmCluster();
    s.refused("n1");
    expect(s.orders()).toEqual([]);
    s.replica("n2", lost);
    expect(s.orders()).toEqual([]);
    s.replica("n3", lost);
    expect(s.code()).toBe("primary-dead");
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("is not believed dead on one refusal or on a closed connection", () => {
    const s = calmCluster();
    s.sample("n1", "p1", { outcome: "closed" });
    s.sample("n1", "p1", { outcome: "refused", attempts: 1 });
    s.replica("n2", lost);
    s.replica("n3", lost);
    expect(s.code()).toBe("healthy");
    expect(s.orders()).toEqual([]);
  });

  it("hung: needs a silence longer than the threshold and replicas that hear nothing", () => {
    const s = calmCluster();
    s.sample("n1", "p1", { outcome: "timeout-query", attempts: 1, silentMs: 299, thresholdMs: 300 });
    s.replica("n2", { heardAgeMs: 900 });
    s.replica("n3", { heardAgeMs: 900 });
    expect(s.orders()).toEqual([]);
    s.sample("n1", "p1", { outcome: "timeout-query", attempts: 2, silentMs: 301, thresholdMs: 300 });
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("is asked about again while a replica's word is older than the suspicion", () => {
    const s = calmCluster();
    expect(
      s.refused("n1").some((e) => e.type === "look-now") || s.effects.some((e) => e.type === "look-now"),
    ).toBe(true);
  });

  it("is asked about again soon when nothing comes in meanwhile, and not for ever", () => {
    const s = calmCluster();
    const looks = () => s.effects.filter((e) => e.type === "look-now").length;
    s.refused("n1");
    const [first] = s.effects.filter((e) => e.type === "look-now").slice(-1);
    expect(first?.againMs).toBeGreaterThan(0);
    const before = looks();
    for (let i = 1; i <= 10; i++) {
      s.now += first?.againMs ?? 0;
      s.feed({ type: "tick", nowUnixMs: s.unixMs });
      expect(looks()).toBe(before + i);
    }
    s.now += 1_000;
    s.feed({ type: "tick", nowUnixMs: s.unixMs });
    expect(looks()).toBe(before + 10);
  });

  it("orders once from one state, and again only after a refused try and its pause", () => {
    const s = calmCluster();
    s.refused("n1");
    s.replica("n2", lost);
    s.replica("n3", lost);
    s.refused("n1");
    expect(s.orders()).toHaveLength(1);
    s.steady(
      { last: { id: "x", kind: "failover", outcome: "rolled-back", code: "internal", endedUnixMs: 0 } },
      7,
    );
    s.replica("n2", lost);
    s.replica("n3", lost);
    s.refused("n1");
    expect(s.orders()).toHaveLength(1);
    s.wait(5_001);
    s.refused("n1");
    s.replica("n2", lost);
    s.replica("n3", lost);
    expect(s.orders()).toHaveLength(2);
  });
});

describe("a living primary keeps its pen", () => {
  it("when a replica still hears it", () => {
    const s = calmCluster();
    s.refused("n1");
    s.replica("n2", lost);
    s.replica("n3", {});
    // What n3 heard 50 ms ago was before the first doubt.
    expect(s.code()).toBe("healthy");
    s.now += 200;
    s.refused("n1");
    s.replica("n2", lost);
    s.replica("n3", {});
    expect(s.code()).toBe("primary-unreachable-replicas-fine");
    expect(s.orders()).toEqual([]);
  });

  it("when only half of the probers, or one region of two, find it dead", () => {
    const s = calmCluster(3, "p1", "p2", "p3-us", "p4-us");
    for (const p of ["p1", "p2"]) s.refused("n1", p);
    for (const n of ["n2", "n3"]) s.replica(n, lost);
    expect(s.orders()).toEqual([]);
    s.refused("n1", "p3-us");
    for (const n of ["n2", "n3"]) s.replica(n, lost);
    // 3 of 4 probers, but in one region of two only: half of the us region still reaches it.
    expect(s.orders()).toEqual([]);
    s.refused("n1", "p4-us");
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("when the prober finds everything dead: it is blind", () => {
    const s = calmCluster(3, "p1", "p2", "p3");
    for (const n of ["n1", "n2", "n3"]) {
      s.sample(n, "p1", { outcome: "timeout-connect", silentMs: 9_000, attempts: 3 });
      s.sample(n, "p2", { outcome: "timeout-connect", silentMs: 9_000, attempts: 3 });
    }
    expect(s.code()).toBe("prober-blind");
    for (const n of ["n1", "n2", "n3"])
      s.sample(n, "p3", { outcome: "timeout-connect", silentMs: 9_000, attempts: 3 });
    expect(s.code()).toBe("primary-and-all-replicas-unreachable");
    expect(s.orders()).toEqual([]);
  });

  it("when its name cannot be resolved, for however long", () => {
    const s = calmCluster();
    for (const n of ["n2", "n3"]) s.replica(n, lost);
    s.sample("n1", "p1", unresolved);
    for (const n of ["n2", "n3"]) s.replica(n, lost);
    expect(s.code()).toBe("healthy");
    expect(s.orders()).toEqual([]);
  });

  it("when it is full, when it refuses our account, when all replicas' receivers were stopped by hand", () => {
    const s = calmCluster();
    for (const n of ["n2", "n3"]) s.replica(n, { receiver: "off" });
    s.sample("n1", "p1", { outcome: "too-many-connections", errno: 1040, attempts: 5, silentMs: 9_000 });
    expect(s.code()).toBe("primary-overloaded");
    s.sample("n1", "p1", { outcome: "auth", errno: 1045, attempts: 6, silentMs: 9_000 });
    expect(s.code()).toBe("credentials-failing");
    s.sample("n1");
    expect(s.code()).toBe("replication-stopped");
    expect(s.orders()).toEqual([]);
  });

  it("when no prober has been heard for a while", () => {
    const s = calmCluster();
    s.wait(60_000);
    expect(s.orders()).toEqual([]);
    expect(s.code()).toBe("healthy");
  });
});

describe("a prober that cannot resolve the nodes' names", () => {
  it("is blind, and says why", () => {
    const s = calmCluster(3, "p1", "p2");
    for (const n of ["n1", "n2", "n3"]) s.sample(n, "p2", unresolved);
    expect(s.code()).toBe("prober-blind");
    expect(s.picture.diagnosis?.summary).toContain("p2 reaches no node (the name db cannot be resolved)");
    for (const n of ["n1", "n2", "n3"]) s.sample(n, "p1", unresolved);
    expect(s.code()).toBe("primary-and-all-replicas-unreachable");
    expect(s.orders()).toEqual([]);
  });

  it("does not stand in the way of a failover that the others see", () => {
    const s = calmCluster(3, "p1", "p2");
    for (const n of ["n1", "n2", "n3"]) s.sample(n, "p2", unresolved);
    s.refused("n1", "p1");
    for (const n of ["n2", "n3"]) s.replica(n, lost);
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("of a replica: it cannot be reached, and is not waited for when the primary dies", () => {
    const s = new Scene(5, {}, 2);
    s.steady();
    s.calm();
    const primary = s.status("n1");
    const semiSync = { ...(primary.semiSync as NonNullable<typeof primary.semiSync>), acks: 2, clients: 4 };
    s.sample("n1", "p1", { status: { ...primary, semiSync } });
    expect(s.code()).toBe("healthy");
    s.sample("n5", "p1", unresolved);
    expect(s.code()).toBe("replica-dead");
    s.refused("n1");
    for (const n of ["n2", "n3", "n4"]) s.replica(n, lost);
    expect(s.code()).toBe("primary-dead-with-some-replicas");
  });
});

describe("a decider that slept", () => {
  it("takes what piled up meanwhile for no evidence, and looks again", () => {
    const s = calmCluster();
    // A VM that stalls: no tick, and the death and the recovery of n1 lie in the socket together.
    s.now += 5_000;
    s.refused("n1");
    s.replica("n2", lost);
    s.replica("n3", lost);
    s.refused("n1");
    expect(s.orders()).toEqual([]);
    s.wait(250);
    s.calm();
    expect(s.orders()).toEqual([]);
    expect(s.code()).toBe("healthy");
    s.refused("n1");
    s.replica("n2", lost);
    s.replica("n3", lost);
    s.refused("n1");
    expect(s.orders()).toEqual(["failover n1"]);
  });
});

describe("a prober that was restarted under its name", () => {
  it("is heard again after a second, though it counts from the beginning; a late message is not", () => {
    const s = calmCluster();
    const [known] = s.picture.seen.get("n1")?.values() ?? [];
    const restarted = (seq: number) =>
      s.sample("n1", "p1", { seq, outcome: "refused", attempts: 2, status: null });
    const outcome = () => s.picture.seen.get("n1")?.get("p1")?.sample.outcome;
    for (let i = 0; i < 20; i++) s.sample("n1");
    expect(known?.sample.seq).toBeLessThan(5);
    restarted(0);
    expect(outcome()).toBe("ok");
    s.wait(1_001);
    restarted(0);
    expect(outcome()).toBe("refused");
  });
});

describe("warm-up", () => {
  it("concludes nothing before a healthy baseline", () => {
    const s = new Scene();
    s.steady();
    s.refused("n1");
    for (const n of ["n2", "n3"]) s.replica(n, { ...lost, sourceUuid: "" });
    s.wait(10_000);
    s.refused("n1");
    for (const n of ["n2", "n3"]) s.replica(n, { ...lost, sourceUuid: "" });
    expect(s.code()).toBe("warming-up");
    expect(s.orders()).toEqual([]);
  });

  it("of a decider restarted in the middle takes the replicas' memory for a baseline, after 5 s", () => {
    const s = new Scene();
    s.mark();
    s.steady();
    s.refused("n1");
    for (const n of ["n2", "n3"]) s.replica(n, lost);
    expect(s.orders()).toEqual([]);
    s.wait(5_000);
    s.refused("n1");
    for (const n of ["n2", "n3"]) s.replica(n, lost);
    expect(s.orders()).toEqual(["failover n1"]);
  });
});

describe("a primary that was lost before its reign began", () => {
  const last = { id: "failover-shop-1-4", code: "node-lost", endedUnixMs: 1 } as const;
  const blocked = { ...last, kind: "failover", outcome: "blocked" } as const;
  it("is failed over from, though nobody has seen it write", () => {
    const s = new Scene(4);
    s.mark();
    s.steady({ last: blocked });
    const look = () => {
      s.refused("n1");
      for (const n of ["n2", "n3", "n4"]) s.replica(n, { ...lost, sourceUuid: "" });
    };
    look();
    s.wait(6_000);
    look();
    expect(s.orders()).toEqual(["failover n1"]);
  });
  it("is opened when it comes back, however far its opening had come", () => {
    const s = new Scene();
    s.steady({ last: blocked });
    s.now += 300;
    for (const n of ["n2", "n3"]) s.sample(n);
    s.sample("n1", "p1", { status: s.status("n1", { readOnly: true }) });
    expect(s.orders()).toEqual(["reopen n1"]);
  });
});

describe("a primary that is read-only with semi-sync off, its start the second in which it was last open", () => {
  const closed = (s: Scene) => {
    const open = s.status("n1");
    const semiSync = { ...(open.semiSync as NonNullable<typeof open.semiSync>), source: false };
    s.now += 300;
    for (const n of ["n2", "n3"]) s.sample(n);
    s.sample("n1", "p1", { status: { ...open, readOnly: true, semiSync } });
    return s.orders();
  };
  it("was closed by a person, who is left alone", () => {
    expect(closed(calmCluster())).toEqual([]);
  });
  it("is opened when it has refused connections in between: its server ended", () => {
    const s = calmCluster();
    s.refused("n1");
    expect(closed(s)).toEqual(["reopen n1"]);
  });
});

describe("a primary that an operation closed and could not open again", () => {
  it.each([
    [undefined, []],
    [["n1"], ["reopen n1"]],
  ])("unrestored %j: %j", (unrestored, orders) => {
    const s = calmCluster();
    s.steady({ ...(unrestored === undefined ? {} : { unrestored }) }, 9);
    s.now += 300;
    const status = s.status("n1");
    s.sample("n1", "p1", { status: { ...status, readOnly: true, superReadOnly: true } });
    expect(s.code()).toBe("primary-read-only");
    expect(s.orders()).toEqual(orders);
  });
});

describe("a failover that would not be safe", () => {
  it("is not ordered, and the refusal is named", () => {
    const s = calmCluster();
    s.refused("n2");
    s.refused("n1");
    s.replica("n3", lost);
    expect(s.code()).toBe("failover-not-possible");
    expect(s.picture.diagnosis?.refusal).toBe("ackers-unreachable");
    expect(s.orders()).toEqual([]);
  });
});

describe("a primary that was last seen answering without acks", () => {
  it.each([
    ["off", { source: false }],
    ["degraded", { sourceActive: false }],
  ])(
    "semi-sync %s: its death is not answered with a failover, for no replica can prove anything",
    (_, change) => {
      const s = calmCluster();
      s.now += 10;
      const status = s.status("n1");
      s.sample("n1", "p1", { status: { ...status, semiSync: { ...status.semiSync!, ...change } } });
      s.refused("n1");
      for (const n of ["n2", "n3"]) s.replica(n, lost);
      expect(s.code()).toBe("failover-not-possible");
      expect(s.picture.diagnosis?.refusal).toBe("durability-unproven");
      expect(s.orders()).toEqual([]);
    },
  );
});

describe("a node that has been dead for long", () => {
  it("stays so between the ever rarer tries", () => {
    const s = calmCluster();
    s.refused("n3");
    expect(s.code()).toBe("replica-dead");
    for (let i = 0; i < 20; i++) {
      s.now += 1_000;
      s.sample("n1");
      s.sample("n2");
      expect(s.code()).toBe("replica-dead");
    }
  });
});

describe("adoption", () => {
  it("takes the one writable node that others follow", () => {
    const s = new Scene();
    s.calm();
    expect(s.orders()).toEqual(["adopt n1"]);
  });
  it("does not choose between two writable nodes", () => {
    const s = new Scene();
    s.calm();
    s.effects = [];
    const two = new Scene();
    two.replica("n2", {}, "p1", { readOnly: false });
    two.sample("n1");
    two.wait(6_000);
    two.replica("n2", {}, "p1", { readOnly: false });
    two.sample("n1");
    expect(two.code()).toBe("no-primary");
    expect(two.orders()).toEqual([]);
  });
});

describe("right after a change of state", () => {
  const broken = { receiver: "off" as const, applier: "off" as const };
  const all = (s: Scene, n3: object = {}) => {
    s.sample("n1");
    s.replica("n2", {});
    s.replica("n3", n3);
  };
  it("what was wrong stands until the nodes have been read again, which is asked for at once", () => {
    const s = calmCluster();
    all(s, broken);
    expect(s.code()).toBe("replication-stopped");
    const told = s.effects.filter((e) => e.type === "diagnosed").length;
    s.now += 500;
    const asked = s.steady({}, 9).some((e) => e.type === "look-now");
    expect(asked).toBe(true);
    expect(s.code()).toBe("replication-stopped");
    s.now += 5;
    all(s, broken);
    expect(s.effects.filter((e) => e.type === "diagnosed")).toHaveLength(told);
    s.steady({}, 10);
    s.now += 5;
    all(s);
    expect(s.code()).toBe("healthy");
  });
  it("nobody who could not be read again keeps it standing, and what is graver is told at once", () => {
    const s = calmCluster();
    all(s, broken);
    s.steady({}, 9);
    s.now += 5;
    s.sample("n1");
    s.replica("n2", null, "p1", { readOnly: false });
    expect(s.code()).toBe("replica-writable");
    const other = calmCluster();
    all(other, broken);
    other.steady({}, 9);
    other.wait(1_600);
    expect(other.code()).toBe("healthy");
  });
});

describe("an order that could not be given", () => {
  it("is given again soon, and not as fast as the refusal comes back", () => {
    const s = calmCluster();
    s.refused("n1");
    s.replica("n2", lost);
    s.replica("n3", lost);
    s.refused("n1");
    expect(s.orders()).toHaveLength(1);
    s.feed({ type: "order-failed", stateRevision: 5 });
    s.refused("n1");
    expect(s.orders()).toHaveLength(1);
    s.wait(250);
    expect(s.orders()).toHaveLength(2);
  });
});

describe("a node out of its place", () => {
  it("is led home after a second: a former primary, a replica restarted", () => {
    const s = calmCluster();
    const stray = () => s.replica("n3", null, "p1", { readOnly: true });
    stray();
    expect(s.orders()).toEqual([]);
    s.wait(1_100);
    s.sample("n1");
    stray();
    expect(s.orders()).toEqual(["rejoin n3"]);
  });

  it("is left alone when somebody stopped it on purpose", () => {
    const s = calmCluster();
    s.clients = 1;
    s.feed({
      type: "vouch",
      node: "n3",
      revision: 2,
      vouch: { cluster: "shop", node: "n3", serverUuid: uuid("n3"), startedUnixS: 100, held: "" },
    });
    for (let i = 0; i < 5; i++) {
      s.now += 1_000;
      s.sample("n1");
      s.replica("n3", { receiver: "off" });
    }
    expect(s.code()).toBe("replication-stopped");
    expect(s.orders()).toEqual([]);
  });

  it("is led home when an operation stopped it and could not start it again", () => {
    const s = calmCluster();
    const vouch = { cluster: "shop", node: "n3", serverUuid: uuid("n3"), startedUnixS: 100, held: "" };
    s.feed({ type: "vouch", node: "n3", vouch, revision: 2 });
    s.steady({ unrestored: ["n3"] }, 9);
    for (let i = 0; i < 3; i++) {
      s.now += 1_000;
      s.sample("n1");
      s.replica("n3", { receiver: "off" });
    }
    expect(s.orders()).toEqual(["rejoin n3"]);
  });

  it("that is quarantined stays so until it holds nothing extra", () => {
    const s = calmCluster();
    s.steady({ quarantined: ["n3"] }, 9);
    const errant = `${uuid("n1")}:1-10,${uuid("n3")}:1`;
    for (let i = 0; i < 3; i++) {
      s.now += 1_000;
      s.sample("n1");
      s.sample("n2");
      s.replica("n3", null, "p1", { executed: errant });
    }
    expect(s.orders()).toEqual([]);
    for (let i = 0; i < 3; i++) {
      s.now += 1_000;
      s.sample("n1");
      s.sample("n2");
      s.replica("n3", null, "p1", { executed: "" });
    }
    expect(s.orders()).toEqual(["rejoin n3"]);
  });
});

describe("any order of the same evidence", () => {
  it("leads to the same one order", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 5, maxLength: 5 }), (order) => {
        const s = calmCluster();
        s.sample("n1", "p1", { outcome: "closed" });
        const events = [
          () => s.sample("n1", "p1", { outcome: "refused", attempts: 2 }),
          () => s.replica("n2", lost),
          () => s.replica("n3", lost),
          () => s.replica("n2", lost),
          () => s.replica("n3", lost),
        ];
        for (const i of order) events[i]?.();
        return s.orders().join() === "failover n1";
      }),
    );
  });
});

describe("a replica that alone cannot connect to the primary", () => {
  const wrong = {
    receiver: "connecting" as const,
    receiverErrno: 1045,
    receiverError: "Access denied for user 'repl'",
  };
  /** Seconds in which n3 tries and everybody else is well. */
  const pass = (s: Scene, seconds: number, n2: () => void = () => s.replica("n2", {})) => {
    for (let i = 0; i < seconds * 2; i++) {
      s.now += 500;
      n2();
      s.replica("n3", wrong);
      s.sample("n1");
    }
  };

  it("is named after a second, with the server's own error", () => {
    const s = calmCluster();
    s.clients = 1;
    pass(s, 3);
    expect(s.code()).toBe("replica-not-connected");
    expect(s.picture.diagnosis?.summary).toContain("error 1045: Access denied");
    expect(s.orders()).toEqual([]);
  });

  it("keeps no other fault from being repaired", () => {
    const s = calmCluster();
    s.clients = 1;
    pass(s, 4);
    pass(s, 4, () => s.replica("n2", null, "p1", { readOnly: false, superReadOnly: false }));
    expect(s.orders()).toEqual(["rejoin n2"]);
  });

  it("does not make what the others heard before the primary's death count after it", () => {
    const s = calmCluster();
    s.clients = 1;
    pass(s, 10);
    s.now += 20;
    s.refused("n1");
    s.replica("n3", wrong);
    s.replica("n2", { heardAgeMs: 40 });
    expect(s.code()).toBe("replica-not-connected");
    s.replica("n2", lost);
    expect(s.orders()).toEqual(["failover n1"]);
  });
});
