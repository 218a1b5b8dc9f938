/** Who is parked, who counts again, and who is waited for whatever it costs. */
import type { NodeStatus, Sample } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { describe, expect, it } from "vitest";
import { planForget } from "./commands/forget.ts";
import { planNow } from "./diagnose.ts";
import { describeMember } from "./membership.ts";
import { Scene, uuid } from "./scene.testkit.ts";

const SKIPS = { skipReplicaStart: true };

/** Four nodes; the primary counts `clients`, n4 has just been read. */
function scene(o: { acks?: number; n4?: Partial<NodeStatus>; policy?: object | undefined } = {}): Scene {
  const s = new Scene(4, {}, o.acks ?? 1, o.policy);
  s.clients = 3;
  s.mark();
  s.steady();
  for (const node of ["n2", "n3", "n4"]) s.vouched(node);
  s.calm();
  s.replica("n4", {}, "p1", { ...SKIPS, ...o.n4 });
  return s;
}

/** So long n4 is found as `more` says by each prober, and the others are well. */
function pass(s: Scene, ms: number, more: Partial<Sample> | null, probers = ["p1"], clients = 2): void {
  s.clients = clients;
  for (let left = ms; left > 0; left -= 500) {
    s.now += 500;
    for (const prober of probers) {
      for (const node of ["n1", "n2", "n3"]) s.sample(node, prober);
      if (more !== null) s.sample("n4", prober, more);
    }
  }
}

const GONE: Partial<Sample> = { outcome: "refused", attempts: 2 };
const orders = (s: Scene) => [...new Set(s.orders().filter((o) => o.startsWith("membership")))];

describe("a member", () => {
  it("is parked when its server is gone and it boots without replicating by itself", () => {
    const s = scene();
    pass(s, 2_500, GONE);
    expect(orders(s)).toEqual([]);
    pass(s, 1_500, GONE);
    expect(orders(s)).toEqual(["membership n4"]);
  });
  it.each<[string, () => Scene, Partial<Sample> | null, string[]?, number?]>([
    ["replicates by itself after a boot", () => scene({ n4: { skipReplicaStart: false } }), GONE],
    ["was never seen to boot so", () => scene({ n4: { skipReplicaStart: undefined as never } }), GONE],
    [
      "is silent, and may be cut off from the probers alone",
      () => scene(),
      { outcome: "timeout-connect", attempts: 9, silentMs: 9_000 },
    ],
    ["was refused once", () => scene(), { outcome: "refused", attempts: 1 }],
    ["may be a client that the primary still counts", () => scene(), GONE, ["p1"], 3],
    ["is needed for its ack", () => scene({ acks: 3 }), GONE],
    [
      "belongs to a cluster whose writes need not wait",
      () => scene({ policy: { durability: "available" } }),
      GONE,
    ],
  ])("is not when it %s", (_, make, found, probers, clients) => {
    const s = make();
    pass(s, 8_000, found, probers, clients);
    expect(orders(s)).toEqual([]);
  });
  it("is not while an operation has it in hand", () => {
    const s = scene();
    const operation = { id: "rebuild-shop-n4-2", kind: "rebuild", node: "n4" } as never;
    s.steady({ phase: "mending", operation }, 2);
    pass(s, 8_000, GONE);
    expect(orders(s)).toEqual([]);
  });
  it("is not while one of the probers has not looked", () => {
    const s = scene();
    s.calm("p1", "p-us");
    s.replica("n4", {}, "p1", SKIPS);
    pass(s, 8_000, null, ["p-us"]);
    pass(s, 2_000, GONE, ["p1"]);
    expect(orders(s)).toEqual([]);
  });
});

const parkedN4 = {
  parked: { n4: { serverUuid: uuid("n4"), startedUnixS: 100, sinceUnixMs: 0, byPerson: false, why: "gone" } },
};

