/** Faults: NATS restarts, a prober is not heard. Expectation: a healthy primary keeps its pen; a dead one is replaced. */
import { afterEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

it("NATS restarted in calm changes nothing, and a failover works afterwards", async () => {
  stage = await startStage();
  const s = stage;
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  const [nats] = s.lab.nats.servers;
  await nats?.kill();
  const during = writer.acknowledged();
  await s.until("writes flow without NATS", () => (writer.acknowledged() > during + 200 ? true : null));
  await nats?.start();
  const view = await s.whole();
  expect(view).toMatchObject({ primary: "n1", epoch: 1 });
  expect(s.intents.filter((i) => i.kind === "failover")).toEqual([]);
  writer.fault(s.lab.node("n1").killNow());
  await writer.recovered(30_000);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});

it("NATS killed together with the primary: the failover comes as soon as NATS is back", async () => {
  stage = await startStage();
  const s = stage;
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  const [nats] = s.lab.nats.servers;
  await nats?.kill();
  writer.fault(s.lab.node("n1").killNow());
  await nats?.start();
  await writer.recovered(60_000);
  await s.until("the new reign", async () => ((await s.status()).epoch === 2 ? true : null));
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});

it("one of three NATS servers dies with the primary, as when they share a host: the failover only takes longer", async () => {
  stage = await startStage({ lab: { natsServers: 3 } });
  const s = stage;
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  writer.fault(s.lab.node("n1").killNow());
  await s.lab.nats.servers[0]?.kill();
  await writer.recovered(60_000);
  await s.until("the new reign", async () =>
    (await s.status().catch(() => null))?.epoch === 2 ? true : null,
  );
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});

it("a prober that is not heard has no vote: nothing fails over, and the others still see a real death", async () => {
  stage = await startStage({ services: { prober: 3 }, regions: { prober: ["eu", "us", "us"] } });
  const s = stage;
  s.system.program("prober-1").hang();
  s.system.program("prober-2").hang();
  await s.until("two probers have no vote", async () =>
    (await s.status()).probers.length === 1 ? true : null,
  );
  const calm = await s.status();
  expect(calm.diagnosis.code).toBe("healthy");
  expect(s.intents.filter((i) => i.kind === "failover")).toEqual([]);
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  writer.fault(s.lab.node("n1").killNow());
  await writer.recovered(30_000);
  s.system.program("prober-1").resume();
  s.system.program("prober-2").resume();
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
});

it("a hung replica or a hung prober is no reason to touch the primary", async () => {
  stage = await startStage();
  const s = stage;
  s.lab.node("n2").hang();
  await s.until("the replica is seen dead", async () =>
    (await s.status()).nodes.find((n) => n.node === "n2")?.problems.includes("replica-dead") ? true : null,
  );
  s.lab.node("n2").resume();
  await s.whole();
  expect(s.intents.filter((i) => i.kind === "failover")).toEqual([]);
});
