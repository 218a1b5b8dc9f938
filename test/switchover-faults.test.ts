/** Faults in the middle of a switchover. Expectation: before the commit the primary gets its pen back, after it a successor goes on. */
import { readFileSync } from "node:fs";
import { monotonicMs, type Writer } from "@baton/lab";
import { afterEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

const order = async (s: Stage, to: string) => {
  const { operation } = await s.bus.command("switchover", {
    cluster: "shop",
    to,
    dryRun: false,
    force: false,
  });
  return operation as string;
};
const ended = (s: Stage, operation: string) =>
  s.event("operation-ended", (e) => e.operation === operation, 60_000);

async function writing(s: Stage) {
  const writer = s.lab.writer();
  await s.until("writes flow", () => (writer.acknowledged() > 50 ? true : null));
  return writer;
}

async function role(s: Stage, node: string) {
  const [row] = await s.lab
    .node(node)
    .query<Record<string, number>>("SELECT @@super_read_only sro, @@rpl_semi_sync_source_enabled source");
  return row;
}

/** Writes that are sent from now on are acknowledged, and nothing was lost on the way. */
async function goOnAndProve(writer: Awaited<ReturnType<typeof writing>>) {
  writer.fault(monotonicMs());
  await writer.recovered(20_000);
  const report = await writer.stop();
  expect(report.lost).toEqual([]);
  expect(report.split).toEqual([]);
}

it("the candidate's applier is blocked: given up before anything is frozen", async () => {
  stage = await startStage();
  const writer = await writing(stage);
  const clusters = stage.bus.bucket("baton_clusters");
  const declared = (await clusters.get("shop"))?.value;
  if (declared === undefined) throw new Error("shop is not declared");
  const { policy } = declared;
  await clusters.put("shop", {
    ...declared,
    policy: { ...policy, deadlines: { ...policy.deadlines, catchUpMs: 1_000 } },
  });
  const backup = stage.lab.node("n2").query("FLUSH TABLES WITH READ LOCK; SELECT SLEEP(8)");
  await stage.until("the applier stands", async () => {
    const [row] = (await stage?.lab
      .node("n2")
      .query<Record<string, unknown>>(
        "SELECT 1 FROM performance_schema.metadata_locks WHERE OBJECT_TYPE = 'GLOBAL' AND LOCK_TYPE = 'SHARED' AND LOCK_STATUS = 'GRANTED'",
      )) ?? [undefined];
    return row === undefined ? null : true;
  });
  const operation = await order(stage, "n2");
  expect(await ended(stage, operation)).toMatchObject({ outcome: "rolled-back", code: "catch-up-timeout" });
  expect(stage.steps.some((s) => s.operation === operation && s.step === "freeze")).toBe(false);
  expect(await role(stage, "n1")).toEqual({ sro: 0, source: 1 });
  await goOnAndProve(writer);
  await backup;
  expect((await stage.whole()).primary).toBe("n1");
  // n3 had been pointed at the candidate: the operation itself has pointed it back.
  expect(stage.intents.filter((i) => i.kind === "rejoin")).toEqual([]);
});

it("the candidate dies while the primary is frozen: the primary writes again", async () => {
  stage = await startStage({ env: { executor: { BATON_FAULT_POINT: "after:freeze=pause" } } });
  const s = stage;
  const writer = await writing(s);
  const { epoch } = await s.status();
  const operation = await order(s, "n2");
  await s.until("the primary is frozen", async () => ((await role(s, "n1"))?.sro === 1 ? true : null));
  await s.lab.node("n2").kill();
  s.system.program("executor-1").resume();
  expect(await ended(s, operation)).toMatchObject({ outcome: "rolled-back", code: "node-lost" });
  expect(await role(s, "n1")).toEqual({ sro: 0, source: 1 });
  expect(await s.status()).toMatchObject({ primary: "n1", epoch, phase: "steady" });
  await goOnAndProve(writer);
  expect(s.diagnoses.filter((d) => d.code === "primary-read-only")).toEqual([]);
  await s.lab.node("n2").start();
  await s.whole();
});

it("the executor dies while the primary is frozen: its successor gives the pen back", async () => {
  stage = await startStage({
    services: { executor: 2 },
    env: { executor: { BATON_FAULT_POINT: "after:freeze=kill" } },
  });
  const writer = await writing(stage);
  const { epoch } = await stage.status();
  const operation = await order(stage, "n2");
  expect(await ended(stage, operation)).toMatchObject({ outcome: "rolled-back", code: "executor-lost" });
  expect(await role(stage, "n1")).toEqual({ sro: 0, source: 1 });
  expect(await stage.status()).toMatchObject({ primary: "n1", epoch });
  await goOnAndProve(writer);
  expect(stage.exits.filter((name) => name.startsWith("executor"))).toHaveLength(1);
  await stage.whole();
  expect(stage.intents.filter((i) => i.kind === "rejoin")).toEqual([]);
});

it.each(["commit", "open"])("the executor dies after %s: its successor carries it forward", async (step) => {
  stage = await startStage({
    services: { executor: 2 },
    env: { executor: { BATON_FAULT_POINT: `after:${step}=kill` } },
  });
  const s = stage;
  const writer = await writing(s);
  const { epoch } = await s.status();
  const operation = await order(s, "n2");
  expect(await ended(s, operation)).toMatchObject({ outcome: "completed", epoch: epoch + 1 });
  expect(s.steps.some((each) => each.operation === operation && each.takeovers > 0)).toBe(true);
  const after = await s.whole();
  expect(after).toMatchObject({ primary: "n2", epoch: epoch + 1 });
  expect(await role(s, "n1")).toEqual({ sro: 1, source: 0 });
  expect(await role(s, "n2")).toEqual({ sro: 0, source: 1 });
  await goOnAndProve(writer);
  expect(s.intents.filter((i) => i.kind === "failover")).toEqual([]);
});

it("a backup's lock forbids it; a statement that does not end and a transaction left open are cut off", async () => {
  stage = await startStage();
  const s = stage;
  const n1 = s.lab.node("n1");
  /** Runs until it is told to sleep; resolves at its end with what became of it. */
  const begin = async (sql: string, sleepers: number): Promise<{ end: Promise<string> }> => {
    const end = n1.query(sql).then(
      () => "ended",
      () => "cut off",
    );
    await s.until("it sleeps", async () => {
      const rows = await n1.query("SELECT 1 FROM performance_schema.processlist WHERE STATE = 'User sleep'");
      return rows.length === sleepers ? true : null;
    });
    return { end };
  };
  const backup = await begin("FLUSH TABLES WITH READ LOCK; SELECT SLEEP(4)", 1);
  const refused = await ended(s, await order(s, "n2"));
  expect(refused).toMatchObject({ outcome: "rolled-back", code: "not-ready" });
  expect(refused.summary).toContain("global read lock");
  expect(await backup.end).toBe("ended");
  await s.whole();

  const statement = await begin("INSERT INTO app.writes SELECT CONCAT('slow', SLEEP(60)), 'x', 0", 1);
  const transaction = await begin(
    "START TRANSACTION; INSERT INTO app.writes VALUES ('open', 'x', 0); SELECT SLEEP(60); COMMIT",
    2,
  );
  const operation = await order(s, "n2");
  expect(await ended(s, operation)).toMatchObject({ outcome: "completed" });
  expect(await statement.end).toBe("cut off");
  expect(await transaction.end).toBe("cut off");
  const freeze = s.steps.find((each) => each.operation === operation && each.step === "freeze");
  expect(freeze?.summary).toContain("cut off: 1");
  await s.whole();
  for (const node of s.lab.nodes)
    expect(await node.query("SELECT id FROM app.writes WHERE server = 'x'")).toEqual([]);
});

/** NATS stands still from when the executor has come to `point`, with the primary frozen. */
async function withoutNatsAt(point: string): Promise<{ s: Stage; writer: Writer; operation: string }> {
  stage = await startStage({ env: { executor: { BATON_FAULT_POINT: `${point}=pause` } } });
  const s = stage;
  const writer = await writing(s);
  const operation = await order(s, "n2");
  const executor = s.system.program("executor-1");
  await s.until("the executor stands at its point", () =>
    /^\d+ \(.*\) T/.test(readFileSync(`/proc/${executor.pid}/stat`, "utf8")) ? true : null,
  );
  expect(await role(s, "n1")).toMatchObject({ sro: 1 });
  s.lab.nats.servers[0]?.hang();
  return { s, writer, operation };
}

it("NATS goes away as the commit is sent: the primary writes again meanwhile, and whatever NATS has taken, no write is lost", async () => {
  const { s, writer, operation } = await withoutNatsAt("before:commit");
  writer.fault(monotonicMs());
  s.system.program("executor-1").resume();
  await writer.recovered(20_000);
  expect(await role(s, "n1")).toEqual({ sro: 0, source: 1 });
  expect(await role(s, "n2")).toMatchObject({ sro: 1 });
  s.lab.nats.servers[0]?.resume();
  expect((await ended(s, operation)).outcome).toMatch(/^(completed|rolled-back)$/);
  await goOnAndProve(writer);
  const { primary } = await s.whole();
  for (const node of ["n1", "n2"])
    expect(await role(s, node)).toMatchObject({ sro: node === primary ? 0 : 1 });
  expect(s.events.filter((e) => e.type === "node-quarantined")).toEqual([]);
});

it("NATS and the candidate go away while the primary is frozen: it is opened again without NATS", async () => {
  const { s, writer, operation } = await withoutNatsAt("after:freeze");
  await s.lab.node("n2").kill();
  s.system.program("executor-1").resume();
  await s.until("the primary is opened", async () => ((await role(s, "n1"))?.sro === 0 ? true : null));
  s.lab.nats.servers[0]?.resume();
  expect(await ended(s, operation)).toMatchObject({ outcome: "rolled-back" });
  await goOnAndProve(writer);
  expect(await s.status()).toMatchObject({ primary: "n1", phase: "steady" });
  await s.lab.node("n2").start();
  await s.whole();
});
