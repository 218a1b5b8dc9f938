/**
 * Faults: wall clocks jump, of a replica, of the primary, of all nodes. Expectation: no failover by that alone, and a failover when the primary then
 * dies, for no promise rests on a wall clock (SAFETY.md). The clocks are libfaketime's, set while the servers run (lab/clock.ts).
 */
import { cannotSetClocks, type Writer } from "@baton/lab";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

const hindrance = cannotSetClocks();
if (hindrance !== null) console.log(`test/clock.test.ts sets no clocks here: ${hindrance.message}`);

const HOUR_S = 3_600;
/** Heartbeats and looks enough for a hasty judgement. */
const LOOKS = 20;

let running: Stage | undefined;
let stage: Stage;
let writer: Writer | null;
beforeEach(async () => {
  if (hindrance !== null) return;
  running = await startStage({ lab: { ownClocks: true } });
  stage = running;
  writer = null;
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

const say = (aheadS: number) => `${Math.abs(aheadS) / HOUR_S} h ${aheadS < 0 ? "back" : "ahead"}`;

/** Clients write all the time, so that no heartbeat is sent any more, or nobody does, so that nothing else is. */
async function busy(): Promise<void> {
  const w = stage.lab.writer();
  writer = w;
  await stage.until("writes flow", () => (w.acknowledged() > 50 ? true : null));
}

/** Nothing is ordered, and the cluster stays whole while each node is looked at many times. */
async function stayedCalm(epoch: number): Promise<void> {
  let looks = 0;
  await stage.until("the primary is looked at", async () => {
    const view = await stage.status();
    expect(view).toMatchObject({ epoch, primary: "n1", phase: "steady" });
    for (const node of view.nodes) expect(node.outcome, await stage.story()).toBe("ok");
    return ++looks >= LOOKS ? true : null;
  });
  const orders = stage.intents
    .filter(({ kind }) => kind !== "adopt")
    .map(({ kind, reason }) => ({ kind, reason }));
  expect(orders, await stage.story()).toEqual([]);
}

/** The replicas of a primary that hangs must notice it by their own stamps, not seconds later by their receivers' timeout. */
async function failsOver(epoch: number, fault: "kill" | "hang"): Promise<void> {
  const n1 = stage.lab.node("n1");
  const faultMs = fault === "kill" ? n1.killNow() : n1.hang();
  const w = writer ?? stage.lab.writer();
  w.fault(faultMs);
  await w.recovered(20_000).catch(async (error) => {
    throw new Error(`${error}\n${await stage.story()}`);
  });
  await stage.event("operation-ended", (e) => e.kind === "failover" && e.outcome === "completed");
  const report = await w.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
  expect((await stage.status()).epoch).toBe(epoch + 1);
  if (fault === "kill") return;
  const dead = stage.diagnoses.find(({ code }) => code === "primary-dead");
  expect(dead?.replicas.map(({ finds }) => finds)).toEqual(["silent", "silent"]);
}

interface Case {
  nodes: readonly string[];
  aheadS: number;
  /** Clients write, so that receivers hear transactions and no heartbeats; or nobody does. */
  load: boolean;
  fault: "kill" | "hang";
}

describe.skipIf(hindrance !== null)("the clock is set", () => {
  const cases: readonly Case[] = [
    { nodes: ["n2"], aheadS: -HOUR_S, load: true, fault: "hang" },
    { nodes: ["n2", "n3"], aheadS: -HOUR_S, load: false, fault: "hang" },
    { nodes: ["n1"], aheadS: -HOUR_S, load: true, fault: "kill" },
    { nodes: ["n1", "n2", "n3"], aheadS: HOUR_S, load: true, fault: "kill" },
  ];
  it.each(cases)(
    "of $nodes, to an hour from now or ago ($aheadS s), under writes: $load, and the primary is lost: $fault",
    async ({ nodes, aheadS, load, fault }) => {
      const { epoch } = await stage.whole();
      if (load) await busy();
      for (const node of nodes) await stage.lab.node(node).setClock(aheadS);
      await stayedCalm(epoch);
      // A server counts its uptime by its clock, which says now that it has not begun yet.
      const [row] = await stage.lab
        .node(nodes[0] as string)
        .query<{ uptime: string }>(
          "SELECT VARIABLE_VALUE uptime FROM performance_schema.global_status WHERE VARIABLE_NAME='Uptime'",
        );
      expect(Number(row?.uptime) > 2 ** 63, `${say(aheadS)}: uptime ${row?.uptime}`).toBe(aheadS < 0);
      await failsOver(epoch, fault);
    },
  );
});
