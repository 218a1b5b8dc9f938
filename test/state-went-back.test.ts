/** Faults: NATS loses the cluster's state, or gives an older one. Expectation: nobody is opened or shut for it; a failover works afterwards. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import type { ClusterState } from "@baton/contracts";
import { connect } from "@nats-io/transport-node";
import { afterEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

const rowOn = async (s: Stage, node: string) =>
  (await s.lab.node(node).query("SELECT cluster, epoch, primary_uuid AS uuid FROM baton.epoch"))[0];

async function deleteStream(s: Stage, name: string): Promise<void> {
  const person = await connect({ servers: s.lab.nats.urls });
  await person.request(`$JS.API.STREAM.DELETE.${name}`);
  await person.close();
}

const main = join(import.meta.dirname, "../cli/main.ts");
function baton(s: Stage, ...args: string[]): Promise<{ code: number; out: string }> {
  const where = ["-c", s.configFile];
  return new Promise((done) =>
    execFile(process.execPath, [main, ...args, ...where], { timeout: 30_000 }, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }),
    ),
  );
}

it("is put back from what the decider remembers, and the data say so", async () => {
  stage = await startStage();
  const s = stage;
  const states = s.bus.bucket("baton_state");
  const before = await states.get("shop");
  expect(before?.value.installation).toMatch(/^[0-9a-f]{16}$/);
  await expect.poll(() => rowOn(s, "n3")).toMatchObject({ cluster: "shop", epoch: 1 });

  const midway: ClusterState[] = [];
  const stopWatch = await states.watch({
    onChange: (_, value) => void (value?.phase === "promoting" && midway.push(value)),
  });
  await s.lab.node("n1").kill();
  await s.event("primary-changed");
  expect(await s.bringHome("n1")).toBe("node-rejoined");
  const { primary } = await s.whole();
  stopWatch();
  await expect.poll(() => rowOn(s, "n1")).toMatchObject({ epoch: 2 });
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  const intents = s.intents.length;

  const goBack = async (state: ClusterState) => {
    const told = s.events.length;
    await states.put("shop", state);
    await s.event("state-put-back", (e) => s.events.indexOf(e) >= told, 10_000);
    await s.until("the state is right again", async () => {
      const now = (await states.get("shop"))?.value;
      return now?.epoch === 2 && now.phase === "steady" && now.primary === primary ? true : null;
    });
  };
  // n1 restarted since it was that state's primary, and is read-only: it looked like one to reopen.
  await goBack(before?.value as ClusterState);
  // Every executor that gets its intent again would open it.
  expect(midway).not.toEqual([]);
  await goBack({
    ...(midway[0] as ClusterState),
    primary: "n1",
    primaryUuid: before?.value.primaryUuid ?? "",
  });
  await s.whole();
  expect(s.intents.length).toBe(intents);

  // NATS forgets it altogether.
  const told = s.events.length;
  await deleteStream(s, "KV_baton_state");
  await s.event("state-put-back", (e) => s.events.indexOf(e) >= told, 10_000);
  await s.event("nats-lost-data", undefined, 10_000);
  await s.whole();
  writer.fault(s.lab.node(primary as string).killNow());
  await writer.recovered(10_000);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});

it("is told and left alone when nobody remembers it, until a person has it recovered", async () => {
  stage = await startStage();
  const s = stage;
  const states = s.bus.bucket("baton_state");
  const before = (await states.get("shop"))?.value;
  const decider = s.system.program("decider-1");
  decider.hang();
  await deleteStream(s, "KV_baton_state");
  await s.until("the bucket is made again", () =>
    states.get("shop").then(
      (v) => (v === null ? true : null),
      () => null,
    ),
  );
  decider.kill();
  await s.until("it is told", async () => {
    const view = await s.status().catch(() => null);
    return view?.diagnosis.code === "foreign-installation" && !view.failover.possible ? true : null;
  });
  const intents = s.intents.length;
  const dry = await baton(s, "recover", "shop");
  expect(dry).toMatchObject({ code: 0, out: expect.stringContaining("baton recover shop --yes") });
  expect(await states.get("shop")).toBeNull();
  expect(s.intents.length).toBe(intents);
  expect(await baton(s, "recover", "shop", "--yes")).toMatchObject({ code: 0 });
  expect((await states.get("shop"))?.value).toMatchObject({
    epoch: 1,
    primary: "n1",
    primaryUuid: before?.primaryUuid,
    installation: before?.installation,
  });
  await s.whole();
  const again = await baton(s, "recover", "shop", "--take-over", "--yes");
  expect(again).toMatchObject({ code: 0 });
  const taken = await s.whole();
  expect(taken).toMatchObject({ epoch: 2, primary: "n1" });
  await expect.poll(() => rowOn(s, "n2")).toMatchObject({ epoch: 2 });
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  writer.fault(s.lab.node("n1").killNow());
  await writer.recovered(20_000);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
});

it("an operation whose intent NATS has lost is gone on with, for the state still names it", async () => {
  stage = await startStage({ env: { executor: { BATON_FAULT_POINT: "after:fence=pause" } } });
  const s = stage;
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  const phase = async () => (await s.bus.bucket("baton_state").get("shop"))?.value.phase;
  writer.fault(s.lab.node("n1").killNow());
  await s.until("it is fenced", async () => ((await phase()) === "fencing" ? true : null));
  await s.until("its step is told", () => s.steps.find((step) => step.step === "claim") ?? null);
  const fenced = s.intents.length;
  await deleteStream(s, "BATON_INTENTS");
  s.system.program("executor-1").kill();
  const ended = await s.event("operation-ended", (e) => e.kind === "failover", 60_000);
  expect(ended).toMatchObject({ outcome: "completed", epoch: 2 });
  // The same operation, by its own name.
  expect(new Set(s.intents.filter((i) => i.kind === "failover").map((i) => i.operation)).size).toBe(1);
  expect(s.intents.length).toBeGreaterThan(fenced);
  await writer.recovered(20_000);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});
