/**
 * Faults where writes need not wait for acks. Expectation: the loss is stated before it happens, it is no greater than stated, above
 * the limit nothing is done, and what the old primary alone holds is quarantined with it.
 */
import type { Loss } from "@baton/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { type Stage, type StageOptions, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

const CONNECTIONS = 4;

/** An available cluster under writers whose writes have been answered at a steady rate for some seconds. */
async function begin(policy: NonNullable<StageOptions["policy"]>) {
  stage = await startStage({ policy: { durability: "available", ackTimeoutMs: 100, ...policy } });
  const s = stage;
  // As `baton check` asks of a primary that was not opened by Baton.
  await s.lab.node("n1").query("SET GLOBAL rpl_semi_sync_source_timeout=100");
  const writer = s.lab.writer({ connections: CONNECTIONS });
  const fromMs = performance.now();
  await s.until("writes flow", () =>
    performance.now() - fromMs > 3_000 && writer.acknowledged() > 500 ? true : null,
  );
  return { s, writer };
}

/** Both replicas stop receiving, and the primary answers some more that nobody has. */
async function leaveBehind(s: Stage, writer: ReturnType<Stage["lab"]["writer"]>) {
  for (const n of ["n2", "n3"]) await s.lab.node(n).query("STOP REPLICA IO_THREAD");
  const from = writer.acknowledged();
  await s.until("writes are answered that no replica has", () =>
    writer.acknowledged() > from + 300 ? true : null,
  );
}

const lossOf = (detail: Record<string, unknown>) => detail.loss as Loss;

describe("available", () => {
  it("fails over when it was told that so much may be lost, and loses no more than it said", async () => {
    const { s, writer } = await begin({ loss: { maxTransactions: 1_000_000 } });
    await leaveBehind(s, writer);
    const before = await s.until("the loss is in the status", async () => {
      const view = await s.status();
      return (view.failover.loss?.count ?? 0) > 100 ? view : null;
    });
    expect(before.failover).toMatchObject({
      possible: true,
      reason: expect.stringContaining("would lose up to"),
    });
    expect(before.durability).toMatch(/^available/);

    writer.fault(s.lab.node("n1").killNow());
    await writer.recovered(20_000);
    const changed = await s.event("primary-changed");
    const loss = lossOf(changed.detail);
    expect(changed.summary).toContain(`this loses up to ${loss.atMost} transactions`);
    const chosen = s.steps.find((x) => x.kind === "failover" && x.step === "choose");
    expect(chosen?.detail.loss).toEqual(loss);
    const ended = await s.event("operation-ended", (e) => e.kind === "failover");
    expect(ended).toMatchObject({ outcome: "completed", detail: { loss } });
    const report = await writer.stop();
    expect(report.lost.length).toBeGreaterThan(0);
    expect(report.lost.length).toBeLessThanOrEqual(loss.atMost);
    expect(loss.unfenced).toBe(false);

    // A reign begins as the policy says, and who wrote what is lost is shut away with it.
    const after = s.lab.node(changed.node as string);
    const [semi] = await after.query<Record<string, number>>(
      "SELECT @@rpl_semi_sync_source_enabled source, @@rpl_semi_sync_source_timeout timeoutMs",
    );
    expect(semi).toEqual({ source: 1, timeoutMs: 100 });
    expect(await s.bringHome("n1")).toBe("node-quarantined");
    await s.whole();
  });

  it("refuses above the limit, and fails over once a person raises it", async () => {
    const { s, writer } = await begin({ loss: { maxTransactions: 50 } });
    await leaveBehind(s, writer);
    await s.until("status says that it would be refused", async () =>
      (await s.status()).failover.refusal === "loss-above-limit" ? true : null,
    );
    const atMs = s.lab.node("n1").killNow();
    const refused = await s.until(
      "the refusal",
      () => s.diagnoses.find((d) => d.code === "failover-not-possible") ?? null,
    );
    expect(refused.refusal).toBe("loss-above-limit");
    for (const n of ["n2", "n3"]) {
      const [row] = await s.lab.node(n).query<Record<string, number>>("SELECT @@super_read_only sro");
      expect(row).toEqual({ sro: 1 });
    }
    expect(s.intents.filter((i) => i.kind === "failover")).toEqual([]);

    const clusters = s.bus.bucket("baton_clusters");
    const declared = (await clusters.get("shop"))?.value;
    if (declared === undefined) throw new Error("shop is not declared");
    const { policy } = declared;
    writer.fault(atMs);
    await clusters.put("shop", { ...declared, policy: { ...policy, loss: { maxTransactions: 1_000_000 } } });
    await writer.recovered(20_000);
    const loss = lossOf((await s.event("primary-changed")).detail);
    const report = await writer.stop();
    expect(report.lost.length).toBeGreaterThan(0);
    expect(report.lost.length).toBeLessThanOrEqual(loss.atMost);
  });

  it("fails over to the only replica left, where lossless would wait for another", async () => {
    const { s, writer } = await begin({ loss: { maxTransactions: 1_000_000 } });
    await s.lab.node("n3").kill();
    await s.until("the lost replica is seen", async () =>
      (await s.status()).nodes.find((n) => n.node === "n3")?.problems.includes("replica-dead") ? true : null,
    );
    writer.fault(s.lab.node("n1").killNow());
    await writer.recovered(20_000);
    const changed = await s.event("primary-changed");
    expect(changed.node).toBe("n2");
    expect((await s.event("operation-ended", (e) => e.kind === "failover")).outcome).toBe("completed");
    const report = await writer.stop();
    expect(report.lost.length).toBeLessThanOrEqual(lossOf(changed.detail).atMost);
    await s.lab.node("n3").start();
    await s.bringHome("n1");
    await s.whole();
  });

  it("says of a silent primary that it could not be shut, and shuts it when it is back", async () => {
    const { s, writer } = await begin({ loss: { maxTransactions: 1_000_000 } });
    writer.fault(s.lab.node("n1").hang());
    await writer.recovered(30_000);
    const changed = await s.event("primary-changed");
    const loss = lossOf(changed.detail);
    expect(loss.unfenced).toBe(true);
    expect(changed.summary).toContain("could not be shut");
    await s.bringHome("n1");
    const report = await writer.stop();
    // Each connection may get one late answer: that is what comes on top.
    expect(report.lost.length).toBeLessThanOrEqual(loss.atMost + CONNECTIONS);
    await s.whole();
  });
});

