/** Faults: NATS loses the cluster's state, or gives an older one. Expectation: nobody is opened or shut for it; a failover works afterwards. */
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
  const person = await connect({ servers: s.lab.nats.urls });
  await person.request("$JS.API.STREAM.DELETE.KV_baton_state");
  await person.close();
  await s.event("state-put-back", (e) => s.events.indexOf(e) >= told, 10_000);
  await s.event("nats-lost-data", undefined, 10_000);
  await s.whole();
  writer.fault(s.lab.node(primary as string).killNow());
  await writer.recovered(10_000);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
});
