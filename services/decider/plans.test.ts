import type { NodeStatus, Planned } from "@baton/contracts";
import { expect, it } from "vitest";
import { judgePlan, LATE_MS } from "./plans.ts";
import { Scene } from "./scene.testkit.ts";

const semiSync: NodeStatus["semiSync"] = {
  source: true,
  sourceActive: true,
  acks: 1,
  timeoutMs: 4_294_967_295,
  waitNoReplica: true,
  afterSync: true,
  clients: 2,
  waiting: 0,
  replica: false,
  replicaActive: false,
};

/** A healthy cluster that has been watched for a while, and a plan for in a minute. */
function scene() {
  const s = new Scene(3);
  s.steady();
  s.wait(6_000);
  const look = () => {
    s.calm();
    s.sample("n1", "p1", { status: s.status("n1", { semiSync }) });
  };
  look();
  const plan: Planned = {
    cluster: "shop",
    id: "plan-1",
    atUnixMs: s.unixMs + 60_000,
    to: null,
    force: false,
    by: "ann@ops1",
    order: null,
  };
  const judge = (more: Partial<Planned> = {}, seenMs = s.now) =>
    judgePlan({ ...plan, ...more }, seenMs, s.picture, "d1", s.now, s.settings);
  return { s, look, judge, plan };
}
const brake = { paused: true, by: "eve@ops2", reason: "no", sinceUnixMs: 0, acknowledgedUnixMs: 0 };

it("waits for its time, then is taken with the best candidate of that moment", () => {
  const { s, look, judge } = scene();
  expect(judge()).toEqual({ do: "wait" });
  s.wait(59_750);
  look();
  expect(judge()).toEqual({ do: "wait" });
  s.wait(250);
  expect(judge()).toMatchObject({
    do: "take",
    order: { kind: "switchover", candidate: "n2", stateRevision: 5, byPerson: true },
  });
});

it("is not judged by a decider that has only just begun to look", () => {
  const { s, look, judge } = scene();
  s.wait(60_000);
  look();
  s.picture = { ...s.picture, startedMs: s.now - 1_000 };
  expect(judge()).toEqual({ do: "wait" });
});

it("waits for an operation that runs, and for the looks after it; not for ever", () => {
  const { s, look, judge } = scene();
  s.wait(60_000);
  s.steady({ phase: "mending" }, 6);
  look();
  expect(judge()).toEqual({ do: "wait" });
  s.steady({}, 7);
  expect(judge()).toEqual({ do: "wait" });
  look();
  expect(judge()).toMatchObject({ do: "take", order: { stateRevision: 7 } });
  s.steady({ phase: "mending" }, 8);
  s.wait(LATE_MS + 250);
  expect(judge()).toMatchObject({ do: "skip", reason: expect.stringContaining("running since") });
});

it("is skipped when it is paused, not fit, or nobody was there", () => {
  const { s, look, judge } = scene();
  s.wait(60_000);
  look();
  expect(judge({ to: "n1" })).toEqual({ do: "skip", reason: "n1 is the primary already" });
  s.feed({ type: "brake", of: "all", brake });
  expect(judge()).toMatchObject({ do: "skip", reason: expect.stringContaining("paused by eve@ops2") });
  s.feed({ type: "brake", of: "all", brake: null });
  s.replica("n2", { receiver: "off" });
  expect(judge({ to: "n2" })).toMatchObject({
    do: "skip",
    reason: expect.stringContaining("does not receive"),
  });
  expect(judge()).toMatchObject({ do: "take", order: { candidate: "n3" } });
  s.wait(LATE_MS - 250);
  look();
  expect(judge()).toMatchObject({ do: "take" });
  s.wait(500);
  expect(judge()).toMatchObject({ do: "skip", reason: expect.stringContaining("no decider ran at") });
});

it("is done in a maintenance: that is what it is planned for", () => {
  const { s, look, judge } = scene();
  const maintenance = [{ fromUnixMs: 0, untilUnixMs: s.unixMs * 2, by: "ann", reason: "" }];
  s.feed({ type: "brake", of: "own", brake: { ...brake, paused: false, maintenance } });
  s.wait(60_000);
  look();
  expect(judge()).toMatchObject({ do: "take" });
});

it("taken, it is given by its taker at once, by another when the taker is gone, and by nobody once it runs or ran", () => {
  const { s, look, judge } = scene();
  s.wait(60_000);
  look();
  const order = { candidate: "n2", stateRevision: 5, decider: "d1" };
  expect(judge({ order })).toMatchObject({ do: "give", order: { candidate: "n2", node: "n1", epoch: 1 } });
  const others = { order: { ...order, decider: "d2" } };
  expect(judge(others)).toEqual({ do: "wait" });
  expect(judge(others, s.now - 5_001)).toMatchObject({ do: "give" });
  const ended = { id: "switchover-shop-n2-5", kind: "switchover", outcome: "completed" } as const;
  s.steady({ last: { ...ended, code: null, endedUnixMs: 1 }, primary: "n2", epoch: 2 }, 9);
  expect(judge({ order })).toEqual({ do: "forget" });
  s.steady({ primary: "n2", epoch: 2 }, 10);
  expect(judge({ order })).toMatchObject({
    do: "skip",
    reason: expect.stringContaining("baton history says whether switchover-shop-n2-5 ran"),
  });
});