describe("a parked member", () => {
  const parked = (policy?: object) => {
    const s = scene({ policy });
    s.steady({ ...parkedN4 }, 2);
    pass(s, 1_000, GONE);
    return s;
  };
  it("is not waited for: two of two are enough", () => {
    const s = parked();
    const plan = planNow(s.picture, s.now, s.settings);
    expect(plan).toMatchObject({ possible: true, reason: expect.stringContaining("2 of 2 ackers") });
    expect(describeMember(s.picture, "n4", s.now)).toMatchObject({ counts: false });
    expect(describeMember(s.picture, "n2", s.now)).toEqual({ counts: true, why: "it may acknowledge" });
    const before = scene();
    pass(before, 1_000, GONE);
    expect(planNow(before.picture, before.now, before.settings)).toMatchObject({
      possible: false,
      refusal: "ackers-unreachable",
      reason: expect.stringMatching(/missing: n4\).*; n4 last answered \d+ s ago$/),
    });
  });
  it("counts again when its receiver runs, whoever started it", () => {
    const s = parked();
    s.effects = [];
    for (let i = 0; i < 4; i++) {
      pass(s, 500, null, ["p1"], 3);
      s.replica("n4", {}, "p1", SKIPS);
    }
    expect(orders(s)).toEqual(["membership n4"]);
  });
  it("counts again when it can be asked and nobody leads it home", () => {
    const s = parked({ rejoin: false });
    s.effects = [];
    const back = { ...SKIPS, replica: null };
    for (let i = 0; i < 6; i++) {
      pass(s, 500, null, ["p1"], 2);
      s.replica("n4", {}, "p1", back);
    }
    expect(orders(s)).toEqual([]);
    for (let i = 0; i < 6; i++) {
      pass(s, 500, null, ["p1"], 2);
      s.replica("n4", {}, "p1", back);
    }
    expect(orders(s)).toEqual(["membership n4"]);
  });
  it("does not count again when another server answers at its address", () => {
    const s = parked();
    s.effects = [];
    for (let i = 0; i < 12; i++) {
      pass(s, 500, null, ["p1"], 2);
      s.replica("n4", {}, "p1", { ...SKIPS, replica: null, serverUuid: uuid("n9") });
    }
    expect(orders(s)).toEqual([]);
  });
  it("counts again when another server in its place follows the primary: its ack counts as much", () => {
    const s = parked();
    s.effects = [];
    for (let i = 0; i < 4; i++) {
      pass(s, 500, null, ["p1"], 3);
      s.replica("n4", {}, "p1", { ...SKIPS, serverUuid: uuid("n9") });
    }
    expect(orders(s)).toEqual(["membership n4"]);
  });
  it("that had left counts again as soon as it is declared again, though nobody reaches it", () => {
    const s = scene();
    s.steady({ parked: { n4: { ...parkedN4.parked.n4, left: true } } }, 2);
    pass(s, 1_000, GONE);
    expect(orders(s)).toEqual(["membership n4"]);
  });
  it("that a person has forgotten hangs on the primary for a while: no stranger acknowledges", () => {
    const s = scene();
    s.steady({ parked: { n4: { ...parkedN4.parked.n4, byPerson: true, sinceUnixMs: s.unixMs } } }, 2);
    s.wait(250);
    pass(s, 8_000, { outcome: "timeout-query", attempts: 9, silentMs: 9_000 }, ["p1"], 3);
    expect(s.code()).not.toBe("undeclared-acker");
    expect(planNow(s.picture, s.now, s.settings)).toMatchObject({ possible: true });
  });
  it("that a person has forgotten half an hour ago hides no stranger", () => {
    const s = scene();
    const sinceUnixMs = s.unixMs - 30 * 60_000;
    s.steady({ parked: { n4: { ...parkedN4.parked.n4, byPerson: true, sinceUnixMs } } }, 2);
    s.wait(250);
    pass(s, 8_000, { outcome: "timeout-query", attempts: 9, silentMs: 9_000 }, ["p1"], 3);
    expect(s.code()).toBe("undeclared-acker");
    expect(planNow(s.picture, s.now, s.settings)).toMatchObject({ refusal: "durability-unproven" });
  });
  it("is asked all the same where a person goes on without proof", () => {
    const s = parked();
    const byPerson = { gtids: GtidSet.empty, unproven: true, named: null };
    const plan = planNow(s.picture, s.now, s.settings, true, byPerson);
    expect(plan?.reason).toContain("2 of 3 ackers");
  });
  it("that acknowledges all the same leaves nothing proven", () => {
    const s = parked();
    pass(s, 6_000, GONE, ["p1"], 3);
    expect(s.code()).toBe("undeclared-acker");
    expect(planNow(s.picture, s.now, s.settings)).toMatchObject({ refusal: "durability-unproven" });
  });
});

