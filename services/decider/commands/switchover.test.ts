import type { CommandRequest, NodeStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { operationName } from "../order.ts";
import { Scene } from "../scene.testkit.ts";
import { planOrder } from "./switchover.ts";

const semiSync = (clients: number): NodeStatus["semiSync"] => ({
  source: true,
  sourceActive: true,
  acks: 1,
  timeoutMs: 4_294_967_295,
  waitNoReplica: true,
  afterSync: true,
  clients,
  waiting: 0,
  replica: false,
  replicaActive: false,
});

/** A healthy cluster of three whose primary has all its ackers. */
function healthy(): Scene {
  const s = new Scene(3);
  s.steady();
  s.calm();
  s.sample("n1", "p1", { status: s.status("n1", { semiSync: semiSync(2) }), rttMs: 2 });
  return s;
}

const plan = (s: Scene, request: Partial<CommandRequest<"switchover">> = {}) =>
  planOrder(
    s.picture,
    { cluster: "shop", to: null, dryRun: false, force: false, ...request },
    s.now,
    s.settings,
  );
const refusal = (s: Scene, request: Partial<CommandRequest<"switchover">> = {}) => {
  try {
    plan(s, request);
    return null;
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { code, message };
  }
};

describe("baton switchover", () => {
  it("orders the best replica and says why the other is not it", () => {
    const { reply, order } = plan(healthy());
    expect(reply).toMatchObject({
      from: "n1",
      to: "n2",
      notChosen: [{ node: "n3", reason: "equal to n2, which comes first by name" }],
    });
    expect(reply.checks.filter((c) => !c.ok)).toEqual([]);
    expect(order).toMatchObject({
      kind: "switchover",
      node: "n1",
      candidate: "n2",
      epoch: 1,
      stateRevision: 5,
    });
    expect(order && operationName("shop", order)).toBe("switchover-shop-n2-5");
  });

  it("is ordered also while the cluster is paused: a person asks for it", () => {
    const s = healthy();
    s.feed({
      type: "brake",
      of: "own",
      brake: { paused: true, by: "eve", reason: "", sinceUnixMs: 1, acknowledgedUnixMs: 0 },
    });
    expect(plan(s).order).not.toBeNull();
  });

  it("a dry run gives the same plan and no order, with the checks that fail", () => {
    const s = healthy();
    expect(plan(s, { dryRun: true })).toEqual({ ...plan(s), order: null });
    s.sample("n1", "p1", { status: s.status("n1", { semiSync: semiSync(0) }) });
    const { reply, order } = plan(s, { dryRun: true });
    expect(order).toBeNull();
    expect(reply.checks.filter((c) => !c.ok).map((c) => c.check)).toEqual(["semi-sync"]);
    expect(refusal(s)).toMatchObject({ code: "E_CONFLICT" });
    expect(refusal(s, { force: true })).toMatchObject({ code: "E_CONFLICT" });
  });

  it("refuses names that there are not, with the nearest, and the primary itself", () => {
    expect(refusal(healthy(), { to: "n22" })).toEqual({
      code: "E_NOT_FOUND",
      message: 'No node of shop is called "n22". Did you mean n2?',
    });
    expect(refusal(healthy(), { to: "n1" })).toEqual({
      code: "E_CONFLICT",
      message: "n1 is the primary already.",
    });
  });

  it("refuses while an operation runs, and before the cluster is adopted", () => {
    const s = healthy();
    s.steady({ phase: "mending" }, 6);
    expect(refusal(s)).toMatchObject({ code: "E_LOCKED" });
    expect(refusal(new Scene(3))).toMatchObject({ code: "E_CONFLICT" });
  });

  it("refuses a quarantined node also with force", () => {
    const s = healthy();
    s.steady({ quarantined: ["n3"] }, 6);
    s.calm();
    s.sample("n1", "p1", { status: s.status("n1", { semiSync: semiSync(2) }) });
    expect(refusal(s, { to: "n3", force: true })).toEqual({
      code: "E_CONFLICT",
      message: "n3 is quarantined: it holds transactions outside the history.",
    });
    expect(plan(s).reply).toMatchObject({ to: "n2" });
  });

  it("does not choose one that lags, and takes it when it is named with force", () => {
    const s = healthy();
    s.replica("n2", { delayMs: 60_000 });
    expect(plan(s).reply.to).toBe("n3");
    expect(plan(s).reply.notChosen[0]).toMatchObject({
      node: "n2",
      reason: "n2 is 60.00 s behind, the ceiling is 10 s",
    });
    expect(refusal(s, { to: "n2" })).toMatchObject({ code: "E_CONFLICT" });
    expect(plan(s, { to: "n2", force: true }).order).toMatchObject({ candidate: "n2", force: true });
  });

  it("refuses when nobody receives from the primary, and says so for each", () => {
    const s = healthy();
    s.replica("n2", { receiver: "off" });
    s.replica("n3", { applier: "off", applierErrno: 1062 });
    expect(refusal(s)?.message).toBe(
      "No replica can take over from n1: n2: n2 does not receive from n1 (receiver off); n3: n3's applier is off, error 1062.",
    );
  });
});
