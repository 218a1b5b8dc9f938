/** Fault: a replica is gone, then the primary. Expectation: refused with its code, nothing touched; taken up when one returns. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(async () => {
  await stage?.stop();
});

it("refuses while an acknowledged write might be on the missing replica, then fails over when it is back", async () => {
  const writer = stage.lab.writer();
  const { lab } = stage;
  await stage.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
  await lab.node("n3").kill();
  await stage.until("the lost replica is seen", async () =>
    (await stage.status()).nodes.find((n) => n.node === "n3")?.problems.includes("replica-dead")
      ? true
      : null,
  );
  const view = await stage.status();
  expect(view.failover).toMatchObject({ possible: false, refusal: "ackers-unreachable" });

  writer.fault(lab.node("n1").killNow());
  const refused = await stage.until(
    "the refusal",
    () => stage.diagnoses.find((d) => d.code === "failover-not-possible") ?? null,
  );
  expect(refused.refusal).toBe("ackers-unreachable");
  expect(refused.summary).toContain("n3");
  const [n2] = await lab.node("n2").query<Record<string, number>>("SELECT @@super_read_only sro");
  expect(n2).toMatchObject({ sro: 1 });
  expect(stage.intents.filter((i) => i.kind === "failover")).toEqual([]);

  await lab.node("n3").start();
  await stage.event("primary-changed");
  await writer.recovered(30_000);
  await stage.event("operation-ended", (e) => e.outcome === "completed" && e.kind === "failover");
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});

it("gives a primary that restarted before anybody could replace it its pen back, and leaves a person's read_only alone", async () => {
  await stage.bringHome("n1");
  await stage.whole();
  const view = await stage.status();
  const primary = stage.lab.node(view.primary as string);
  const replica = stage.lab.nodes.find((n) => n !== primary);
  const writer = stage.lab.writer();
  await stage.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  await replica?.kill();
  await stage.until("the lost replica is seen", async () =>
    (await stage.status()).nodes.find((n) => n.node === replica?.name)?.problems.includes("replica-dead")
      ? true
      : null,
  );
  writer.fault(primary.killNow());
  await stage.until("the primary is gone", () => (primary.running ? null : true));
  await primary.start();
  await writer.recovered(30_000);
  const reopened = await stage.event("primary-reopened");
  expect(reopened).toMatchObject({ node: primary.name, epoch: view.epoch });
  await replica?.start();
  await stage.whole();

  const intents = stage.intents.length;
  const since = stage.diagnoses.length;
  const lookedMs = performance.now();
  const named = (code: string) =>
    stage.until(code, () => stage.diagnoses.slice(since).find((d) => d.code === code) ?? null);
  await primary.query("SET GLOBAL super_read_only=ON");
  await named("primary-read-only");
  // Longer than a rejoin or a reopening would wait: Baton has had its chance to meddle.
  await stage.until("two more seconds of samples", async () => {
    const view = await stage.status();
    return view.diagnosis.code === "primary-read-only" && performance.now() - lookedMs > 2_000 ? true : null;
  });
  await primary.query("SET GLOBAL super_read_only=OFF");
  await primary.query("SET GLOBAL read_only=OFF");
  await named("healthy");
  expect(stage.intents).toHaveLength(intents);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});

it("does not fail over from a primary whose writes waited for no ack, and gives it its pen back when it returns", async () => {
  const before = await stage.whole();
  const primary = stage.lab.node(before.primary as string);
  const since = stage.diagnoses.length;
  const named = (code: string) =>
    stage.until(code, () => stage.diagnoses.slice(since).find((d) => d.code === code) ?? null);
  await primary.query("SET GLOBAL rpl_semi_sync_source_enabled=OFF");
  await named("semi-sync-off");
  const intents = stage.intents.length;
  primary.killNow();
  const refused = await named("failover-not-possible");
  expect(refused.refusal).toBe("durability-unproven");
  expect(stage.intents.slice(intents).filter((i) => i.kind === "failover")).toEqual([]);
  await stage.until("the primary is gone", () => (primary.running ? null : true));
  await primary.start();
  const after = await stage.whole();
  expect(after).toMatchObject({ primary: before.primary, epoch: before.epoch });
  const [semi] = await primary.query<Record<string, number>>(
    "SELECT @@rpl_semi_sync_source_enabled AS source",
  );
  expect(semi).toMatchObject({ source: 1 });
});