describe("a member that a person took out of the declaration", () => {
  const leaving = (more: object = {}, found?: Partial<Sample>) => {
    const s = scene({ policy: { mode: "observe", ...more } });
    if (found !== undefined) pass(s, 2_000, found);
    const declared = s.picture.declared as NonNullable<typeof s.picture.declared>;
    s.feed({ type: "declared", declared: { ...declared, leaving: ["n4"] } });
    return s;
  };
  const seen = (s: Scene, more: Partial<NodeStatus> = {}) => {
    for (let i = 0; i < 6; i++) {
      pass(s, 500, null, ["p1"], 3);
      s.replica("n4", {}, "p1", { ...SKIPS, ...more });
    }
  };
  it("is asked to leave, whatever the mode, and counts until then", () => {
    const s = leaving();
    seen(s);
    expect(s.orders()).toEqual(["membership n4"]);
    expect(describeMember(s.picture, "n4", s.now)).toMatchObject({
      counts: true,
      why: expect.stringMatching(/^taken out of the declaration: it may acknowledge until/),
    });
  });
  it("also where its acks are not needed for a proof", () => {
    const s = leaving({ durability: "available" });
    seen(s);
    expect(s.orders()).toEqual(["membership n4"]);
  });
  it("keeps nobody waiting when it cannot leave", () => {
    const s = leaving({ mode: "auto" });
    s.effects = [];
    const last = { id: "membership-shop-n4-1", kind: "membership", outcome: "rolled-back", endedUnixMs: 0 };
    s.steady({ last: { ...last, code: "handover-unproven" } as never }, 2);
    s.calm();
    for (const node of ["n2"]) s.replica(node, {}, "p1", SKIPS);
    for (let i = 0; i < 12; i++) {
      s.now += 500;
      s.clients = 2;
      for (const node of ["n1", "n3"]) s.sample(node);
      s.sample("n2", "p1", GONE);
      s.replica("n4", {}, "p1", SKIPS);
    }
    expect(orders(s)).toEqual(["membership n2"]);
  });
  it("is waited for while nobody reaches it", () => {
    const silent: Partial<Sample> = { outcome: "timeout-connect", attempts: 9, silentMs: 9_000 };
    const s = leaving({}, silent);
    pass(s, 8_000, silent);
    expect(s.orders()).toEqual([]);
  });
  it("has left when the state says so: it is neither led home nor a problem", () => {
    const s = leaving({ mode: "auto" });
    s.steady({ ...parkedN4 }, 2);
    s.effects = [];
    seen(s, { replica: null });
    expect(s.orders()).toEqual([]);
    expect(s.code()).toBe("healthy");
    expect(describeMember(s.picture, "n4", s.now)).toMatchObject({
      counts: false,
      why: expect.stringMatching(/^left at /),
    });
  });
});

describe("baton forget", () => {
  const ask = (s: Scene, node: string, dryRun = false) =>
    planForget(
      s.picture,
      { cluster: "shop", node, dryRun, by: "ann@ops1", reason: "its disk is gone" },
      s.now,
      s.settings,
    );
  it("takes a person's word for one that cannot be reached, and says who is left", () => {
    const s = scene({ n4: { skipReplicaStart: false } });
    pass(s, 4_000, { outcome: "timeout-connect", attempts: 9, silentMs: 9_000 });
    expect(ask(s, "n4", true)).toEqual({
      reply: { node: "n4", members: ["n2", "n3"], needed: 2 },
      order: null,
    });
    expect(ask(s, "n4").order).toMatchObject({
      kind: "membership",
      node: "n4",
      byPerson: true,
      reason: "ann@ops1 says that it does not come back by itself: its disk is gone",
    });
  });
  it("refuses what would not be true, or could not be known", () => {
    const s = scene();
    pass(s, 500, null);
    expect(() => ask(s, "n4")).toThrow("n4 can be reached");
    expect(() => ask(s, "n1")).toThrow("n1 is the primary");
    expect(() => ask(s, "n5")).toThrow("No node of shop is called");
    expect(() => ask(s, "n11")).not.toThrow("Did you mean n1?");
    pass(s, 4_000, { outcome: "timeout-connect", attempts: 9, silentMs: 9_000 });
    s.steady({ ...parkedN4 }, 2);
    pass(s, 1_000, { outcome: "timeout-connect", attempts: 9, silentMs: 9_000 });
    expect(() => ask(s, "n4")).toThrow("does not count among the members as it is");
    s.steady({ phase: "mending", operation: { id: "rejoin-shop-n3-2" } as never }, 3);
    expect(() => ask(s, "n4")).toThrow("rejoin-shop-n3-2 is running");
    const all = scene({ acks: 3 });
    pass(all, 4_000, { outcome: "timeout-connect", attempts: 9, silentMs: 9_000 });
    expect(() => ask(all, "n4")).toThrow("a write waits for 3");
    const dead = scene();
    for (let i = 0; i < 8; i++) {
      dead.now += 500;
      for (const node of ["n2", "n3"]) dead.sample(node);
      dead.sample("n4", "p1", { outcome: "timeout-connect", attempts: 9, silentMs: 9_000 });
      dead.refused("n1");
    }
    expect(() => ask(dead, "n4")).toThrow("n1 cannot be reached");
  });
});
