import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { dialectFor, GtidSet } from "@baton/mysql";
import { afterAll, expect, test } from "vitest";
import { findClient } from "./client-program.ts";
import type { Hand } from "./hand.ts";
import { type KeepPart, salvage } from "./salvage.ts";

const dir = mkdtempSync(join(tmpdir(), "baton-salvage-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const uuid = "3174b383-5441-11e8-b90a-c80aa9429562";
const errant = GtidSet.parse(`${uuid}:7-8`);

/** A node with three binlog files; the transactions are in the second. It answers nothing else. */
const hand = {
  node: "n1",
  dialect: dialectFor("9.7.4"),
  async run(sql: string) {
    if (sql === "SHOW BINARY LOGS") return [["b.1", "b.2", "b.3"].map((name) => ({ Log_name: name }))];
    const before = { "b.1": "", "b.2": `${uuid}:1-6`, "b.3": `${uuid}:1-9` }[
      /IN '(.*)'/.exec(sql)?.[1] ?? ""
    ];
    return [[{ Info: "Server ver" }, { Info: before }]];
  },
} as unknown as Hand;

/** A stand-in that only says how it was called: what the real one reads is tried in test/rebuild.test.ts. */
async function withBinary(script: string, keep: KeepPart = async () => undefined, most?: number) {
  const path = join(dir, "mysqlbinlog");
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  const kept = process.env.BATON_MYSQLBINLOG;
  process.env.BATON_MYSQLBINLOG = path;
  try {
    const access = { user: "baton", password: "secret" };
    return await salvage(hand, errant, { host: "h", port: 1 }, access, 1_000, keep, most);
  } finally {
    if (kept === undefined) delete process.env.BATON_MYSQLBINLOG;
    else process.env.BATON_MYSQLBINLOG = kept;
  }
}

test("without a mysqlbinlog there is none, and a named one is not looked for elsewhere", () => {
  expect(
    findClient("mysqlbinlog", { BATON_MYSQLBINLOG: join(dir, "nothing"), PATH: process.env.PATH }),
  ).toBeNull();
});

test("begins at the file that holds the first, and keeps the password off the command line", async () => {
  const { events, lacking } = await withBinary('echo "$@"; echo "password $MYSQL_PWD"');
  expect(lacking).toBeNull();
  expect(events).toContain(`--include-gtids=${errant}`);
  expect(events?.split("\n")[0]).toMatch(/ b\.2$/);
  expect(events?.split("\n")[0]).not.toContain("secret");
  expect(events?.split("\n")[1]).toBe("password secret");
});

test("positions of what was left out are dropped", async () => {
  expect((await withBinary("printf '# at 1\\n# at 2\\n# at 3\\nrow\\n'")).events).toBe("# at 3\nrow");
});

test("what is too much for an event is kept beside it, all of it, in parts", async () => {
  const kept: Buffer[] = [];
  const ends: boolean[] = [];
  // Random, so that packing does not make it small.
  const saved = await withBinary(
    "head -c 1500000 /dev/urandom | od -An -v -tx1",
    async (part, packed, last) => {
      expect(part).toBe(kept.length);
      kept.push(Buffer.from(packed));
      ends.push(last);
    },
  );
  expect(saved).toMatchObject({ truncated: true, lacking: null, parts: kept.length });
  expect(Buffer.byteLength(saved.events ?? "")).toBeLessThanOrEqual(256 * 1024);
  expect(kept.length).toBeGreaterThan(2);
  expect(ends).toEqual([...kept.slice(1).map(() => false), true]);
  const all = gunzipSync(Buffer.concat(kept)).toString();
  expect(all.replaceAll(/\s/g, "")).toHaveLength(3_000_000);
  expect(all.startsWith(saved.events ?? "?")).toBe(true);
});

test("a part that cannot be kept is said, and so is what has no end", async () => {
  const { lacking } = await withBinary("head -c 900000 /dev/urandom | od -An -v -tx1", async () => {
    throw new Error("no room");
  });
  expect(lacking).toMatch(/only the GTIDs are kept: no room/);
  let parts = 0;
  const count = async () => void parts++;
  const endless = await withBinary("cat /dev/urandom | od -An -v -tx1", count, 3);
  expect(parts).toBe(3);
  expect(endless).toMatchObject({ truncated: true, lacking: expect.stringContaining("more than") });
});

test("one that fails leaves the GTIDs alone, with its complaint", async () => {
  const { events, lacking } = await withBinary("echo 'no such user' >&2; exit 1");
  expect(events).toBeNull();
  expect(lacking).toMatch(/only the GTIDs are kept: mysqlbinlog ended with 1: no such user/);
});
