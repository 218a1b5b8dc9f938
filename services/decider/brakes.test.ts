import type { Brake } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { viewCluster } from "./answer.ts";
import { Scene } from "./scene.testkit.ts";

const lost = { receiver: "connecting" as const, receiverErrno: 2003 };
const brake = (more: Partial<Brake> = {}): Brake => ({
  paused: true,
  by: "ann@ops1",
  reason: "moving the rack",
  sinceUnixMs: 1_700_000_000_000,
  acknowledgedUnixMs: 0,
  ...more,
});

function calm(policy: object = {}): Scene {
  const s = new Scene(3, {}, 1, policy);
  s.steady();
  s.calm();
  s.effects = [];
  expect(s.code()).toBe("healthy");
  return s;
}

function die(s: Scene): void {
  s.refused("n1");
  for (const n of ["n2", "n3"]) s.replica(n, lost);
}

const advice = (s: Scene) => s.effects.flatMap((e) => (e.type === "advise" ? [e.advice] : []));
const failover = (s: Scene) => viewCluster(s.picture, "d1", s.now, s.settings).failover;

describe("a pause", () => {
  it.each(["own", "all"] as const)(
    "(%s) names the death, orders nothing; resumed, it orders at once",
    (of) => {
      const s = calm();
      s.feed({ type: "brake", of, brake: brake() });
      die(s);
      expect(s.code()).toBe("primary-dead");
      expect(s.orders()).toEqual([]);
      expect(viewCluster(s.picture, "d1", s.now, s.settings).brake).toContain("by ann@ops1");
      s.feed({ type: "brake", of, brake: brake({ paused: false }) });
      expect(s.orders()).toEqual(["failover n1"]);
      expect(viewCluster(s.picture, "d1", s.now, s.settings).brake).toBeNull();
    },
  );

  it("of one kind is not released by the other's release", () => {
    const s = calm();
    s.feed({ type: "brake", of: "own", brake: brake() });
    s.feed({ type: "brake", of: "all", brake: brake({ paused: false }) });
    die(s);
    expect(s.orders()).toEqual([]);
  });

  it("holds back adoption and rejoin too", () => {
    const s = new Scene();
    s.feed({ type: "brake", of: "own", brake: brake() });
    s.calm();
    expect(s.orders()).toEqual([]);
    s.steady();
    s.calm();
    for (let i = 0; i < 3; i++) {
      s.now += 1_000;
      s.sample("n1");
      s.replica("n3", null, "p1", { readOnly: true });
    }
    expect(s.orders()).toEqual([]);
  });

  it("may be there while it is not known: nothing is ordered before the brakes have been read", () => {
    const s = calm();
    s.picture = { ...s.picture, brakesKnown: false };
    die(s);
    expect(s.code()).toBe("primary-dead");
    expect(s.orders()).toEqual([]);
    s.feed({ type: "brakes-known" });
    expect(s.orders()).toEqual(["failover n1"]);
  });
});

describe("the mode", () => {
  it("observe: adopts, diagnoses, orders and says nothing", () => {
    const s = new Scene(3, {}, 1, { mode: "observe" });
    s.calm();
    expect(s.orders()).toEqual(["adopt n1"]);
    s.steady();
    s.calm();
    die(s);
    expect(s.code()).toBe("primary-dead");
    expect(s.orders()).toEqual(["adopt n1"]);
    expect(advice(s)).toEqual([]);
  });

  it("advise: says once a diagnosis what would be done, with the candidate and why", () => {
    const s = calm({ mode: "advise" });
    die(s);
    die(s);
    expect(s.orders()).toEqual([]);
    expect(advice(s).map((a) => a.title)).toEqual(["shop: Baton would fail over to n2 now"]);
    expect(advice(s)[0]?.summary).toContain("2 of 2 ackers reachable");
    s.calm();
    expect(s.code()).toBe("healthy");
    die(s);
    expect(advice(s)).toHaveLength(2);
  });

  it("advise: says the refusal, and the node that would be led home", () => {
    const s = calm({ mode: "advise" });
    s.refused("n3");
    s.refused("n1");
    s.replica("n2", lost);
    expect(advice(s).map((a) => a.title)).toEqual([
      "shop: Baton would refuse to fail over now (ackers-unreachable)",
    ]);
    const t = calm({ mode: "advise" });
    t.clients = 1;
    for (let i = 0; i < 3; i++) {
      t.now += 1_000;
      t.sample("n1");
      t.replica("n3", null, "p1", { readOnly: true });
    }
    expect(advice(t).map((a) => a.title)).toEqual(["shop: Baton would lead n3 home now"]);
    expect(t.orders()).toEqual([]);
  });

  it("advise: says nothing while paused", () => {
    const s = calm({ mode: "advise" });
    s.feed({ type: "brake", of: "own", brake: brake() });
    die(s);
    expect(advice(s)).toEqual([]);
  });
});

describe("the cooldown", () => {
  const policy = { cooldownMs: 60_000 };

  it("refuses, says until when, and fails over by itself when it ends", () => {
    const s = calm(policy);
    s.steady({ failovers: [s.unixMs - 999_999] }, 6);
    s.calm();
    expect(failover(s)).toMatchObject({ possible: false, refusal: "cooldown" });
    s.wait(59_000);
    s.calm();
    die(s);
    expect(s.code()).toBe("failover-not-possible");
    expect(s.picture.diagnosis).toMatchObject({ refusal: "cooldown" });
    expect(s.orders()).toEqual([]);
    s.wait(1_000);
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("is known to a decider that starts in the middle, by the state's date; a clock that is off prolongs it only", () => {
    const refusalAfter = (agoMs: number) => {
      const s = new Scene(3, {}, 1, policy);
      s.steady({ failovers: [s.unixMs - agoMs] });
      s.calm();
      return failover(s).refusal;
    };
    expect(refusalAfter(30_000)).toBe("cooldown");
    expect(refusalAfter(69_000)).toBe("cooldown");
    expect(refusalAfter(-3_600_000)).toBe("cooldown");
    expect(refusalAfter(71_000)).toBeNull();
  });

  it("ends with an acknowledgement", () => {
    const s = calm(policy);
    s.steady({ failovers: [77] }, 6);
    s.calm();
    s.feed({ type: "brake", of: "own", brake: brake({ paused: false, acknowledgedUnixMs: 77 }) });
    expect(failover(s).possible).toBe(true);
  });
});

describe("the flap limit", () => {
  it("is told when it is reached, refuses, and is ended by a person only", () => {
    const s = calm({ flapLimit: { failovers: 2, withinMs: 60_000 } });
    s.steady({ failovers: [1_000] }, 6);
    s.effects = [];
    s.steady({ failovers: [1_000, 40_000] }, 7);
    expect(s.effects.filter((e) => e.type === "flapping")).toHaveLength(1);
    s.wait(10 * 60_000);
    s.calm();
    die(s);
    expect(s.picture.diagnosis).toMatchObject({ code: "failover-not-possible", refusal: "flapping" });
    expect(s.picture.diagnosis?.summary).toContain("baton ack shop");
    expect(s.orders()).toEqual([]);
    s.feed({ type: "brake", of: "own", brake: brake({ paused: false, acknowledgedUnixMs: 40_000 }) });
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("comes after what is not safe: the refusal that needs a node is named first", () => {
    const s = calm({ flapLimit: { failovers: 1, withinMs: 60_000 } });
    s.steady({ failovers: [1_000] }, 6);
    s.calm();
    s.refused("n3");
    s.refused("n1");
    s.replica("n2", lost);
    expect(s.picture.diagnosis?.refusal).toBe("ackers-unreachable");
  });
});
