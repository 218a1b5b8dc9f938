/**
 * Fault: the primary dies while the replica that is preferred is behind. Expectation: it catches up from the most advanced one
 * and is promoted; when it does not make it in time, the most advanced one is; with nobody else, all is put back.
 */
import type { DeclaredCluster, StepName } from "@baton/contracts";
import { afterEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

type Rules = Record<string, "prefer" | "neutral" | "never">;

/** n1 is the primary, and n2 lacks what n3 has; then n1 dies under writers. */
async function dieWhileBehind(
  s: Stage,
  rules: Rules,
  deadlines: Partial<Deadlines>,
  before?: () => Promise<void>,
) {
  await declare(s, rules, deadlines);
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  await s.lab.node("n2").query("STOP REPLICA IO_THREAD"); // MariaDB knows the word, too.
  // So that it is what it has not received that it lacks, whatever is done to its applier from now on.
  await s.until("n2 has applied what it received", () => appliedAll(s, "n2"));
  await before?.();
  const from = writer.acknowledged();
  await s.until("n2 is behind", () => (writer.acknowledged() > from + 100 ? true : null));
  writer.fault(s.lab.node("n1").killNow());
  return writer;
}

async function appliedAll(s: Stage, node: string): Promise<true | null> {
  const n = s.lab.node(node);
  if (s.lab.flavour === "mariadb") {
    const [row] = await n.query<Record<string, string>>("SHOW ALL SLAVES STATUS");
    return row?.Gtid_IO_Pos === row?.Gtid_Slave_Pos ? true : null;
  }
  const [row] = await n.query<{ all: number }>(
    "SELECT GTID_SUBSET(RECEIVED_TRANSACTION_SET, @@gtid_executed) AS `all` FROM performance_schema.replication_connection_status",
  );
  return row?.all === 1 ? true : null;
}

type Deadlines = DeclaredCluster["policy"]["deadlines"];

async function declare(s: Stage, rules: Rules, deadlines: Partial<Deadlines>) {
  const clusters = s.bus.bucket("baton_clusters");
  const declared = (await clusters.get("shop"))?.value as DeclaredCluster;
  const { policy } = declared;
  await clusters.put("shop", {
    ...declared,
    policy: { ...policy, deadlines: { ...policy.deadlines, ...deadlines } },
    nodes: Object.fromEntries(
      Object.entries(declared.nodes).map(([node, d]) => [
        node,
        { ...d, promotion: rules[node] ?? "neutral" },
      ]),
    ),
  });
}

/** Nothing that replicates can write to the table on this node until it is released. */
async function holdTable(s: Stage, node: string): Promise<() => Promise<void>> {
  const n = s.lab.node(node);
  const held = n.query("LOCK TABLES app.writes READ; SELECT SLEEP(600)").catch(() => undefined);
  const sleeper = await s.until("the table is held", async () => {
    const [row] = await n.query<{ id: number }>(
      "SELECT ID AS id FROM performance_schema.processlist WHERE STATE = 'User sleep'",
    );
    return row ?? null;
  });
  return async () => {
    await n.query(`KILL ${Number(sleeper.id)}`);
    await held;
  };
}

const stepsOf = (s: Stage, step: StepName) => s.steps.filter((x) => x.kind === "failover" && x.step === step);

async function prove(s: Stage, writer: ReturnType<Stage["lab"]["writer"]>, primary: string) {
  await writer.recovered(40_000);
  const ended = await s.event("operation-ended", (e) => e.kind === "failover" && e.outcome === "completed");
  expect(ended.node).toBe(primary);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
  expect(report.finalPrimary).toBe(primary);
  await s.bringHome("n1");
  expect((await s.whole()).primary).toBe(primary);
}

it.each(["mysql", "mariadb"] as const)(
  "it catches up from the most advanced one and is promoted: %s",
  async (flavour) => {
    stage = await startStage({ lab: { flavour } });
    const writer = await dieWhileBehind(stage, { n2: "prefer" }, {});
    await prove(stage, writer, "n2");
    const [first, second] = stepsOf(stage, "choose");
    expect(first?.detail).toMatchObject({ candidate: "n2", source: "n3" });
    expect(second?.detail).toMatchObject({ candidate: "n2", source: null });
    const catchUp = stepsOf(stage, "catch-up")[0];
    expect(catchUp).toMatchObject({ outcome: "done", detail: { source: "n3" } });
  },
);

it("its executor dies right after that: the successor promotes it", async () => {
  stage = await startStage({
    services: { executor: 2 },
    env: { executor: { BATON_FAULT_POINT: "after:catch-up=kill" } },
  });
  const writer = await dieWhileBehind(stage, { n2: "prefer" }, {});
  await prove(stage, writer, "n2");
  expect(stage.steps.some((x) => x.takeovers > 0)).toBe(true);
});

it("it cannot apply in time: the most advanced one is promoted", async () => {
  stage = await startStage();
  const s = stage;
  let release = async () => {};
  const writer = await dieWhileBehind(s, { n2: "prefer" }, { preferMs: 500 }, async () => {
    release = await holdTable(s, "n2");
  });
  await writer.recovered(40_000);
  await release();
  await prove(s, writer, "n3");
  const [, second] = stepsOf(s, "choose");
  expect(second?.detail).toMatchObject({ candidate: "n3", source: null });
  expect(second?.detail.notChosen).toEqual([
    { node: "n2", reason: expect.stringContaining("did not catch up from n3 within 500 ms") },
  ]);
});

it("nobody else may be promoted: refused, its source is put back, and tried again when it can", async () => {
  stage = await startStage();
  const s = stage;
  let release = async () => {};
  const { epoch } = await s.status();
  const writer = await dieWhileBehind(s, { n3: "never" }, { catchUpMs: 500 }, async () => {
    release = await holdTable(s, "n2");
  });
  const refused = await s.event("operation-ended", (e) => e.outcome === "rolled-back");
  expect(refused.code).toBe("catch-up-timeout");
  expect(refused.detail.notRestored).toEqual({});
  expect(await s.status()).toMatchObject({ primary: "n1", epoch, phase: "steady" });
  // As it was: both follow n1, n2's receiver is the one that was stopped by hand.
  const { port } = s.lab.node("n1");
  expect(await channel(s, "n2")).toEqual({ port, receiver: "OFF", applier: "ON", readOnly: 1 });
  expect(await channel(s, "n3")).toEqual({ port, receiver: "CONNECTING", applier: "ON", readOnly: 1 });
  await release();
  await prove(s, writer, "n2");
});

async function channel(s: Stage, node: string) {
  const [row] = await s.lab.node(node).query<Record<string, unknown>>(
    `SELECT c.PORT port, s.SERVICE_STATE receiver, a.SERVICE_STATE applier, @@super_read_only readOnly
      FROM performance_schema.replication_connection_configuration c,
        performance_schema.replication_connection_status s, performance_schema.replication_applier_status a`,
  );
  return row;
}
