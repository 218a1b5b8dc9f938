/** The same faults on real MariaDB: the primary dies, hangs, hands over. Expectation: nothing acknowledged is lost, one pen, every node home. */
import { monotonicMs } from "@baton/lab";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

async function roles(stage: Stage) {
  return Promise.all(
    stage.lab.nodes.map(async (node) => {
      const [row] = await node.query<Record<string, number>>(
        "SELECT @@GLOBAL.read_only ro, @@GLOBAL.rpl_semi_sync_master_enabled source, @@GLOBAL.rpl_semi_sync_slave_enabled replica",
      );
      return { node: node.name, ...row };
    }),
  );
}

/** The primary writes and waits for acks, all others acknowledge and are read-only. */
async function expectInPlace(stage: Stage, primary: string): Promise<void> {
  for (const { node, ...role } of await roles(stage))
    expect({ node, ...role }).toEqual(
      node === primary ? { node, ro: 0, source: 1, replica: 0 } : { node, ro: 1, source: 0, replica: 1 },
    );
}

describe("MariaDB under load", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await startStage({ lab: { flavour: "mariadb" } });
  });
  afterAll(async () => {
    await stage?.stop();
  });

  it.each(["kill", "hang"] as const)(
    "the primary's %s passes the baton without losing a write",
    async (fault) => {
      // Many at once, so that there are commit groups whose leader waits for the others' ack too.
      const writer = stage.lab.writer({ connections: 12 });
      const before = await stage.whole();
      await stage.until("writes flow", () => (writer.acknowledged() > 200 ? true : null));
      const old = stage.lab.node(before.primary as string);
      const seen = stage.events.length;
      writer.fault(fault === "kill" ? old.killNow() : old.hang());
      const downtimeMs = await writer.recovered(30_000);
      const ended = await stage.event(
        "operation-ended",
        (e) => stage.events.indexOf(e) >= seen && e.kind === "failover",
      );
      expect(ended.outcome, ended.summary).toBe("completed");
      const proof = await stage.until(
        "the canary",
        () => stage.steps.find((s) => s.operation === ended.operation && s.step === "prove") ?? null,
      );
      expect(proof.outcome, proof.summary).toBe("done");

      // Unacknowledged writes of a killed primary come back with it: then it is shut away, and given empty data here.
      await stage.bringHome(old.name);
      const after = await stage.whole();
      expect(after.epoch).toBe(before.epoch + 1);
      expect(after.primary).not.toBe(old.name);
      await expectInPlace(stage, after.primary as string);

      const report = await writer.stop();
      console.log(`${fault}: ${Math.round(downtimeMs)} ms; errors ${JSON.stringify(report.errors)}`);
      expect(report.lost).toEqual([]);
      expect(report.split).toEqual([]);
      expect(report.acknowledged).toBeGreaterThan(300);
    },
  );

  it("switches over there and back, and the old primary follows", async () => {
    const writer = stage.lab.writer();
    await stage.until("writes flow", () => (writer.acknowledged() > 200 ? true : null));
    const first = (await stage.whole()).primary as string;
    const [other] = stage.lab.nodes.filter((n) => n.name !== first).map((n) => n.name);
    for (const to of [other as string, first]) {
      const before = await stage.whole();
      writer.fault(monotonicMs());
      const order = await stage.bus.command("switchover", {
        cluster: "shop",
        to,
        dryRun: false,
        force: false,
      });
      const ended = await stage.event("operation-ended", (e) => e.operation === order.operation, 60_000);
      expect(ended.outcome, ended.summary).toBe("completed");
      const after = await stage.whole();
      expect(after).toMatchObject({ primary: to, epoch: before.epoch + 1 });
      await expectInPlace(stage, to);
    }
    const report = await writer.stop();
    expect(report.lost).toEqual([]);
    expect(report.split).toEqual([]);
    expect(report.late).toBe(0);
  });

  it("leads a killed replica and an idle killed primary home without a rebuild", async () => {
    const { primary } = await stage.whole();
    const replica = stage.lab.nodes.find((n) => n.name !== primary) as Stage["lab"]["nodes"][number];
    await replica.kill();
    expect(await stage.bringHome(replica.name)).toBe("node-rejoined");
    const { primary: old } = await stage.whole();
    const node = stage.lab.node(old as string);
    const seen = stage.events.length;
    node.killNow();
    await stage.event("primary-changed", (e) => stage.events.indexOf(e) >= seen);
    expect(await stage.bringHome(node.name)).toBe("node-rejoined");
    await expectInPlace(stage, (await stage.whole()).primary as string);
  });

  it("refuses to rebuild, with a code", async () => {
    const { nodes } = await stage.whole();
    const node = nodes.find((n) => n.role === "replica")?.node as string;
    const refused = await stage.bus
      .command("rebuild", { cluster: "shop", node, from: null })
      .then(() => null)
      .catch((error: Error & { code: string }) => ({ code: error.code, message: error.message }));
    expect(refused).toMatchObject({ code: "E_CONFLICT", message: expect.stringContaining("flavour-cannot") });
  });
});
