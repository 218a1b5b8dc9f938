/** When a decider orders a repair by itself, and when it only says what a person can do. */
import type { BatonError, NodeStatus, ReplicaStatus, SemiSyncStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { planRepair } from "./commands/repair.ts";
import { leftToPerson } from "./repairs.ts";
import { Scene, uuid } from "./scene.testkit.ts";

function calm(repairs: object = {}, policy: object = {}): Scene {
  const s = new Scene(3, {}, 1, { repairs, ...policy });
  s.steady();
  for (const node of ["n2", "n3"])
    s.feed({
      type: "vouch",
      revision: 2,
      node,
      vouch: { cluster: "shop", node, serverUuid: uuid(node), startedUnixS: 100, held: "" },
    });
  s.calm();
  s.effects = [];
  return s;
}

/** So many seconds in which n1 and n3 say this. */
function watch(
  s: Scene,
  seconds: number,
  o: {
    replica?: Partial<ReplicaStatus>;
    node?: Partial<NodeStatus>;
    semi?: Partial<SemiSyncStatus>;
    primary?: Partial<NodeStatus>;
  },
): string[] {
  for (let i = 0; i < seconds; i++) {
    s.now += 1_000;
    const n1 = s.status("n1");
    s.sample("n1", "p1", {
      status: { ...n1, semiSync: { ...(n1.semiSync as SemiSyncStatus), ...o.semi }, ...o.primary },
    });
    s.sample("n2");
    s.replica("n3", { heardAgeMs: 50, ...o.replica }, "p1", o.node ?? {});
  }
  return s.orders();
}

const killed = { replica: { applier: "off", applierErrno: 1756 } } as const;

describe("by itself", () => {
  it("after a second, once from one state", () => {
    const s = calm();
    expect(watch(s, 1, killed)).toEqual([]);
    expect(watch(s, 3, killed)).toEqual(["repair n3"]);
    expect(s.code()).toBe("replication-error");
  });

  it("not on ask or never: an alert names the command, or that it is a person's", () => {
    const ask = calm({ "replication-error": "ask" });
    expect(watch(ask, 5, killed)).toEqual([]);
    expect(leftToPerson(ask.picture, "replication-error", "n3", ask.now)).toContain("baton repair shop n3");
    const never = calm({ "replication-error": "never" });
    expect(watch(never, 5, killed)).toEqual([]);
    expect(leftToPerson(never.picture, "replication-error", "n3", never.now)).toContain("never");
  });

  it("not what a person stopped, nor an error in the data", () => {
    expect(watch(calm(), 5, { replica: { receiver: "off", applier: "off" } })).toEqual([]);
    expect(watch(calm(), 5, { replica: { applier: "off", applierErrno: 1062 } })).toEqual([]);
  });

  it("what a rolled-back failover has left stopped, though no error says so", () => {
    const s = calm();
    s.steady({ unrestored: ["n3"] }, 9);
    expect(watch(s, 4, { replica: { receiver: "off", receiverErrno: 2003 } })).toEqual(["rejoin n3"]);
  });

  it("semi-sync only when enough replicas are there to acknowledge", () => {
    expect(watch(calm(), 4, { semi: { source: false } })).toEqual(["repair n1"]);
    const alone = calm();
    for (let i = 0; i < 4; i++) {
      alone.now += 1_000;
      const n1 = alone.status("n1");
      alone.sample("n1", "p1", { status: { ...n1, semiSync: { ...n1.semiSync!, source: false } } });
      for (const n of ["n2", "n3"]) alone.replica(n, { receiver: "off" });
    }
    expect(alone.code()).toBe("semi-sync-off");
    expect(alone.orders()).toEqual([]);
  });

  it("semi-sync where writes may go on without acks too, but not a wait for acks that has timed out", () => {
    const available = () => calm({}, { durability: "available", ackTimeoutMs: 100 });
    const off = available();
    expect(watch(off, 4, { semi: { source: false, sourceActive: false, timeoutMs: 100 } })).toEqual([
      "repair n1",
    ]);
    expect(off.code()).toBe("semi-sync-off");
    const timedOut = available();
    expect(watch(timedOut, 4, { semi: { sourceActive: false, timeoutMs: 100 } })).toEqual([]);
    expect(timedOut.code()).toBe("healthy");
  });

  it("a lost ack only when the primary stands at one place for two seconds", () => {
    const held = { replica: { received: `${uuid("n1")}:1-11` }, semi: { waiting: 1 } };
    expect(watch(calm(), 2, held)).toEqual([]);
    expect(watch(calm(), 4, held)).toEqual(["repair n1"]);
    const moving = calm();
    for (let i = 10; i < 16; i++)
      watch(moving, 1, {
        replica: { received: `${uuid("n1")}:1-${i + 1}` },
        semi: { waiting: 1 },
        primary: { executed: `${uuid("n1")}:1-${i}` },
      });
    expect(moving.orders()).toEqual([]);
  });

  it("never while the primary is suspect, and not beside an operation", () => {
    const s = calm();
    for (let i = 0; i < 4; i++) {
      s.now += 1_000;
      s.sample("n1", "p1", { outcome: "closed" });
      s.replica("n3", killed.replica);
    }
    expect(s.orders()).toEqual([]);
    const busy = calm();
    busy.steady({ phase: "mending", operation: operation("rejoin") }, 9);
    expect(watch(busy, 4, killed)).toEqual([]);
  });
});

const operation = (kind: "rejoin" | "repair") => ({
  id: `${kind}-shop-n2-9`,
  kind,
  node: "n2",
  executor: "e1",
  takeovers: 0,
  startedUnixMs: 0,
  candidate: null,
  before: { receiverOn: [], writable: [] },
});

describe("cooldown and limit", () => {
  const made = (n: number, startUnixMs: number) =>
    Array.from({ length: n }, (_, i) => ({
      code: "replication-error" as const,
      node: "n3",
      endedUnixMs: startUnixMs + i,
    }));

  it("the same repair waits for its cooldown; another node's does not count", () => {
    const s = calm({ cooldownMs: 60_000 });
    s.steady({ repairs: made(1, s.unixMs) }, 9);
    expect(watch(s, 55, killed)).toEqual([]);
    expect(watch(s, 10, killed)).toEqual(["repair n3"]);
    const other = calm({ cooldownMs: 60_000 });
    other.steady({ repairs: made(1, other.unixMs).map((r) => ({ ...r, node: "n2" })) }, 9);
    expect(watch(other, 5, killed)).toEqual(["repair n3"]);
  });

  it("after so many within an hour it is a person's, who is told once; an hour later Baton tries again", () => {
    const s = calm({ cooldownMs: 0, perHour: 2 });
    s.steady({ repairs: made(1, s.unixMs) }, 9);
    s.calm();
    s.effects = [];
    s.steady({ repairs: made(2, s.unixMs) }, 10);
    expect(s.effects.filter((e) => e.type === "repair-limit")).toHaveLength(1);
    expect(watch(s, 5, killed)).toEqual([]);
    expect(leftToPerson(s.picture, "replication-error", "n3", s.now)).toContain("perHour");
    s.now += 3_600_000;
    s.calm();
    expect(watch(s, 5, killed)).toEqual(["repair n3"]);
  });
});

describe("a former primary that wakes and accepts writes", () => {
  const awake = (s: Scene) => {
    s.sample("n1");
    return s.replica("n3", null, "p1", { readOnly: false });
  };
  it("is looked at again at once, and shut when it has been seen so for a tenth of a second", () => {
    const s = calm();
    s.now += 1_000;
    const looks = awake(s).filter((e) => e.type === "look-now");
    expect(looks).toHaveLength(1);
    expect(looks[0]?.againMs).toBeLessThan(50);
    expect(s.orders()).toEqual([]);
    s.now += 110;
    awake(s);
    expect(s.orders()).toEqual(["rejoin n3"]);
  });
  it("is looked at no more when that is a person's", () => {
    const s = calm({ "replica-writable": "never" });
    s.now += 1_000;
    awake(s);
    s.now += 110;
    awake(s);
    s.effects = [];
    s.now += 110;
    awake(s);
    expect(s.effects.filter((e) => e.type === "look-now")).toEqual([]);
    expect(s.orders()).toEqual([]);
  });
});

describe("a person's order", () => {
  const ask = (s: Scene, o: { node?: string; inject?: boolean; dryRun?: boolean } = {}) => {
    const request = { cluster: "shop", node: null, dryRun: false, inject: false, keep: false, ...o };
    try {
      const { order, reply } = planRepair(s.picture, request, s.now, s.settings);
      return order === null
        ? reply.faults.map((f) => `${f.node} ${f.code}`).join()
        : `${order.kind} ${order.repair}`;
    } catch (error) {
      return (error as BatonError).code;
    }
  };

  it("starts what was stopped on purpose, and passes ask, but not never", () => {
    const s = calm({ "replication-stopped": "ask" });
    watch(s, 2, { replica: { receiver: "off", applier: "off" } });
    expect(ask(s, { dryRun: true })).toBe("n3 replication-stopped");
    expect(ask(s)).toBe("repair replication-stopped");
    const never = calm({ "replication-stopped": "never" });
    watch(never, 2, { replica: { receiver: "off", applier: "off" } });
    expect(ask(never)).toBe("E_CONFLICT");
  });

  it("a replica's own transactions: a quarantine, or empty transactions when said so", () => {
    const s = calm();
    watch(s, 2, { node: { executed: `${uuid("n1")}:1-10,${uuid("n3")}:1` } });
    expect(s.code()).toBe("gtid-drift");
    expect(s.orders()).toEqual([]);
    expect(ask(s)).toBe("rejoin gtid-drift");
    expect(ask(s, { inject: true })).toBe("repair gtid-drift");
    expect(ask(calm(), { inject: true })).toBe("E_CONFLICT");
  });

  it("is refused for strangers and while something runs", () => {
    const s = calm();
    expect(ask(s, { node: "n9" })).toBe("E_NOT_FOUND");
    s.steady({ phase: "fencing", epoch: 2 }, 10);
    expect(ask(s)).toBe("E_LOCKED");
  });
});

describe("a primary that is read-only with semi-sync off", () => {
  const shut = { readOnly: true, superReadOnly: true };

  it("was shut by a person when its server runs since it was open, else it has rebooted", () => {
    const person = calm({ "semi-sync-off": "ask" });
    expect(watch(person, 4, { primary: shut, semi: { source: false } })).toEqual([]);
    expect(person.code()).toBe("primary-read-only");
    const reboot = calm();
    expect(watch(reboot, 4, { primary: { ...shut, startedUnixS: 200 }, semi: { source: false } })).toEqual([
      "reopen n1",
    ]);
  });

  it("the state remembers the start for a decider that has only just begun", () => {
    const begun = (primaryStartedUnixS: number) => {
      const s = new Scene(3);
      s.steady({ primaryStartedUnixS });
      return watch(s, 4, { primary: shut, semi: { source: false } });
    };
    expect(begun(100)).toEqual([]);
    expect(begun(50)).toEqual(["reopen n1"]);
  });
});

describe("a replica that lacks what came before the primary's own", () => {
  const before = `${uuid("n2")}:1-5`;
  const primary = { executed: `${before},${uuid("n1")}:1-20` };
  it("for ten seconds the same, though it receives, is not whole", () => {
    const s = calm();
    expect(watch(s, 9, { primary })).toEqual([]);
    expect(s.code()).toBe("healthy");
    // n2 lacks it too in this scene: one at a time.
    expect(watch(s, 3, { primary })).toEqual(["rejoin n2"]);
    expect(s.code()).toBe("replica-hollow");
  });
  it("is only behind while it gets some of it, or lacks only what the primary wrote itself", () => {
    const s = calm();
    for (let i = 1; i <= 15; i++) {
      const executed = `${uuid("n2")}:1-${i},${uuid("n1")}:1-10`;
      s.now += 1_000;
      s.sample("n1", "p1", { status: s.status("n1", { executed: `${uuid("n2")}:1-30,${uuid("n1")}:1-20` }) });
      s.sample("n2", "p1", { status: s.status("n2", { executed }) });
      s.replica("n3", {}, "p1", { executed });
    }
    expect(s.orders()).toEqual([]);
    expect(watch(calm(), 15, { primary: { executed: `${uuid("n1")}:1-20` } })).toEqual([]);
  });
});

describe("who was tried in vain", () => {
  it("comes after the others, who may be what it waits for", () => {
    const last = {
      id: "rejoin-shop-n3-7",
      kind: "rejoin",
      outcome: "blocked",
      code: "handover-unproven",
      endedUnixMs: 0,
    } as const;
    const gone = (of: Partial<NodeStatus["replica"]>) => ({
      sourceUuid: uuid("n9"),
      sourceHost: "h9",
      ...of,
    });
    const tried = (last?: object) => {
      const s = calm();
      s.steady(last === undefined ? {} : { last: last as never }, 9);
      for (let i = 0; i < 12; i++) {
        s.now += 1_000;
        s.sample("n1");
        s.replica("n2", gone({ receiver: "off" }));
        s.replica("n3", null, "p1", { readOnly: true });
      }
      return s.orders()[0];
    };
    expect(tried()).toBe("rejoin n3");
    expect(tried(last)).toBe("rejoin n2");
  });

  it("comes after them also when something else was tried in vain since", () => {
    const s = calm();
    const ended = (id: string, kind: string) =>
      ({ id, kind, outcome: "blocked", code: "handover-unproven", endedUnixMs: 0 }) as never;
    s.steady({ last: ended("rejoin-shop-n2-7", "rejoin") }, 8);
    s.wait(250);
    s.steady({ last: ended("repair-shop-n1-8", "repair") }, 9);
    for (let i = 0; i < 12; i++) {
      s.now += 1_000;
      s.sample("n1");
      s.replica("n2", null, "p1", { readOnly: true });
      s.replica("n3", { receiver: "off", sourceUuid: uuid("n9"), sourceHost: "h9" });
    }
    expect(s.orders()[0]).toBe("rejoin n3");
  });
});

describe("a second pen", () => {
  const own = { readOnly: false, executed: `${uuid("n1")}:1-10,${uuid("n3")}:1` };

  it("that has written is a split brain, settled as one; that has not is only led home", () => {
    const s = calm();
    expect(watch(s, 3, { node: own })).toEqual(["split-brain n1"]);
    expect(s.code()).toBe("split-brain");
    expect(watch(calm(), 4, { node: { readOnly: false } })).toEqual(["rejoin n3"]);
  });

  it("that others follow is a split brain before it has written", () => {
    const s = calm();
    for (let i = 0; i < 3; i++) {
      s.now += 1_000;
      s.sample("n1");
      s.replica("n2", { sourceUuid: uuid("n3"), sourceHost: "h3" });
      s.replica("n3", null, "p1", { readOnly: false });
    }
    expect(s.orders()[0]).toBe("split-brain n1");
  });

  it("is not touched by another way where the policy says ask", () => {
    const s = calm({ "split-brain": "ask" });
    expect(watch(s, 5, { node: own })).toEqual([]);
    expect(leftToPerson(s.picture, "split-brain", "n1", s.now)).toContain("baton repair shop n1");
  });

  it("while two histories compete nothing is ordered, not even a failover, but what a person chooses", () => {
    const s = calm();
    s.steady({ undecided: ["n1", "n3"] }, 9);
    expect(watch(s, 4, { primary: { readOnly: true }, node: own })).toEqual([]);
    expect(s.code()).toBe("split-brain");
    const request = { cluster: "shop", node: "n3", dryRun: false, inject: false, keep: true };
    expect(planRepair(s.picture, request, s.now, s.settings).order).toMatchObject({
      kind: "split-brain",
      node: "n1",
      candidate: "n3",
    });
    s.refused("n1");
    for (const n of ["n2", "n3"]) s.replica(n, { receiver: "connecting", receiverErrno: 2003 });
    expect(s.picture.diagnosis?.refusal).toBe("diverged");
    expect(s.orders()).toEqual([]);
  });
});
