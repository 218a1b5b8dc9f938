import type { Diagnosis, Event, Intent, Sample, Step } from "@baton/contracts";
import { expect, test } from "vitest";
import { paint } from "../view/colour.ts";
import { diagnosis } from "../view/views.testkit.ts";
import { Cast } from "./cast.ts";
import { momentLines, pictureLines, resultLines } from "./picture.ts";
import { bars, Pulse } from "./pulse.ts";
import { isGood, type RoundResult } from "./round.ts";
import { Timeline } from "./timeline.ts";

const plain = paint(false);

function sample(o: Partial<Sample>): Sample {
  return {
    cluster: "demo",
    node: "n1",
    region: "local",
    prober: "prober-1",
    seq: 1,
    cause: "closed",
    outcome: "closed",
    rttMs: 1,
    attempts: 1,
    silentMs: 0,
    thresholdMs: 300,
    errno: null,
    error: null,
    status: null,
    ...o,
  };
}
const intent = (o: Partial<Intent> = {}) =>
  ({ operation: "op-1", kind: "failover", node: "n1", epoch: 1, ...o }) as Intent;
const step = (name: string, o: Partial<Step> = {}) =>
  ({
    operation: "op-1",
    kind: "failover",
    step: name,
    outcome: "done",
    tookMs: 2,
    summary: name,
    code: null,
    ...o,
  }) as Step;
const event = (type: Event["type"], o: Partial<Event> = {}) =>
  ({
    type,
    operation: "op-1",
    node: "n1",
    epoch: 2,
    outcome: null,
    code: null,
    summary: "",
    detail: {},
    ...o,
  }) as Event;
const dead = (o: Partial<Diagnosis> = {}) =>
  diagnosis({
    code: "primary-dead",
    severity: "critical",
    probers: [
      {
        prober: "prober-1",
        region: "local",
        finds: "dead",
        outcome: "refused",
        attempts: 2,
        silentMs: 0,
        thresholdMs: 300,
      },
    ],
    replicas: [
      { node: "n2", finds: "lost", heardAgeMs: 100 },
      { node: "n3", finds: "unreachable", heardAgeMs: null },
    ],
    ...o,
  });

function takeover(): Timeline {
  const t = new Timeline("kill", "n1", 1_000);
  t.sample(sample({}), 1_090);
  t.sample(sample({ outcome: "refused", attempts: 1 }), 1_091);
  t.sample(sample({ outcome: "refused", attempts: 2 }), 1_092);
  t.diagnosis(dead(), 1_095);
  t.intent(intent(), 1_100);
  t.step(step("claim" as Step["step"]), 1_103);
  t.step(step("open"), 1_130);
  t.event(event("primary-changed", { primary: { node: "n2" } as Event["primary"], previous: "n1" }), 1_133);
  t.firstWrite(1_131, "n2");
  t.event(event("operation-ended", { outcome: "completed" }), 1_150);
  return t;
}

test("a takeover's moments, in the order of time, each kind of sighting once", () => {
  expect(momentLines(takeover().moments, plain)).toEqual([
    "    0.0 ms  fault              kill -9 of n1",
    "   90.0 ms  prober             its connection closes, seen by prober-1",
    "   91.0 ms  prober             connection refused, seen by prober-1",
    "   95.0 ms  diagnosis          primary-dead: 1 of 1 prober finds it dead, 1 of 2 replicas no longer hears it",
    "  100.0 ms  intent             fail over n1, from epoch 1",
    "  103.0 ms  claim      2.0 ms  claim",
    "  130.0 ms  open       2.0 ms  open",
    "  131.0 ms  client             first write acknowledged by n2",
    "  133.0 ms  event              primary-changed: n1 → n2, epoch 2",
  ]);
});

test("its figures lie end to end", () => {
  const t = takeover();
  expect(t.figures()).toEqual({ detectMs: 95, decideMs: 5, executeMs: 30 });
  expect([t.epoch, t.newPrimary, t.outcome]).toEqual([2, "n2", "completed"]);
});

test("without a diagnosis or an end the figures say so", () => {
  const t = new Timeline("hang", "n1", 0);
  expect(t.figures()).toEqual({ detectMs: null, decideMs: null, executeMs: null });
  t.diagnosis(diagnosis({ code: "primary-unreachable-replicas-fine", severity: "warning" }), 5);
  expect(t.figures().detectMs).toBe(null);
});

test("a rolled-back operation is shown, and the next intent is the one that counts", () => {
  const t = new Timeline("kill", "n1", 0);
  t.diagnosis(dead(), 10);
  t.intent(intent(), 11);
  t.step(step("fence", { outcome: "refused", code: "ackers-unreachable" }), 12);
  t.event(event("operation-ended", { outcome: "rolled-back", code: "ackers-unreachable" }), 13);
  t.intent(intent({ operation: "op-2" }), 30);
  t.step(step("open", { operation: "op-2" }), 40);
  expect(t.figures()).toEqual({ detectMs: 10, decideMs: 20, executeMs: 10 });
  expect(t.moments.filter(({ bad }) => bad).map(({ what }) => what)).toEqual([
    "fault",
    "diagnosis",
    "fence",
    "event",
  ]);
});

