/** Fault: a stranger publishes nonsense on every subject. Expectation: dropped and counted; Baton goes on. */
import { MESSAGES, STREAMS, SUBJECT_ROOT } from "@baton/contracts";
import { connect } from "@nats-io/transport-node";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(async () => {
  await stage?.stop();
});

it("survives malformed messages on every subject and still fails over", async () => {
  const nc = await connect({ servers: stage.lab.nats.urls });
  const bodies = [
    "",
    "{",
    "null",
    "[]",
    '{"cluster":"shop"}',
    '{"cluster":7,"node":{}}',
    "\u0000\u0001",
    `"${"x".repeat(200_000)}"`,
  ];
  const subjects = [
    ...Object.values(MESSAGES).map((m) =>
      [SUBJECT_ROOT, m.type, ...m.tokens.map((t) => (t === "cluster" ? "shop" : "n1"))].join("."),
    ),
    `${SUBJECT_ROOT}.command.status`,
    `${SUBJECT_ROOT}.command.history`,
    ...Object.keys(STREAMS).map((s) => `${SUBJECT_ROOT}.unknown.${s.toLowerCase()}`),
    "$KV.baton_locks.shop-x",
    "$KV.baton_state.other",
    "$KV.baton_clusters.other",
    "$KV.baton_vouch.shop.n2x",
  ];
  for (const subject of subjects) for (const body of bodies) nc.publish(subject, body);
  await nc.flush();
  await nc.drain();
  const view = await stage.whole();
  const writer = stage.lab.writer();
  await stage.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  writer.fault(stage.lab.node(view.primary as string).killNow());
  await writer.recovered(20_000);
  await stage.event("primary-changed");
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  for (const { name } of stage.system.instances) {
    const restarts = stage.system.logs(name).filter((l) => l.level === "fatal");
    expect(restarts, name).toEqual([]);
  }
});
