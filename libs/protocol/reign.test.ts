import type { ClusterState, Intent } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import {
  adopted,
  claim,
  commit,
  declined,
  degraded,
  end,
  endOf,
  IllegalTransition,
  leaving,
  restored,
  takeOver,
} from "./reign.ts";

const intent = (more: Partial<Intent> = {}): Intent => ({
  operation: "failover-shop-2-5",
  cluster: "shop",
  kind: "failover",
  node: "n1",
  epoch: 1,
  stateRevision: 5,
  lockRevision: 1,
  diagnosis: "primary-dead",
  reason: "",
  decider: "d1",
  candidate: null,
  nodes: {},
  ...more,
});
const none = { receiverOn: [], writable: [] };
const steady: ClusterState = adopted(intent({ kind: "adopt", epoch: 0 }), "uuid-1", 0);

describe("reign", () => {
  it("raises the epoch by one from claim to end, and names the new primary at the commit point", () => {
    const claimed = claim(steady, intent(), "x1", 1, none);
    expect(claimed).toMatchObject({ epoch: 2, phase: "fencing", primary: "n1" });
    const promoting = commit(claimed, "n2", "uuid-2", 8);
    expect(promoting).toMatchObject({ epoch: 2, phase: "promoting", primary: "n2" });
    expect(end(promoting, "completed", null, 2)).toMatchObject({
      epoch: 2,
      phase: "steady",
      operation: null,
    });
  });
  it("gives the epoch back when rolled back", () => {
    const back = end(claim(steady, intent(), "x1", 1, none), "rolled-back", "ackers-unreachable", 2);
    expect(back).toMatchObject({
      epoch: 1,
      phase: "steady",
      primary: "n1",
      last: { outcome: "rolled-back" },
    });
  });
  it("lets a failover take over from mending, and nothing else", () => {
    const mending = claim(steady, intent({ kind: "rejoin", node: "n3" }), "x1", 1, none);
    const fencing = claim(mending, intent(), "x2", 2, none);
    expect(fencing).toMatchObject({ phase: "fencing", epoch: 2 });
    expect(endOf(fencing, mending.operation?.id ?? "")).toMatchObject({
      kind: "rejoin",
      outcome: "rolled-back",
      code: "lock-lost",
    });
    expect(fencing.last).toEqual(mending.last);
    expect(() => claim(mending, intent({ kind: "rejoin" }), "x2", 2, none)).toThrow(IllegalTransition);
  });
  it("knows no way back after the commit point and no completion before it", () => {
    const claimed = claim(steady, intent(), "x1", 1, none);
    expect(() => end(claimed, "completed", null, 2)).toThrow(IllegalTransition);
    expect(() => end(commit(claimed, "n2", "u", 8), "rolled-back", "internal", 2)).toThrow(IllegalTransition);
    expect(() => commit(steady, "n2", "u", 8)).toThrow(IllegalTransition);
    expect(() => claim(claimed, intent({ epoch: 2 }), "x2", 3, none)).toThrow(IllegalTransition);
    expect(() => claim(steady, intent({ epoch: 7 }), "x2", 3, none)).toThrow(IllegalTransition);
  });
  it("dates each failover that changed the primary, never backwards, and nothing else", () => {
    const failover = (state: ClusterState, atUnixMs: number) =>
      end(
        commit(claim(state, intent({ epoch: state.epoch }), "x1", 1, none), "n2", "u", 8),
        "completed",
        null,
        atUnixMs,
      );
    const twice = failover(failover(steady, 100), 50);
    expect(twice.failovers).toEqual([100, 101]);
    expect(end(claim(steady, intent(), "x1", 1, none), "rolled-back", "internal", 2).failovers).toEqual([]);
    let many = twice;
    for (let i = 0; i < 60; i++) many = failover(many, 1_000 + i);
    expect(many.failovers).toHaveLength(50);
    expect(many.failovers.at(-1)).toBe(1_059);
  });
  it("declines an intent as if it had been put back at once, also out of a mending", () => {
    const mending = claim(steady, intent({ kind: "rejoin", node: "n3" }), "x1", 1, none);
    for (const state of [steady, mending])
      expect(declined(state, intent(), "x2", "paused", 9)).toMatchObject({
        epoch: 1,
        phase: "steady",
        primary: "n1",
        operation: null,
        last: { id: "failover-shop-2-5", kind: "failover", outcome: "rolled-back", code: "paused" },
      });
  });
  it("a split brain leaves the pen where it was, or begins a reign", () => {
    const claimed = claim(steady, intent({ kind: "split-brain" }), "x1", 1, none);
    expect(claimed).toMatchObject({ epoch: 2, phase: "fencing" });
    expect(end(claimed, "completed", null, 2)).toMatchObject({ epoch: 1, primary: "n1", phase: "steady" });
    const crowned = end(commit(claimed, "n3", "u", 7), "completed", null, 8);
    expect(crowned).toMatchObject({ epoch: 2, primary: "n3", failovers: [] });
  });
  it("remembers repairs that were made, failed ones of that kind, no restarts, and none of an earlier reign", () => {
    const mend = (
      state: ClusterState,
      more: Partial<Intent>,
      outcome: "completed" | "blocked" = "completed",
    ) => end(claim(state, intent({ kind: "repair", node: "n3", ...more }), "x1", 1, none), outcome, null, 5);
    const once = mend(steady, { repair: "semi-sync-broken" });
    expect(once.repairs).toEqual([{ code: "semi-sync-broken", node: "n3", endedUnixMs: 5 }]);
    const twice = mend(once, { repair: "replication-error" }, "blocked");
    expect(twice.repairs?.map((r) => r.endedUnixMs)).toEqual([5, 6]);
    expect(mend(twice, { kind: "rejoin", repair: "replication-stopped" }).repairs).toHaveLength(2);
    expect(mend(twice, { kind: "rejoin", repair: "replica-writable" }, "blocked").repairs).toHaveLength(2);
    expect(mend(twice, { kind: "rejoin", repair: "replica-writable" }).repairs).toHaveLength(3);
    const next = commit(claim(twice, intent(), "x1", 1, none), "n2", "u", 0);
    expect(end(next, "completed", null, 9).repairs).toEqual([]);
  });
  it("remembers how the last few operations ended, whichever ended since", () => {
    let state = steady;
    for (let i = 1; i <= 6; i++) {
      const rejoin = intent({ kind: "rejoin", operation: `rejoin-shop-n2-${i}`, epoch: 1 });
      state = end(claim(state, rejoin, "x1", i, none), i === 3 ? "rolled-back" : "completed", null, i);
    }
    const outcomes = [1, 2, 3, 4, 5, 6].map((i) => endOf(state, `rejoin-shop-n2-${i}`)?.outcome ?? null);
    expect(outcomes).toEqual([null, "completed", "rolled-back", "completed", "completed", "completed"]);
  });
  it("counts takeovers", () => {
    expect(takeOver(claim(steady, intent(), "x1", 1, none), "x2").operation).toMatchObject({
      executor: "x2",
      takeovers: 1,
    });
  });
  it("remembers what an abort could not put back until that node is led home", () => {
    const back = end(
      leaving(claim(steady, intent(), "x1", 1, none), ["n3", "n2"]),
      "rolled-back",
      "internal",
      2,
    );
    expect(back.unrestored).toEqual(["n2", "n3"]);
    expect(leaving(back, []).unrestored).toEqual(["n2", "n3"]);
    expect(leaving(back, ["n4"], ["n2"]).unrestored).toEqual(["n3", "n4"]);
    expect(commit(claim(back, intent(), "x1", 1, none), "n2", "u", 8).unrestored).toEqual(["n3"]);
    const home = (outcome: "completed" | "blocked") =>
      end(claim(back, intent({ kind: "rejoin", node: "n3" }), "x1", 3, none), outcome, null, 4).unrestored;
    expect(home("completed")).toEqual(["n2"]);
    expect(home("blocked")).toEqual(["n2", "n3"]);
  });
  it("is degraded until it is restored or another reign begins, and says what that may have lost", () => {
    const loss = { known: "", count: 0, unseen: 3, unseenMs: 9, atMost: 3, unfenced: false };
    const mending = claim(steady, intent({ kind: "degrade" }), "x1", 1, none);
    const window = end(degraded(mending, "u:1-9", 5), "completed", null, 6);
    expect(window.degraded).toEqual({ sinceUnixMs: 5, executed: "u:1-9" });
    expect(degraded(window, "u:1-20", 50).degraded).toEqual(window.degraded);
    expect(restored(window)).not.toHaveProperty("degraded");
    const claimed = claim(window, intent(), "x1", 7, none);
    expect(end(claimed, "rolled-back", "loss-above-limit", 8).degraded).toEqual(window.degraded);
    const promoting = commit(claimed, "n2", "uuid-2", 8, loss);
    expect(promoting).not.toHaveProperty("degraded");
    expect(end(promoting, "completed", null, 9).last).toMatchObject({ loss });
  });
});