describe("lossless with onAckLoss: degrade", () => {
  const policy = { onAckLoss: "degrade" as const, degradeAfterMs: 1_000, ackTimeoutMs: 100 };

  it("lets writes go on when the ackers are gone, records the window, and restores it when they are back", async () => {
    stage = await startStage({ policy });
    const s = stage;
    const writer = s.lab.writer();
    await s.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
    for (const n of ["n2", "n3"]) await s.lab.node(n).kill();
    const degraded = await s.event("durability-degraded");
    const during = writer.acknowledged();
    await s.until("writes go on without acks", () => (writer.acknowledged() > during + 200 ? true : null));
    const view = await s.status();
    expect(view.durability).toMatch(/^degraded since/);
    expect(view.diagnosis.code).toBe("semi-sync-too-few-ackers");
    expect(view.diagnosis.summary).toContain("writes go on without");

    for (const n of ["n2", "n3"]) await s.lab.node(n).start();
    const restored = await s.event("durability-restored");
    expect(restored.detail).toMatchObject({ from: degraded.detail.executed });
    expect(String(restored.detail.written)).not.toBe("");
    expect(Number(restored.detail.untilUnixMs)).toBeGreaterThan(Number(degraded.detail.sinceUnixMs));
    const whole = await s.whole();
    expect(whole.durability).toBeUndefined();
    const [semi] = await s.lab
      .node("n1")
      .query<Record<string, number>>(
        "SELECT @@rpl_semi_sync_source_enabled source, @@rpl_semi_sync_source_timeout timeoutMs",
      );
    expect(semi).toEqual({ source: 1, timeoutMs: 4_294_967_295 });

    // As good as new: a failover loses nothing of what was written within the window or since.
    writer.fault(s.lab.node("n1").killNow());
    await writer.recovered(20_000);
    const changed = await s.event("primary-changed");
    expect(changed.detail.loss).toBeUndefined();
    const report = await writer.stop();
    expect(report.lost).toEqual([]);
    expect(report.split).toEqual([]);
  });

  it("a failover within the window is refused above the limit, and else loses no more than it says", async () => {
    stage = await startStage({ policy: { ...policy, loss: { maxTransactions: 50 } } });
    const s = stage;
    const writer = s.lab.writer();
    await s.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
    for (const n of ["n2", "n3"]) await s.lab.node(n).query("STOP REPLICA IO_THREAD");
    await s.event("durability-degraded");
    const from = writer.acknowledged();
    await s.until("writes go on without acks", () => (writer.acknowledged() > from + 300 ? true : null));
    await s.until("status says that it would be refused", async () =>
      (await s.status()).failover.refusal === "loss-above-limit" ? true : null,
    );
    const atMs = s.lab.node("n1").killNow();
    const refused = await s.until(
      "the refusal",
      () => s.diagnoses.find((d) => d.code === "failover-not-possible") ?? null,
    );
    expect(refused.refusal).toBe("loss-above-limit");
    expect(s.intents.filter((i) => i.kind === "failover")).toEqual([]);
    const clusters = s.bus.bucket("baton_clusters");
    const declared = (await clusters.get("shop"))?.value;
    if (declared === undefined) throw new Error("shop is not declared");
    writer.fault(atMs);
    await clusters.put("shop", {
      ...declared,
      policy: { ...declared.policy, loss: { maxTransactions: 1_000_000 } },
    });
    await writer.recovered(20_000);
    const changed = await s.event("primary-changed");
    const report = await writer.stop();
    expect(report.lost.length).toBeGreaterThan(0);
    expect(report.lost.length).toBeLessThanOrEqual(lossOf(changed.detail).atMost);
    expect((await s.status()).durability).toBeUndefined();
  });
});

it("lossless as it is by default: without ackers writes wait, and Baton says so", async () => {
  stage = await startStage();
  const s = stage;
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
  for (const n of ["n2", "n3"]) await s.lab.node(n).query("STOP REPLICA IO_THREAD");
  const said = await s.until(
    "Baton says so",
    () => s.diagnoses.find((d) => d.code === "semi-sync-too-few-ackers") ?? null,
  );
  expect(said.summary).toContain("writes wait, by design");
  const stopped = writer.acknowledged();
  const sinceMs = performance.now();
  await s.until("it has had its chance to meddle", () => (performance.now() - sinceMs > 7_000 ? true : null));
  // What was on its way may still be answered.
  expect(writer.acknowledged() - stopped).toBeLessThanOrEqual(CONNECTIONS);
  expect(s.intents.filter((i) => i.kind === "degrade")).toEqual([]);
  for (const n of ["n2", "n3"]) await s.lab.node(n).query("START REPLICA IO_THREAD");
  await s.whole();
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
});
