/**
 * Fault: the primary dies while its replicas have received half of a large transaction. Expectation: nobody waits for the other half,
 * which will never come; the failover is made, and what was acknowledged is kept.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { LabNode } from "@baton/lab";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

/** One transaction is more than the sockets' buffers hold, so that the rest dies with its sender. */
const ROWS = 150;
const ROW = 300_000;

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
  await stage.whole();
});
afterAll(async () => {
  await stage?.stop();
});

/** Bytes of its relay logs. */
function relayed(node: LabNode): number {
  const data = join(node.dir, "data");
  const logs = readdirSync(data).filter((file) => /relay.*\.\d+$/.test(file));
  return logs.reduce((sum, file) => sum + statSync(join(data, file)).size, 0);
}

it("replicas that hung within a large transaction are fenced, promoted and repointed without its other half", async () => {
  const { lab } = stage;
  const [n1, ...replicas] = ["n1", "n2", "n3"].map((name) => lab.node(name)) as [LabNode, ...LabNode[]];
  await n1.query("CREATE TABLE app.large (id INT PRIMARY KEY, body LONGTEXT)");
  let acknowledged = 0;
  const writing = (async () => {
    for (;;) {
      await n1.query(
        `INSERT INTO app.large WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ${ROWS})
         SELECT ${acknowledged} * 1000 + n, REPEAT('x', ${ROW}) FROM c`,
      );
      acknowledged += 1;
    }
  })().catch(() => undefined);
  await stage.until("large transactions flow", () => (acknowledged > 1 ? true : null));
  for (const node of replicas) {
    const before = relayed(node);
    await stage.until("it is in a transaction", () => (relayed(node) > before + 5_000_000 ? true : null));
    node.hang();
  }
  await n1.killNow();
  await writing;
  for (const node of replicas) node.resume();
  const halves = await Promise.all(
    replicas.map((node) =>
      node.query<{ half: number }>(
        `SELECT COUNT(*) half FROM performance_schema.replication_applier_status_by_coordinator c
         JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME)
         WHERE NOT GTID_SUBSET(c.PROCESSING_TRANSACTION, s.RECEIVED_TRANSACTION_SET)`,
      ),
    ),
  );
  expect(halves.flat().some(({ half }) => Number(half) === 1)).toBe(true);
  const ended = await stage.event("operation-ended", (e) => e.kind === "failover");
  expect(ended.outcome).toBe("completed");
  // The one whose answer was lost with the primary may be there too.
  for (const node of replicas) {
    await stage.until(`${node.name} has what was acknowledged`, async () => {
      const [row] = await node.query<{ n: number }>("SELECT COUNT(DISTINCT id DIV 1000) n FROM app.large");
      return [acknowledged, acknowledged + 1].includes(Number(row?.n)) ? true : null;
    });
  }
});
