/** What is known of the primary's history: the high-water mark, whether acks prove anything, and whether it has forgotten. */
import type { NodeStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { Scene, uuid } from "./scene.testkit.ts";

const N1 = uuid("n1");
const lost = { receiver: "connecting" as const };

const primary = (s: Scene, more: Partial<NodeStatus> = {}) =>
  s.sample("n1", "p1", { status: s.status("n1", more) });
const replica = (s: Scene, node: string, upTo: number, more: object = {}) =>
  s.replica(node, { received: `${N1}:1-${upTo}`, ...more }, "p1", { executed: `${N1}:1-${upTo}` });
const semi = (s: Scene, more: object): Partial<NodeStatus> => {
  const { semiSync } = s.status("n1");
  return semiSync === null ? {} : { semiSync: { ...semiSync, ...more } };
};
const marks = (s: Scene) => s.effects.flatMap((e) => (e.type === "mark" ? [e] : []));

function calm(s = new Scene()): Scene {
  s.steady();
  s.calm();
  s.wait(250);
  s.calm();
  return s;
}

function die(s: Scene): void {
  s.refused("n1");
  for (const n of ["n2", "n3"]) replica(s, n, 10, lost);
}

describe("the high-water mark", () => {
  it("is written once writes are proven to wait for acks, and rises at most twice a second", () => {
    const s = new Scene();
    s.steady();
    s.calm();
    expect(marks(s)).toHaveLength(1);
    expect(marks(s)[0]).toMatchObject({
      revision: 0,
      mark: { executed: `${N1}:1-10`, durability: { proven: true, acks: 1 } },
    });
    const [first] = marks(s);
    if (first !== undefined) s.feed({ type: "mark", mark: first.mark, revision: 1, decider: "d1" });
    s.wait(2_000);
    s.calm();
    expect(marks(s)).toHaveLength(1);
    for (let gno = 11; gno <= 20; gno++) {
      s.now += 100;
      primary(s, { executed: `${N1}:1-${gno}` });
    }
    const risen = marks(s).slice(1);
    expect(risen.length).toBeGreaterThan(0);
    expect(risen.length).toBeLessThanOrEqual(2);
    expect(s.picture.history.executed).toBe(`${N1}:1-20`);
  });

  it("does not rise by what a closed server commits", () => {
    const s = calm();
    primary(s, { readOnly: true, superReadOnly: true, executed: `${N1}:1-15` });
    expect(s.picture.history.executed).toBe(`${N1}:1-10`);
  });

  it("of MariaDB does not rise by what no replica holds: its own set counts what waits for an ack", () => {
    const s = calm();
    primary(s, { flavour: "mariadb", executed: `${N1}:1-15` });
    expect(s.picture.history.executed).toBe(`${N1}:1-10`);
  });

  it("refuses a failover to replicas that lack some of it, and names what is missing", () => {
    const s = calm();
    s.now += 100;
    primary(s, { executed: `${N1}:1-12` });
    die(s);
    expect(s.orders()).toEqual([]);
    expect(s.code()).toBe("failover-not-possible");
    expect(s.picture.diagnosis?.refusal).toBe("mark-missed");
    expect(s.picture.diagnosis?.summary).toContain(`${N1}:11-12`);
  });

  it("of a decider before this one counts as well", () => {
    const s = new Scene();
    s.mark(`${N1}:1-12`);
    calm(s);
    die(s);
    expect(s.picture.diagnosis?.refusal).toBe("mark-missed");
  });

  it("does not count what a person has given up", () => {
    const s = new Scene();
    s.mark(`${N1}:1-12`);
    s.steady({ forgone: { gtids: `${N1}:11-12`, by: "ann", atUnixMs: 1 } });
    s.calm();
    s.wait(250);
    s.calm();
    die(s);
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("is no reason against a candidate in calm, when the replicas were read before the primary", () => {
    const s = calm();
    for (let gno = 11; gno < 60; gno++) {
      s.now += 50;
      if (gno % 10 === 0) for (const n of ["n2", "n3"]) replica(s, n, gno - 1);
      primary(s, { executed: `${N1}:1-${gno}` });
      expect(s.code()).toBe("healthy");
    }
  });
});

describe("durability", () => {
  it("without any evidence is not proven: nothing is ordered", () => {
    const s = new Scene();
    s.steady();
    die(s);
    s.wait(6_000);
    die(s);
    expect(s.orders()).toEqual([]);
    expect(s.picture.diagnosis?.refusal).toBe("durability-unproven");
  });

  it("becomes unproven with the first sample that answers without acks, and that is written down at once", () => {
    const s = calm();
    s.now += 150;
    primary(s, semi(s, { source: false, sourceActive: false }));
    expect(marks(s).at(-1)?.mark.durability.proven).toBe(false);
    die(s);
    expect(s.picture.diagnosis?.refusal).toBe("durability-unproven");
  });

  it("as another decider doubted it is doubted here", () => {
    const s = calm();
    s.mark(`${N1}:1-10`, false, "semi-sync was off");
    die(s);
    expect(s.picture.diagnosis?.refusal).toBe("durability-unproven");
    expect(s.picture.diagnosis?.summary).toContain("semi-sync was off");
  });

  it("is proven again only when k members hold what was written meanwhile", () => {
    const s = calm();
    primary(s, semi(s, { source: false, sourceActive: false }));
    primary(s, { executed: `${N1}:1-20` });
    expect(s.picture.history.durability?.proven).toBe(false);
    replica(s, "n2", 19);
    expect(s.picture.history.durability?.proven).toBe(false);
    replica(s, "n2", 20);
    expect(s.picture.history.durability?.proven).toBe(true);
  });

  it("is doubted when semi-sync was off between two samples", () => {
    const s = calm();
    primary(s, semi(s, { timesOff: 0 }));
    primary(s, { ...semi(s, { timesOff: 1 }), executed: `${N1}:1-20` });
    expect(s.picture.history.durability).toMatchObject({ proven: false });
    expect(s.picture.history.durability?.why).toContain("Rpl_semi_sync_source_no_times");
  });

  it("is doubted when more clients are attached than declared replicas can be, after three seconds", () => {
    const s = calm();
    s.clients = 3;
    primary(s);
    for (let i = 0; i < 3; i++) {
      expect(s.picture.history.durability?.proven).toBe(true);
      s.wait(1_000);
      s.calm();
    }
    expect(s.picture.history.durability?.proven).toBe(false);
    expect(s.code()).toBe("undeclared-acker");
  });

  it("is not doubted by a replica whose role was switched off and whose receiver runs on: it acknowledges still", () => {
    const s = calm();
    const semiSync = { ...s.status("n1").semiSync, source: false, replica: false, replicaActive: true };
    for (let i = 0; i < 10; i++) {
      s.now += 500;
      s.replica("n2", {}, "p1", { semiSync } as Partial<NodeStatus>);
      s.sample("n3");
      primary(s);
    }
    expect(s.picture.history.durability?.proven).toBe(true);
  });

  it("is not doubted by what another server at the primary's address says, whoever follows that", () => {
    const s = calm();
    for (let i = 0; i < 10; i++) {
      s.now += 500;
      primary(s, { serverUuid: uuid("n9"), executed: `${uuid("n9")}:1-3` });
      for (const n of ["n2", "n3"]) s.replica(n, { sourceUuid: uuid("n9") });
    }
    expect(s.picture.history.durability?.proven).toBe(true);
    expect(s.picture.history.executed).toBe(`${N1}:1-10`);
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("is doubted when a stopped replica's place is taken by another", () => {
    const s = calm();
    for (let i = 0; i < 6; i++) {
      s.now += 700;
      replica(s, "n2", 10);
      s.replica("n3", { receiver: "off" });
      primary(s);
    }
    expect(s.code()).toBe("undeclared-acker");
  });

  it("for fewer acks than the policy now asks for proves nothing", () => {
    const s = new Scene(4, {}, 2);
    s.mark();
    s.steady();
    for (const n of ["n2", "n3", "n4"]) replica(s, n, 10, lost);
    s.refused("n1");
    s.wait(6_000);
    for (const n of ["n2", "n3", "n4"]) replica(s, n, 10, lost);
    s.refused("n1");
    expect(s.picture.diagnosis?.refusal).toBe("durability-unproven");
  });
});

describe("a primary that has lost history", () => {
  const back = (s: Scene, upTo: number) =>
    primary(s, {
      readOnly: true,
      superReadOnly: true,
      startedUnixS: 200,
      executed: `${N1}:1-${upTo}`,
      ...semi(s, { source: false, sourceActive: false, clients: 0 }),
    });

  it("is not reopened when it comes back without what it was seen to hold", () => {
    const s = calm();
    for (const n of ["n1", "n2", "n3"]) s.refused(n);
    s.now += 1_000;
    back(s, 4);
    expect(s.code()).toBe("primary-lost-history");
    expect(s.orders()).toEqual([]);
  });

  it("is replaced by replicas that hold all", () => {
    const s = calm();
    for (const n of ["n2", "n3"]) replica(s, n, 10, lost);
    s.now += 1_000;
    for (const n of ["n2", "n3"]) replica(s, n, 10, lost);
    back(s, 4);
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("is known by what replicas hold of its own, beyond the mark", () => {
    const s = calm();
    for (const n of ["n2", "n3"]) replica(s, n, 12, lost);
    s.now += 1_000;
    for (const n of ["n2", "n3"]) replica(s, n, 12, lost);
    back(s, 10);
    expect(s.code()).toBe("primary-lost-history");
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("is not reopened either when the replica that showed it has died meanwhile", () => {
    const s = calm();
    s.refused("n1");
    s.refused("n2");
    replica(s, "n3", 12, lost);
    s.wait(500);
    back(s, 10);
    replica(s, "n3", 12, lost);
    back(s, 10);
    s.refused("n3");
    s.wait(4_000);
    back(s, 10);
    expect(s.code()).toBe("primary-lost-history");
    expect(s.orders()).toEqual([]);
  });

  it("is reopened as ever when it holds all", () => {
    const s = calm();
    for (const n of ["n2", "n3"]) replica(s, n, 10, lost);
    s.now += 1_000;
    for (const n of ["n2", "n3"]) replica(s, n, 10, lost);
    back(s, 10);
    expect(s.orders()).toEqual(["reopen n1"]);
  });

  it("is not one whose replica has received what still waits for an ack", () => {
    const s = calm();
    for (let i = 0; i < 20; i++) {
      s.now += 250;
      replica(s, "n2", 11);
      replica(s, "n3", 10);
      primary(s, semi(s, { waiting: 1 }));
    }
    expect(s.orders()).not.toContain("failover n1");
    expect(s.code()).not.toBe("primary-lost-history");
  });

  it("is not one by what a quarantined node alone holds: that is outside the history", () => {
    const s = new Scene(4);
    s.steady({ quarantined: ["n4"] });
    for (let i = 0; i < 12; i++) {
      s.now += 250;
      for (const n of ["n2", "n3"]) s.sample(n);
      s.replica("n4", null, "p1", { executed: `${N1}:1-14` });
      primary(s);
    }
    expect(s.code()).not.toBe("primary-lost-history");
    expect(s.orders()).toEqual([]);
  });

  it("is one that writes on and lacks for two seconds what a replica has of its own", () => {
    const s = calm();
    for (let i = 0; i < 10; i++) {
      s.now += 250;
      for (const n of ["n2", "n3"]) replica(s, n, 14);
      primary(s);
    }
    expect(s.code()).toBe("primary-lost-history");
    expect(s.orders()).toEqual(["failover n1"]);
  });
});
