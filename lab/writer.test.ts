import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lab, monotonicMs, startLab, type Writer } from "./index.ts";
import { until } from "./until.ts";

// Two independent writable servers are all that a second pen needs.
let lab: Lab;

beforeAll(async () => {
  lab = await startLab({ nodes: 2, natsServers: 0, replication: false });
  await lab.node("n2").query("SET GLOBAL read_only=ON");
}, 60_000);

afterAll(() => lab?.stop(), 30_000);

async function moreThan(writer: Writer, count: number): Promise<void> {
  await until(async () => writer.acknowledged() > count, {
    timeoutMs: 20_000,
    onTimeout: () => new Error(`stuck: ${JSON.stringify(writer.snapshot())}`),
  });
}

async function openOnly(name: "n1" | "n2"): Promise<void> {
  await lab.node(name === "n1" ? "n2" : "n1").query("SET GLOBAL read_only=ON");
  await lab.node(name).query("SET GLOBAL read_only=OFF");
}

test("counts what the server has, with the server that acknowledged", async () => {
  await openOnly("n1");
  const ids: string[] = [];
  const writer = lab.writer({ onAck: (ack) => ids.push(ack.id) });
  await moreThan(writer, 50);
  expect(writer.snapshot().node).toBe("n1");
  expect(writer.rate()).toBeGreaterThan(0);
  const report = await writer.stop();
  const [row] = await lab
    .node("n1")
    .query<{ n: number; uuid: string }>(
      "SELECT COUNT(*) AS n, @@server_uuid AS uuid FROM app.writes WHERE id IN (?)",
      [ids],
    );
  expect(row?.n).toBe(ids.length);
  expect(report).toMatchObject({
    acknowledged: ids.length,
    perServer: { [row?.uuid ?? ""]: ids.length },
    lost: [],
    split: [],
    downtimeMs: null,
    finalPrimary: "n1",
  });
});

test("an acknowledged row that was deleted is reported lost", async () => {
  await openOnly("n1");
  const ids: string[] = [];
  const writer = lab.writer({ onAck: (ack) => ids.push(ack.id) });
  await moreThan(writer, 20);
  await lab.node("n1").query("DELETE FROM app.writes WHERE id = ?", [ids[7]]);
  expect((await writer.stop()).lost).toEqual([ids[7]]);
});

test("finds the node that became writable and measures how long that took", async () => {
  await openOnly("n1");
  const writer = lab.writer();
  await moreThan(writer, 20);
  const faultMs = lab.node("n1").killNow();
  writer.fault(faultMs);
  await lab.node("n2").query("SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF");
  const downtimeMs = await writer.recovered(20_000);
  expect(downtimeMs).toBeGreaterThan(0);
  const report = await writer.stop();
  expect(report.downtimeMs).toBe(downtimeMs);
  expect(report.finalPrimary).toBe("n2");
  // The two servers do not replicate: all that n1 acknowledged is missing on n2.
  expect(report.lost.length).toBeGreaterThan(20);
  expect(report.split).toEqual([]);
  await lab.node("n1").start();
  await lab.node("n1").query("SET GLOBAL super_read_only=OFF");
}, 30_000);

test("a late acknowledgement by the server it has left is told, and lost where the new history lacks it", async () => {
  await openOnly("n1");
  const writer = lab.writer();
  await moreThan(writer, 20);
  const [before] = await lab.node("n1").query<{ uuid: string }>("SELECT @@server_uuid AS uuid");
  writer.fault(lab.node("n1").hang());
  await lab.node("n2").query("SET GLOBAL read_only=OFF");
  await writer.recovered(20_000);
  expect(writer.snapshot().hanging).toBeGreaterThan(0);
  lab.node("n1").resume();
  await until(async () => writer.snapshot().hanging === 0, {
    timeoutMs: 10_000,
    onTimeout: () => new Error("the resumed server never answered"),
  });
  const report = await writer.stop();
  expect(report.late).toBeGreaterThan(0);
  expect(report.perServer[before?.uuid ?? ""]).toBeGreaterThan(20);
  // n2 replicates from nobody here: what n1 answered late is nowhere in its history.
  expect(report.lost.length).toBeGreaterThanOrEqual(report.late);
}, 30_000);

test("says so when no server takes writes again", async () => {
  await openOnly("n1");
  const writer = lab.writer();
  await moreThan(writer, 5);
  await lab.node("n1").query("SET GLOBAL read_only=ON");
  writer.fault(monotonicMs());
  await expect(writer.recovered(200)).rejects.toMatchObject({ code: "not-recovered" });
  await lab.node("n1").query("SET GLOBAL read_only=OFF");
  expect((await writer.stop()).lost).toEqual([]);
}, 30_000);
