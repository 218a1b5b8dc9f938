import type { NodeStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { viewCluster } from "./answer.ts";
import { Scene, uuid } from "./scene.testkit.ts";
import { noteWriting, unseenSince } from "./writing.ts";

describe("how fast the primary writes", () => {
  const at = (count: number) => ({ serverUuid: "u", executed: `${uuid("n1")}:1-${count}` }) as NodeStatus;
  it("is its highest rate of the last minute, doubled, for the time since it was last read", () => {
    let w = noteWriting(null, at(100), 0);
    expect(unseenSince(w, 0, 500)).toBeNull();
    w = noteWriting(w, at(100), 10);
    w = noteWriting(w, at(600), 1_000);
    w = noteWriting(w, at(700), 2_000);
    expect(unseenSince(w, 2_000, 2_500)).toEqual({ ms: 500, transactions: 500 });
    w = noteWriting(w, at(710), 61_500);
    expect(unseenSince(w, 61_500, 62_500)?.transactions).toBeLessThan(210);
  });
  it("begins anew with another server", () => {
    const w = noteWriting(noteWriting(null, at(1), 0), { ...at(900), serverUuid: "v" }, 1_000);
    expect(unseenSince(w, 1_000, 2_000)).toBeNull();
  });
});

/** The primary is seen with so many ackers attached. */
function seen(s: Scene, clients: number, more: { timeoutMs?: number; count?: number } = {}) {
  const status = s.status("n1", { executed: `${uuid("n1")}:1-${more.count ?? 10}` });
  const semiSync = { ...status.semiSync!, clients, timeoutMs: more.timeoutMs ?? 4_294_967_295 };
  return s.sample("n1", "p1", { status: { ...status, semiSync } });
}

describe("onAckLoss: degrade", () => {
  const scene = (policy: object = {}) => {
    const s = new Scene(3, {}, 1, { onAckLoss: "degrade", degradeAfterMs: 2_000, ...policy });
    s.steady();
    s.calm();
    return s;
  };
  const pass = (s: Scene, ms: number, clients: number, more = {}) => {
    for (let left = ms; left > 0; left -= 250) {
      s.now += 250;
      seen(s, clients, more);
    }
  };
  it("lets writes go on when the ackers have been away for long enough, and not before", () => {
    const s = scene();
    pass(s, 1_750, 0);
    expect(s.code()).toBe("semi-sync-too-few-ackers");
    expect(s.orders()).toEqual([]);
    pass(s, 750, 0);
    expect(s.orders()).toEqual(["degrade n1"]);
  });
  it("does so also when the replicas have lost a primary that the probers reach, and not when these do not", () => {
    const lost = (s: Scene, reached: boolean) => {
      for (let i = 0; i < 12; i++) {
        s.now += 250;
        for (const n of ["n2", "n3"]) s.replica(n, { receiver: "connecting" });
        if (reached) seen(s, 0);
        else s.sample("n1", "p1", { outcome: "timeout-query", attempts: 1, silentMs: 100 });
      }
    };
    const s = scene();
    lost(s, true);
    expect(s.orders()).toEqual(["degrade n1"]);
    const unreached = scene();
    seen(unreached, 0);
    lost(unreached, false);
    expect(unreached.orders()).toEqual([]);
  });
  it("does nothing with onAckLoss: wait, and nothing for ackers that come back in time", () => {
    const waits = scene({ onAckLoss: "wait" });
    pass(waits, 10_000, 0);
    expect(waits.orders()).toEqual([]);
    const s = scene();
    for (let i = 0; i < 5; i++) {
      pass(s, 1_500, 0);
      pass(s, 250, 1);
    }
    expect(s.orders()).toEqual([]);
  });
  it("goes on with what was given up half-way, and leaves what a person switched off to the repairs", () => {
    const off = (state: object) => {
      const s = scene();
      s.steady(state, 6);
      s.calm();
      for (let i = 0; i < 12; i++) {
        s.now += 250;
        const status = s.status("n1");
        s.sample("n1", "p1", {
          status: { ...status, semiSync: { ...status.semiSync!, source: false, clients: 0 } },
        });
      }
      return s.orders();
    };
    expect(off({})).toEqual(["repair n1"]);
    expect(off({ degraded: { sinceUnixMs: 1, executed: "" } })).toEqual(["degrade n1"]);
  });
  it("says so while it lasts, fails over only with a stated loss, and restores when the ackers are back", () => {
    const s = scene();
    s.steady({ degraded: { sinceUnixMs: 1, executed: "" } }, 6);
    s.calm();
    pass(s, 2_000, 0, { timeoutMs: 1_000, count: 50 });
    expect(s.orders()).toEqual([]);
    expect(s.picture.diagnosis?.summary).toMatch(/writes go on without; n1 answers writes without/);
    const view = viewCluster(s.picture, "d1", s.now, s.settings);
    expect(view).toMatchObject({ durability: expect.stringMatching(/^degraded since/) });
    expect(view.failover.loss?.count).toBe(40);
    pass(s, 500, 1, { timeoutMs: 1_000 });
    expect(s.code()).toBe("durability-degraded");
    expect(s.orders()).toEqual([]);
    pass(s, 1_000, 1, { timeoutMs: 1_000 });
    expect(s.orders()).toEqual(["restore n1"]);
  });
});

describe("available", () => {
  const die = (policy: object) => {
    const s = new Scene(3, {}, 1, { durability: "available", ...policy });
    s.steady();
    s.calm();
    for (const count of [10, 60, 110]) {
      s.now += 500;
      seen(s, 0, { count });
    }
    s.calm();
    s.now += 500;
    seen(s, 0, { count: 110 });
    s.now += 100;
    s.refused("n1");
    for (const n of ["n2", "n3"]) s.replica(n, { receiver: "connecting" });
    return s;
  };
  it("orders with what nobody has seen, and the executor states the rest", () => {
    const s = die({});
    expect(s.orders()).toEqual(["failover n1"]);
    const order = s.effects.find((e) => e.type === "order");
    expect(order?.type === "order" ? order.order.unseen : undefined).toEqual({ ms: 100, transactions: 20 });
  });
  it("orders nothing above the limit, and says by how much", () => {
    const s = die({ loss: { maxTransactions: 119 } });
    expect(s.orders()).toEqual([]);
    expect(s.picture.diagnosis).toMatchObject({ code: "failover-not-possible", refusal: "loss-above-limit" });
    expect(s.picture.diagnosis?.summary).toContain("up to 120 transactions: 100 that were seen");
    expect(die({ loss: { maxTransactions: 120 } }).orders()).toEqual(["failover n1"]);
  });
});
