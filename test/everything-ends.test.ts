/**
 * Faults in the middle of operations, in places where nobody could go on. Expectation: each operation ends, what was changed is put
 * back or led home later, and nothing acknowledged is lost.
 */
import { readFileSync } from "node:fs";
import { MESSAGES } from "@baton/contracts";
import { afterEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

/** `T` in /proc is a process that was stopped by a signal. */
function sleeps(pid: number | null | undefined): boolean {
  return pid != null && /^\d+ \(.*\) T/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
}

async function pausedAt(point: string, policy: NonNullable<Parameters<typeof startStage>[0]>["policy"] = {}) {
  stage = await startStage({ env: { executor: { BATON_FAULT_POINT: `${point}=pause` } }, policy });
  const s = stage;
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  const executor = s.system.program("executor-1");
  const asleep = () => s.until("the executor sleeps", () => (sleeps(executor.pid) ? true : null));
  return { s, writer, executor, asleep };
}

async function receiver(s: Stage, node: string) {
  const [row] = await s.lab
    .node(node)
    .query<{ state: string }>(
      "SELECT SERVICE_STATE state FROM performance_schema.replication_connection_status",
    );
  return row?.state;
}

it("the candidate dies between commit and open: blocked, and opened when it is back", async () => {
  const { s, writer, executor, asleep } = await pausedAt("after:commit", { deadlines: { forwardMs: 3_000 } });
  const { epoch } = await s.status();
  writer.fault(s.lab.node("n1").killNow());
  await asleep();
  const state = (await s.bus.bucket("baton_state").get("shop"))?.value;
  const candidate = state?.primary as string;
  expect(state).toMatchObject({ phase: "promoting", epoch: epoch + 1 });
  await s.lab.node(candidate).kill();
  executor.resume();
  const ended = await s.event("operation-ended", (e) => e.kind === "failover", 60_000);
  expect(ended).toMatchObject({ outcome: "blocked", code: "node-lost", node: candidate });
  expect(await s.status()).toMatchObject({ phase: "steady", epoch: epoch + 1, primary: candidate });
  // Two of three nodes are away: nobody may conclude that the third has everything.
  const said = await s.until(
    "it is said why nobody else is promoted",
    () => s.diagnoses.find((d) => d.code === "failover-not-possible" && d.node === candidate) ?? null,
  );
  expect(said.refusal).toBe("ackers-unreachable");

  await s.lab.node(candidate).start();
  await s.event("primary-reopened", (e) => e.node === candidate);
  await writer.recovered(30_000);
  const [channel] = await s.lab
    .node(candidate)
    .query<{ n: number }>("SELECT COUNT(*) n FROM performance_schema.replication_connection_configuration");
  expect(channel).toEqual({ n: 0 });
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
  await s.bringHome("n1");
  expect((await s.whole()).primary).toBe(candidate);
});

it("the candidate dies between commit and open and comes back at once: carried forward", async () => {
  const { s, writer, executor, asleep } = await pausedAt("after:commit");
  const { epoch } = await s.status();
  writer.fault(s.lab.node("n1").killNow());
  await asleep();
  const candidate = (await s.bus.bucket("baton_state").get("shop"))?.value.primary as string;
  await s.lab.node(candidate).kill();
  executor.resume();
  await s.lab.node(candidate).start();
  const ended = await s.event("operation-ended", (e) => e.kind === "failover", 60_000);
  expect(ended).toMatchObject({ outcome: "completed", epoch: epoch + 1, node: candidate });
  await writer.recovered(30_000);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
  await s.bringHome("n1");
  await s.whole();
});

it("a mending that gave way to a failover which never began is gone on with", async () => {
  const { s, writer, executor, asleep } = await pausedAt("before:rejoin");
  const n3 = s.lab.node("n3");
  await n3.kill();
  await n3.start();
  await asleep();
  const locks = s.bus.bucket("baton_locks");
  const held = await locks.get("shop");
  expect((await s.status()).phase).toBe("mending");
  // As a decider does that orders a failover; but its intent is lost with it.
  const other = { operation: "failover-shop-2-999", kind: "failover", holder: "decider-9" } as const;
  await s.until("its lock is taken", async () => {
    const now = await locks.get("shop");
    const holder = { ...other, sinceUnixMs: Date.now() };
    return now === null ? locks.create("shop", holder) : locks.update("shop", holder, now.revision);
  });
  expect(held?.value.kind).toBe("rejoin");
  // When it wakes it is due to renew the lock, and finds out before it has led the node home.
  await s.until("a renewal is due", () =>
    Date.now() - (held?.value.sinceUnixMs ?? 0) > 5_000 ? true : null,
  );
  executor.resume();
  await s.until("it gives way", () =>
    s.system.logs("executor-1").some((l) => /left to another/.test(l.message)) ? true : null,
  );
  const whole = await s.whole(60_000);
  expect(whole).toMatchObject({ phase: "steady", primary: "n1" });
  expect(s.events.some((e) => e.type === "node-rejoined" && e.node === "n3")).toBe(true);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
});

it("a replica that hangs in the middle of a fence that is given up is led home afterwards", async () => {
  const { s, writer, executor, asleep } = await pausedAt("before:fence", { deadlines: { fenceMs: 1_000 } });
  const { epoch } = await s.status();
  const n1 = s.lab.node("n1");
  const n2 = s.lab.node("n2");
  writer.fault(n1.killNow());
  await asleep();
  n2.hang();
  executor.resume();
  const ended = await s.event("operation-ended", (e) => e.kind === "failover", 60_000);
  expect(ended).toMatchObject({ outcome: "rolled-back", code: "ackers-unreachable" });
  expect((await s.bus.bucket("baton_state").get("shop"))?.value).toMatchObject({
    epoch,
    primary: "n1",
    unrestored: ["n2"],
  });
  await s.until("the primary is gone", () => (n1.running ? null : true));
  await n1.start();
  await s.event("primary-reopened");
  // It wakes with the order to stop its receiver, which nobody is there to take back.
  n2.resume();
  await s.event("node-rejoined", (e) => e.node === "n2", 60_000);
  expect(await receiver(s, "n2")).toBe("ON");
  const state = (await s.bus.bucket("baton_state").get("shop"))?.value;
  expect(state?.unrestored ?? []).toEqual([]);
  await writer.recovered(30_000);
  expect((await s.whole()).primary).toBe("n1");
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});

/** An order for a failover of a primary that is well, as of a decider that nobody knows. */
async function orderOf(s: Stage, operation: string, stateRevision: number, lockRevision: number) {
  const { epoch } = await s.status();
  await s.bus.append(MESSAGES.intent, {
    operation,
    cluster: "shop",
    kind: "failover",
    node: "n1",
    epoch,
    stateRevision,
    lockRevision,
    diagnosis: "primary-dead",
    reason: "the primary was seen as it was before",
    decider: "late",
    candidate: null,
    nodes: {},
  });
  const ended = await s.event("operation-ended", (e) => e.operation === operation);
  expect(ended).toMatchObject({ outcome: "rolled-back", code: "state-changed" });
  await s.until("the audit knows its end", async () => {
    const { operations } = await s.bus.command(
      "history",
      { cluster: "shop", operation: null, limit: 10 },
      { timeoutMs: 2_000 },
    );
    return operations.find((o) => o.operation === operation)?.outcome === "rolled-back" ? true : null;
  });
  for (const node of ["n2", "n3"]) expect(await receiver(s, node)).toBe("ON");
  expect(await s.whole()).toMatchObject({ primary: "n1", epoch });
}

it("an order that comes when the state has moved on: it ends, and nothing is touched", async () => {
  stage = await startStage();
  const found = await stage.bus.bucket("baton_state").get("shop");
  await orderOf(stage, "failover-shop-late", (found?.revision as number) - 1, 0);
  expect(await stage.bus.bucket("baton_state").get("shop")).toMatchObject({ revision: found?.revision });
});

it("an order of a decider that slept over it: it ends, and nothing is touched", async () => {
  stage = await startStage();
  const { bus } = stage;
  const operation = "failover-shop-slept";
  bus.subscribe(MESSAGES.confirm, {}, ({ cluster, operation: asked }, meta) => {
    if (asked === operation) meta.respond?.({ cluster, operation, decider: "late", judgedAgoMs: 5_000 });
  });
  const holder = { operation, kind: "failover" as const, holder: "late", sinceUnixMs: Date.now() };
  const lock = await bus.bucket("baton_locks").create("shop", holder);
  const found = await bus.bucket("baton_state").get("shop");
  await orderOf(stage, operation, found?.revision as number, lock as number);
});
