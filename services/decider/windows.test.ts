import type { Brake, Window } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { viewCluster } from "./answer.ts";
import { Scene } from "./scene.testkit.ts";

const lost = { receiver: "connecting" as const, receiverErrno: 2003 };

/** A calm cluster, and a hand that sets a time aside for it from now. */
function calm(policy: object = {}, nodes = 3) {
  const s = new Scene(nodes, {}, 1, policy);
  s.steady();
  s.wait(250);
  s.calm();
  s.effects = [];
  expect(s.code()).toBe("healthy");
  const window = (forMs: number, afterMs = 0): Window => ({
    fromUnixMs: s.unixMs + afterMs,
    untilUnixMs: s.unixMs + afterMs + forMs,
    by: "ann@ops1",
    reason: "new disks",
  });
  const put = (more: Partial<Brake>) =>
    s.feed({
      type: "brake",
      of: "own",
      brake: { paused: false, by: "", reason: "", sinceUnixMs: 0, acknowledgedUnixMs: 0, ...more },
    });
  return { s, window, put };
}

function die(s: Scene): void {
  s.refused("n1");
  for (const n of ["n2", "n3"]) s.replica(n, lost);
}

const view = (s: Scene) => viewCluster(s.picture, "d1", s.now, s.settings);
const ended = (s: Scene) => s.effects.flatMap((e) => (e.type === "set-aside-ended" ? [e.ended.node] : []));

describe("a maintenance", () => {
  it("names the death, orders nothing, and fails over when it ends", () => {
    const { s, window, put } = calm();
    put({ maintenance: [window(10_000)] });
    die(s);
    expect(s.code()).toBe("primary-dead");
    expect(s.orders()).toEqual([]);
    expect(view(s).brake).toContain("in maintenance by ann@ops1");
    s.wait(9_750);
    die(s);
    expect(s.orders()).toEqual([]);
    s.wait(250);
    expect(s.orders()).toEqual(["failover n1"]);
    expect(ended(s)).toEqual([null]);
    expect(view(s).brake).toBeNull();
  });

  it("that is to come holds nothing back before it begins", () => {
    const { s, window, put } = calm();
    put({ maintenance: [window(60_000, 60_000)] });
    expect(view(s)).toMatchObject({ brake: null, maintenance: [{ reason: "new disks" }] });
    die(s);
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("that a person ends is not told a second time", () => {
    const { s, window, put } = calm();
    put({ maintenance: [window(10_000)] });
    s.wait(500);
    put({});
    s.wait(10_000);
    expect(ended(s)).toEqual([]);
  });

  it("may be on for a decider that has not looked at a clock: it orders nothing", () => {
    const { s, window, put } = calm();
    put({ maintenance: [window(1, -60_000)] });
    s.picture = { ...s.picture, unixOffsetMs: null };
    die(s);
    expect(s.orders()).toEqual([]);
    s.wait(250);
    expect(s.orders()).toEqual(["failover n1"]);
  });
});

describe("a node in downtime", () => {
  it("may be away: the cluster is healthy; when its time is up it is not", () => {
    const { s, window, put } = calm();
    put({ downtimes: { n3: window(2_000) } });
    s.refused("n3");
    s.sample("n2");
    expect(s.code()).toBe("healthy");
    expect(view(s).diagnosis.summary).toContain("n3 is in downtime by ann@ops1");
    expect(view(s).nodes.find((n) => n.node === "n3")).toMatchObject({
      problems: ["replica-dead"],
      downtime: { by: "ann@ops1" },
    });
    s.wait(2_000);
    expect(s.code()).toBe("replica-dead");
    expect(ended(s)).toEqual(["n3"]);
  });

  it("is not led home before its time is up", () => {
    const { s, window, put } = calm();
    put({ downtimes: { n3: window(5_000) } });
    const astray = () => {
      for (let i = 0; i < 3; i++) {
        s.wait(1_000);
        s.sample("n1");
        s.sample("n2");
        s.replica("n3", null, "p1", { readOnly: true });
      }
    };
    astray();
    expect(s.orders()).toEqual([]);
    astray();
    expect(s.orders()).toEqual(["rejoin n3"]);
  });

  it("is not rebuilt by itself", () => {
    const { s, window, put } = calm({ rebuild: "auto" });
    put({ downtimes: { n3: window(60_000) } });
    s.steady({ quarantined: ["n3"], unbuilt: { n3: 1 } }, 6);
    const look = () => {
      for (let i = 0; i < 3; i++) {
        s.wait(1_000);
        s.calm();
      }
    };
    look();
    expect(s.orders()).toEqual([]);
    put({});
    look();
    expect(s.orders()).toEqual(["rebuild n3"]);
  });

  it("is not promoted, and counts as an acker all the same", () => {
    const { s, window, put } = calm();
    expect(view(s).failover.candidate).toBe("n2");
    put({ downtimes: { n2: window(60_000) } });
    expect(view(s).failover.candidate).toBe("n3");
    put({ downtimes: { n2: window(60_000), n3: window(60_000) } });
    expect(view(s).failover).toMatchObject({ possible: false, refusal: "no-candidate" });
    put({ downtimes: { n3: window(60_000) } });
    s.refused("n3");
    expect(view(s).failover).toMatchObject({ possible: false, refusal: "ackers-unreachable" });
  });

  it("that takes writes is told: two pens are no outage", () => {
    const { s, window, put } = calm();
    put({ downtimes: { n3: window(60_000) } });
    s.replica("n3", {}, "p1", { readOnly: false });
    expect(s.code()).toBe("replica-writable");
  });

  it("that became primary is replaced like any other: its outage is the whole cluster's", () => {
    const { s, window, put } = calm();
    put({ downtimes: { n1: window(60_000) } });
    die(s);
    expect(s.code()).toBe("primary-dead");
    expect(s.orders()).toEqual(["failover n1"]);
  });
});
