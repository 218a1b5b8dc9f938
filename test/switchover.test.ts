/** No fault: the pen is passed on under load, there and back. Expectation: nothing lost, one pen, a short pause, every node in its place. */

import type { BatonError } from "@baton/contracts";
import { monotonicMs } from "@baton/lab";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

/** Orders it and waits until its operation has ended. */
async function switchOver(stage: Stage, to: string | null) {
  const order = await stage.bus.command("switchover", { cluster: "shop", to, dryRun: false, force: false });
  const ended = await stage.event("operation-ended", (e) => e.operation === order.operation, 60_000);
  return { order, ended };
}

async function roles(stage: Stage) {
  return Promise.all(
    stage.lab.nodes.map(async (node) => {
      const [row] = await node.query<Record<string, number>>(
        "SELECT @@super_read_only sro, @@rpl_semi_sync_source_enabled source, @@rpl_semi_sync_replica_enabled replica",
      );
      return { node: node.name, ...row };
    }),
  );
}

const primaryRole = { sro: 0, source: 1, replica: 0 };
const replicaRole = { sro: 1, source: 0, replica: 1 };

describe("a switchover under load", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await startStage();
  });
  afterAll(async () => {
    await stage?.stop();
  });

  it("a dry run shows the plan and touches nothing", async () => {
    const { epoch } = await stage.status();
    const before = await roles(stage);
    const plan = await stage.until("a plan that nothing speaks against", async () => {
      const made = await stage.bus.command("switchover", {
        cluster: "shop",
        to: null,
        dryRun: true,
        force: false,
      });
      // Right after the adoption its row may be applied on one of them first: of equals, the first by name.
      return made.checks.every((c) => c.ok) && made.to === "n2" ? made : null;
    });
    expect(plan).toMatchObject({ operation: null, from: "n1", to: "n2" });
    expect(plan.notChosen).toEqual([{ node: "n3", reason: expect.stringContaining("n2") }]);
    expect(plan.expectedPauseMs).toBeGreaterThan(0);
    expect(await roles(stage)).toEqual(before);
    expect(stage.intents.filter((i) => i.kind === "switchover")).toEqual([]);
    expect((await stage.status()).epoch).toBe(epoch);
  });

  it("refuses whom it cannot promote, with a code and the nearest name", async () => {
    const ask = (to: string, cluster = "shop") =>
      stage.bus.command("switchover", { cluster, to, dryRun: false, force: false }).then(
        () => null,
        (error: BatonError) => ({ code: error.code, message: error.message }),
      );
    expect(await ask("n22")).toMatchObject({
      code: "E_NOT_FOUND",
      message: expect.stringContaining("Did you mean n2?"),
    });
    expect(await ask("n1")).toMatchObject({ code: "E_CONFLICT", message: "n1 is the primary already." });
    expect(await ask("n2", "shopp")).toMatchObject({ code: "E_NOT_FOUND" });
    expect(stage.intents.filter((i) => i.kind === "switchover")).toEqual([]);
  });

  it("six times there and back: nothing lost, one pen, the old primary follows", async () => {
    const acksMs: number[] = [];
    const writer = stage.lab.writer({ onAck: ({ atMs }) => acksMs.push(atMs) });
    await stage.until("writes flow", () => (writer.acknowledged() > 200 ? true : null));
    const pausesMs: number[] = [];
    for (const to of ["n2", "n1", "n3", "n2", "n3", "n1"]) {
      const before = await stage.whole();
      writer.fault(monotonicMs());
      const from = acksMs.length - 1;
      const { order, ended } = await switchOver(stage, to);
      expect(ended.outcome, ended.summary).toBe("completed");
      await writer.recovered(10_000);
      pausesMs.push(longestGap(acksMs.slice(from)));
      const after = await stage.whole();
      expect(after).toMatchObject({ primary: to, epoch: before.epoch + 1 });
      for (const { node, ...role } of await roles(stage))
        expect({ node, ...role }).toEqual({ node, ...(node === to ? primaryRole : replicaRole) });
      await stage.until(
        "the proof",
        () => stage.steps.find((s) => s.operation === order.operation && s.step === "prove") ?? null,
      );
      expect(stage.steps.filter((s) => s.operation === order.operation && s.outcome !== "done")).toEqual([]);
    }
    const report = await writer.stop();
    console.log(
      `write pauses ${pausesMs.map(Math.round).join(", ")} ms; errors ${JSON.stringify(report.errors)}`,
    );
    expect(report.lost).toEqual([]);
    expect(report.split).toEqual([]);
    expect(report.late).toBe(0);
    expect(stage.intents.filter((i) => i.kind !== "switchover" && i.kind !== "adopt")).toEqual([]);
    expect(
      stage.diagnoses.filter((d) => d.code === "primary-read-only" || d.code === "primary-dead"),
    ).toEqual([]);
  });
});

/** The longest time without an acknowledgement: what clients see. */
function longestGap(acksMs: readonly number[]): number {
  return Math.max(...acksMs.slice(1).map((at, i) => at - (acksMs[i] as number)));
}
