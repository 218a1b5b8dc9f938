import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeclaredCluster } from "@baton/contracts";
import { dialectFor } from "@baton/mysql";
import { afterEach, beforeEach, expect, test } from "vitest";
import { copyByDump } from "./dump.ts";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "baton-dump-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const uuid = "3174b383-5441-11e8-b90a-c80aa9429562";
const other = "4174b383-5441-11e8-b90a-c80aa9429562";
const HEADER = `-- MySQL dump
/*!50606 SET GLOBAL INNODB_STATS_AUTO_RECALC=OFF */;
/* SET @@GLOBAL.GTID_PURGED='+${uuid}:1-9,
${other}:1-3';*/
`;

/** A stand-in for a program, which only does what a real one may: tried with real ones in test/rebuild-dump.test.ts. */
function program(name: string, script: string): string {
  const path = join(dir, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

const loads = () => `cat > ${dir}/loaded`;
const dumps = (...more: string[]) => [`cat ${dir}/header`, ...more].join("\n");

async function copy(mysqldump: string, mysql: string, o: { untilMs?: number } = {}) {
  writeFileSync(join(dir, "header"), HEADER);
  const told: number[] = [];
  const d = dialectFor("9.7.4");
  const op = {
    declared: DeclaredCluster.parse({ cluster: "shop", nodes: { n1: { host: "h1" } } }),
    state: { primary: "n1" },
    ports: { now: () => performance.now(), access: () => ({ user: "baton", password: "secret" }) },
    assertMine: () => undefined,
    event: (event: { detail: { copiedBytes: number } }) => told.push(event.detail.copiedBytes),
  } as unknown as Operation;
  const hand = { node: "n2", dialect: d, threadId: 77, closed: false } as unknown as Hand;
  let emptied = false;
  const result = await copyByDump(
    op,
    hand,
    d.dump as NonNullable<typeof d.dump>,
    { mysqldump: program("mysqldump", mysqldump), mysql: program("mysql", mysql) },
    { name: "n3", target: { host: "h3", port: 3306 }, totalBytes: 10 },
    { host: "h2", port: 3306 },
    o.untilMs ?? Number.POSITIVE_INFINITY,
    async () => {
      emptied = true;
    },
  ).catch((error: unknown) => error as { code: string; message: string });
  return { result, told, emptied: () => emptied };
}

test("the guard comes first, then the text, but for what mysqldump would leave behind; the set may have many lines", async () => {
  const { result, emptied } = await copy(dumps("printf 'INSERT \\377\\n'"), loads());
  expect(result).toMatchObject({ executed: `${uuid}:1-9,${other}:1-3` });
  const [guard, ...rest] = readFileSync(join(dir, "loaded"), "latin1").split("\n");
  expect(guard).toMatch(
    /^DO IF\(GET_LOCK\('[^']+', 2\) = 1 AND IS_USED_LOCK\('baton'\) = 77, 0, \(SELECT 1 UNION SELECT 2\)\);$/,
  );
  expect(rest.join("\n")).toBe(`${HEADER.replace(/^.*RECALC.*\n/m, "")}INSERT \xff\n`);
  expect(emptied()).toBe(true);
});

test("a donor that gives nothing costs the node nothing", async () => {
  const { result, emptied } = await copy("echo 'Access denied' >&2; exit 2", loads());
  expect(result).toMatchObject({ code: "dump-failed", message: "mysqldump ended with 2: Access denied" });
  expect(emptied()).toBe(false);
  const silent = await copy("echo 'no set'", loads());
  expect(silent.result).toMatchObject({ code: "dump-failed" });
  expect(silent.emptied()).toBe(false);
});

test("a dump that breaks off is not ended like a whole one", async () => {
  const { result } = await copy(
    dumps("printf 'INSERT INTO t VALUES (1)'", "echo 'Lost connection' >&2; exit 3"),
    `${loads()}; echo whole >> ${dir}/loaded`,
  );
  expect(result).toMatchObject({ code: "dump-failed", message: "mysqldump ended with 3: Lost connection" });
  // It may be stopped before it has begun to write.
  const loaded = join(dir, "loaded");
  expect(existsSync(loaded) ? readFileSync(loaded, "utf8") : "").not.toContain("whole");
});

test("what the node refuses is told in its own words, and ends the dump", async () => {
  const { result } = await copy(
    dumps("cat /dev/zero"),
    "head -c 1000 > /dev/null; echo 'ERROR 1064' >&2; exit 1",
  );
  expect(result).toMatchObject({ code: "dump-failed", message: "mysql ended with 1: ERROR 1064" });
});

test("it has a deadline", async () => {
  const { result } = await copy(dumps("exec sleep 600"), loads(), { untilMs: performance.now() + 300 });
  expect(result).toMatchObject({ code: "deadline-exceeded" });
});
