import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { COMMANDS, MESSAGES } from "@baton/contracts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Archive, openArchive } from "./archive.ts";
import { history } from "./history.ts";
import { alert, diagnosis, draft, failover, intent, step, T0, traceOf } from "./story.testkit.ts";

let folder: string;
let archive: Archive;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "baton-auditor-"));
  archive = openArchive(join(folder, "audit.sqlite"));
});
afterEach(() => {
  archive.close();
  rmSync(folder, { recursive: true, force: true });
});
const ask = (operation: string | null, o: { cluster?: string; limit?: number } = {}) =>
  COMMANDS.history.reply.parse(
    history(archive, "auditor-a", { operation, cluster: o.cluster ?? null, limit: o.limit ?? 20 }),
  );

test("operations are listed newest first, with what they came to", () => {
  archive.store(failover("failover-shop-2-a", 1, 0));
  archive.store(failover("failover-mail-2-b", 2, 50, "mail"));
  archive.store([draft(MESSAGES.intent, intent("failover-shop-3-c"), { atMs: 9_000, trace: 3 })]);
  const { operations, records } = ask(null);
  expect(records).toEqual([]);
  expect(operations.map((o) => o.operation)).toEqual([
    "failover-shop-3-c",
    "failover-mail-2-b",
    "failover-shop-2-a",
  ]);
  expect(operations[2]).toEqual({
    operation: "failover-shop-2-a",
    cluster: "shop",
    kind: "failover",
    epoch: 2,
    node: "n1",
    outcome: "completed",
    code: null,
    startedUnixMs: T0 + 1,
    tookMs: 60,
    summary: "n2 is the primary",
    traceId: traceOf(1),
  });
  expect(operations[0]).toMatchObject({ outcome: null, tookMs: null, summary: "n1 is dead", epoch: 1 });
  expect(ask(null, { cluster: "mail" }).operations.map((o) => o.operation)).toEqual(["failover-mail-2-b"]);
  expect(ask(null, { limit: 1 }).operations.length).toBe(1);
});

test("one operation comes with the records of its trace in time order, however they arrived", () => {
  const story = failover("failover-shop-2-a", 1);
  archive.store(story.toReversed());
  archive.store(failover("failover-mail-2-b", 2, 0, "mail"));
  // Of the same trace, but another operation's or another cluster's.
  archive.store([
    draft(MESSAGES.intent, intent("failover-shop-2-later"), { atMs: 100, trace: 1 }),
    draft(MESSAGES.diagnosis, diagnosis("mail"), { atMs: 3, trace: 1 }),
  ]);
  const { operations, records } = ask("failover-shop-2-a");
  expect(operations.length).toBe(1);
  expect(records.map((r) => r.kind)).toEqual(["diagnosis", "intent", "step", "step", "event", "alert"]);
  expect(records.map((r) => r.sha256)).toEqual(story.map((d) => d.sha256));
  expect(records[0]?.payload).toEqual(diagnosis());
});

test("in one millisecond cause comes before effect", () => {
  const at = { atMs: 0, trace: 1 };
  archive.store([
    draft(MESSAGES.alert, alert("a"), at),
    draft(MESSAGES.step, step("failover-shop-2-a"), at),
    draft(MESSAGES.intent, intent("failover-shop-2-a"), at),
    draft(MESSAGES.diagnosis, diagnosis(), at),
  ]);
  expect(ask("failover-shop-2-a").records.map((r) => r.kind)).toEqual([
    "diagnosis",
    "intent",
    "step",
    "alert",
  ]);
});

test("without a trace an operation still has its own records", () => {
  archive.store(failover("failover-shop-2-a", 0));
  archive.store(failover("failover-shop-2-b", 0));
  expect(ask("failover-shop-2-a").records.map((r) => r.kind)).toEqual(["intent", "step", "step", "event"]);
});

test("an unambiguous beginning of the id is enough; an exact id wins over longer ones", () => {
  archive.store(failover("failover-shop-2-a", 1));
  archive.store(failover("failover-shop-2-ab", 2));
  expect(ask("failover-shop-2-ab").operations[0]?.operation).toBe("failover-shop-2-ab");
  expect(ask("failover-shop-2-a").operations[0]?.operation).toBe("failover-shop-2-a");
  expect(() => ask("failover-shop")).toThrow(expect.objectContaining({ code: "E_CONFLICT" }));
  expect(() => ask("failover-shop")).toThrow("failover-shop-2-a, failover-shop-2-ab");
  expect(() => ask("switchover")).toThrow(expect.objectContaining({ code: "E_NOT_FOUND" }));
  expect(() => ask("%")).toThrow(expect.objectContaining({ code: "E_NOT_FOUND" }));
  expect(() => ask("failover-shop-2-a", { cluster: "mail" })).toThrow(
    expect.objectContaining({ code: "E_NOT_FOUND" }),
  );
});

test("a story too long for one reply keeps its records, the last without payload", () => {
  const big = { ...step("failover-shop-2-a"), detail: { text: "x".repeat(200_000) } };
  archive.store([0, 1, 2, 3].map((i) => draft(MESSAGES.step, { ...big, atMs: i }, { atMs: i, trace: 1 })));
  const { records } = ask("failover-shop-2-a");
  expect(records.map((r) => r.payload === null)).toEqual([false, false, true, true]);
});