test("other nodes, rejoins and what was seen after the intent are no part of the takeover", () => {
  const t = new Timeline("kill", "n1", 0);
  t.sample(sample({ node: "n2", outcome: "refused" }), 1);
  t.sample(sample({ outcome: "ok" }), 2);
  t.intent(intent({ kind: "rejoin", operation: "op-9" }), 3);
  t.step(step("check", { kind: "rejoin", operation: "op-9" }), 4);
  expect(t.moments).toHaveLength(1);
});

test("the pulse shows a gap as a gap", () => {
  const pulse = new Pulse();
  for (const ms of [1_000, 1_010, 1_020, 1_099, 1_100, 1_150, 1_420]) pulse.acknowledged(ms);
  expect(pulse.between(900, 1_600)).toEqual([0, 4, 2, 0, 0, 1, 0]);
  expect(bars(pulse.between(900, 1_600), plain)).toBe("·█▅··▃·");
});

test("the pulse forgets what is long past", () => {
  const pulse = new Pulse();
  for (let ms = 0; ms < 1_000_000; ms += 100) pulse.acknowledged(ms);
  expect(pulse.between(999_700, 1_000_000)).toEqual([1, 1, 1]);
  expect(pulse.between(0, 200)).toEqual([0, 0]);
});

const status = (o: object) =>
  ({ readOnly: true, semiSync: null, replica: null, ...o }) as unknown as Sample["status"];
const replica = (o: object = {}) => ({
  sourceHost: "h",
  sourcePort: 1,
  receiver: "on",
  applier: "on",
  delayMs: 0,
  ...o,
});

test("the cast: what each node is doing, in words", () => {
  const nodes = { n1: { host: "h", port: 1 }, n2: { host: "h", port: 2 }, n3: { host: "h", port: 3 } };
  const cast = new Cast(nodes, "n1");
  cast.sample(sample({ outcome: "ok", status: status({ readOnly: false, semiSync: { clients: 2 } }) }));
  cast.sample(sample({ node: "n2", outcome: "ok", status: status({ replica: replica() }) }));
  cast.sample(
    sample({ node: "n3", outcome: "ok", status: status({ replica: replica({ receiver: "connecting" }) }) }),
  );
  expect(cast.lines().map(({ node, role, state, mood }) => [node, role, state, mood])).toEqual([
    ["n1", "primary", "writable, 2 ackers attached", "good"],
    ["n2", "replica", "follows n1, in step", "good"],
    ["n3", "replica", "looks for n1", "waiting"],
  ]);
  cast.fate("n1", "killed");
  cast.event(event("primary-changed", { node: "n2", primary: { node: "n2" } as Event["primary"] }));
  cast.event(event("node-quarantined", { node: "n3" }));
  expect(cast.lines().map(({ node, role, mood }) => [node, role, mood])).toEqual([
    ["n1", "replica", "bad"],
    ["n2", "primary", "good"],
    ["n3", "replica", "bad"],
  ]);
  cast.fate("n1", "starting");
  cast.sample(sample({ outcome: "ok", status: status({ readOnly: false }) }));
  expect(cast.lines()[0]).toMatchObject({ state: "writable, and not the primary", mood: "bad" });
});

const result: RoundResult = {
  fault: "kill",
  downtime_ms: 131.4,
  detect_ms: 95,
  decide_ms: 5,
  execute_ms: 30,
  acknowledged: 18_402,
  lost: 0,
  split: 0,
  epoch: 2,
  rejoined_ms: 2_040,
};

test("the result of a round", () => {
  expect(resultLines(result, plain)).toEqual([
    "  ✔ writes stood still for 131 ms  (seen after 95 ms, decided in 5.0 ms, carried out in 30 ms)",
    "    18 402 writes acknowledged, 0 lost, 0 split; epoch 2; the old primary was back in line after 2.04 s",
  ]);
  expect(
    resultLines(
      {
        ...result,
        downtime_ms: null,
        detect_ms: null,
        decide_ms: null,
        execute_ms: null,
        rejoined_ms: null,
        lost: 3,
      },
      plain,
    ),
  ).toEqual(["  ✖ writes did not come back", "    18 402 writes acknowledged, 3 lost, 0 split; epoch 2"]);
});

test("a round is good when nothing was lost or split and all came back", () => {
  expect(isGood(result)).toBe(true);
  for (const bad of [{ lost: 1 }, { split: 1 }, { downtime_ms: null }, { rejoined_ms: null }]) {
    expect(isGood({ ...result, ...bad })).toBe(false);
  }
});

test("the picture holds the title, the nodes, the pulse, the moments and the result", () => {
  const lines = pictureLines(
    {
      fault: "hang",
      round: 2,
      rounds: 3,
      act: "calm",
      nodes: [{ node: "n1", address: "h:1", role: "primary", state: "writable", mood: "good" }],
      pulse: [1, 0, 2],
      ratePerS: 1_300,
      moments: takeover().moments.slice(0, 1),
      result,
      errant: "u:1-2",
    },
    plain,
  );
  expect(lines[1]).toBe("  baton demo  the primary hangs (SIGSTOP), round 2 of 3");
  expect(lines).toContain("  ●  n1  primary  writable  h:1");
  expect(lines).toContain("  1 300 writes/s  ▅·█");
  expect(lines).toContain("  0.0 ms  fault    kill -9 of n1");
  expect(lines[lines.findIndex((line) => line.startsWith("  errant  ")) + 1]).toBe("          u:1-2");
});
