import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BatonError, MESSAGES } from "@baton/contracts";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Archive, openArchive } from "./archive.ts";
import { alert, draft, failover } from "./story.testkit.ts";
import { verifyFile } from "./verify.ts";

let folder: string;
let file: string;
const opened: Archive[] = [];
const open = (...args: Parameters<typeof openArchive>): Archive => {
  const archive = openArchive(...args);
  opened.push(archive);
  return archive;
};
/** The BatonError that `act` throws. */
const faultOf = (act: () => unknown): BatonError => {
  try {
    act();
  } catch (error) {
    if (error instanceof BatonError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "baton-auditor-"));
  file = join(folder, "audit.sqlite");
});
afterEach(() => {
  for (const archive of opened.splice(0)) archive.close();
  rmSync(folder, { recursive: true, force: true });
});

describe("storing", () => {
  test("keeps the payload as received, and the same archive after it was closed", () => {
    const first = open(file);
    const drafts = failover("failover-shop-2-a", 1);
    expect(first.store(drafts)).toMatchObject({ stored: 6, duplicates: 0 });
    const { id } = first;
    const head = first.head();
    first.close();
    const again = open(file);
    expect(again.id).toBe(id);
    expect(again.head()).toEqual(head);
    expect(again.recordsOf("failover-shop-2-a").map((r) => r.payload)).toEqual(
      drafts.filter((d) => d.operation !== null).map((d) => d.payload),
    );
    expect(again.verify()).toMatchObject({ holds: true, records: 6, head: head.chain });
  });

  test("a message delivered twice is stored once, in one burst and in two", () => {
    const archive = open(file);
    const drafts = failover("failover-shop-2-a", 1);
    expect(archive.store([...drafts, ...drafts])).toMatchObject({ stored: 6, duplicates: 6 });
    expect(archive.store(drafts)).toMatchObject({ stored: 0, duplicates: 6 });
    expect(archive.verify()).toMatchObject({ holds: true, records: 6 });
  });

  test("another message with a used id is not lost", () => {
    const archive = open(file);
    archive.store([draft(MESSAGES.alert, alert("a"), { atMs: 0, trace: 1, id: "same" })]);
    archive.store([draft(MESSAGES.alert, alert("b"), { atMs: 0, trace: 1, id: "same" })]);
    expect(archive.head().seq).toBe(2);
  });

  test("a burst of which one record cannot be stored leaves nothing", () => {
    const archive = open(file);
    const [good] = failover("failover-shop-2-a", 1);
    const bad = { ...good!, id: "bad", cluster: null as unknown as string };
    expect(faultOf(() => archive.store([good!, bad])).code).toBe("E_STORE");
    expect(archive.head().seq).toBe(0);
    expect(archive.store([good!])).toMatchObject({ stored: 1, duplicates: 0 });
  });

  test("survives kill -9 of its process: all that was returned is there", async () => {
    const program = `
      import { openArchive } from ${JSON.stringify(new URL("./archive.ts", import.meta.url).href)};
      import { failover } from ${JSON.stringify(new URL("./story.testkit.ts", import.meta.url).href)};
      const archive = openArchive(${JSON.stringify(file)});
      for (let i = 0; ; i++) { archive.store(failover("failover-shop-2-" + i, i + 1)); process.stdout.write("x"); }`;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const gone = new Promise((done) => child.once("exit", done));
    let returned = 0;
    await new Promise<void>((done) => {
      child.stdout.on("data", (chunk: Buffer) => {
        returned += chunk.length;
        if (returned > 20) done();
      });
    });
    child.kill("SIGKILL");
    await gone;
    const archive = open(file);
    const verdict = archive.verify();
    expect(verdict.holds).toBe(true);
    expect(verdict.records).toBeGreaterThanOrEqual(returned * 6);
    expect(verdict.records % 6).toBe(0);
  });
});

describe("the chain", () => {
  const verdictAfter = (tamper: string) => {
    const archive = open(file);
    archive.store(failover("failover-shop-2-a", 1));
    archive.close();
    const raw = new Database(file);
    raw.exec(tamper);
    raw.close();
    return open(file).verify();
  };
  test.each([
    ["a changed payload", `UPDATE record SET payload = replace(payload, 'claim', 'fence') WHERE seq = 3`, 3],
    [
      "a payload changed with its hash",
      `UPDATE record SET payload = '{}', sha256 = '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a' WHERE seq = 4`,
      4,
    ],
    ["a changed time", "UPDATE record SET at_unix_ms = at_unix_ms + 1 WHERE seq = 2", 2],
    ["a changed trace", "UPDATE record SET trace_id = '' WHERE seq = 2", 2],
    ["a removed record", "DELETE FROM record WHERE seq = 5", 6],
    ["a removed first record", "DELETE FROM record WHERE seq = 1", 2],
    ["a record under another archive's name", "UPDATE archive SET id = 'ffffffff'", 1],
  ])("%s is found, and the first broken record is named", (_what, tamper, seq) => {
    expect(verdictAfter(tamper)).toMatchObject({ holds: false, seq });
  });

  test("is printed by --verify, with the exit code", () => {
    const archive = open(file);
    archive.store(failover("failover-shop-2-a", 1));
    const lines: string[] = [];
    // Beside a running auditor too.
    expect(verifyFile(file, (line) => lines.push(line))).toBe(0);
    expect(lines.length).toBe(7);
    expect(lines[1]).toMatch(
      /^ {5}2 2023-11-14T22:13:20\.001Z intent {4}shop failover-shop-2-a baton\/test\/a sha256 \w{12}/,
    );
    expect(lines.at(-1)).toBe(
      `The chain holds: 6 records, head ${archive.head().chain}, archive ${archive.id}.`,
    );
    archive.close();
    const raw = new Database(file);
    raw.exec("UPDATE record SET cluster = 'other' WHERE seq = 2");
    raw.close();
    const main = new URL("./main.ts", import.meta.url).pathname;
    const run = () =>
      execFileSync(process.execPath, [main, "--verify", file], { encoding: "utf8", stdio: "pipe" });
    expect(run).toThrow(
      expect.objectContaining({ status: 1, stdout: expect.stringContaining("broken at record 2") }),
    );
  });
});

describe("a file that cannot be used", () => {
  test("another auditor's: refused, and free again when that one is gone", () => {
    const first = open(file);
    const fault = faultOf(() => open(file));
    expect(fault).toMatchObject({ code: "E_STORE", place: file });
    expect(fault.message).toContain("Another auditor");
    expect(first.store(failover("failover-shop-2-a", 1)).stored).toBe(6);
    first.close();
    expect(open(file).head().seq).toBe(6);
  });

  test("not a database", () => {
    writeFileSync(file, "This is a letter, and no database at all.".repeat(40));
    expect(faultOf(() => open(file))).toMatchObject({ code: "E_STORE", place: file });
    expect(faultOf(() => open(file)).line()).toContain("not a SQLite database");
  });

  test("another program's database is not touched", () => {
    const other = new Database(file);
    other.exec("CREATE TABLE orders (id INTEGER)");
    other.close();
    expect(faultOf(() => open(file)).message).toContain("not an archive of Baton's");
    const after = new Database(file);
    expect(after.prepare("SELECT name FROM sqlite_schema").pluck().all()).toEqual(["orders"]);
    after.close();
  });

  test("a newer Baton's", () => {
    open(file).close();
    const raw = new Database(file);
    raw.pragma("user_version = 99");
    raw.close();
    expect(faultOf(() => open(file)).message).toContain("version 99");
  });

  test("a folder in its place, and a file where its folder should be", () => {
    mkdirSync(file);
    expect(faultOf(() => open(file))).toMatchObject({ code: "E_STORE", place: file });
    const under = join(folder, "letter", "audit.sqlite");
    writeFileSync(join(folder, "letter"), "");
    expect(faultOf(() => open(under))).toMatchObject({ code: "E_STORE", place: under });
  });

  test("missing, for --verify: nothing is made", () => {
    expect(faultOf(() => open(file, { readonly: true })).code).toBe("E_NOT_FOUND");
    expect(readdirSync(folder)).toEqual([]);
  });
});

/** A volume of its own of `kib`, where this may be made; else null. */
function tinyVolume(kib: number): string | null {
  const at = join(folder, "volume");
  mkdirSync(at);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${kib}k`, "baton-auditor-test", at], {
      stdio: "ignore",
    });
    return at;
  } catch {
    return null;
  }
}

describe("a full disk", () => {
  let volume: string | null;
  beforeEach(() => {
    volume = tinyVolume(1_024);
  });
  afterEach(() => {
    for (const archive of opened.splice(0)) archive.close();
    if (volume !== null) execFileSync("umount", [volume]);
  });
  const fill = (at: string) => {
    const { bavail, bsize } = statfsSync(at);
    writeFileSync(join(at, "filler"), Buffer.alloc(bavail * bsize));
  };

  test("while it runs: E_DISK_FULL, nothing half-written, and it goes on when there is space", (context) => {
    if (volume === null) return context.skip();
    const full = join(volume, "audit.sqlite");
    const archive = open(full);
    archive.store(failover("failover-shop-2-first", 1));
    fill(volume);
    let stored = 6;
    const storeOn = () => {
      for (let i = 0; i < 2_000; i += 1) {
        archive.store(failover(`failover-shop-2-${i}`, i + 2));
        stored += 6;
      }
    };
    const fault = faultOf(storeOn);
    expect(fault).toMatchObject({ code: "E_DISK_FULL", place: full });
    expect(fault.remedy).toContain("Free space");
    expect(archive.verify()).toMatchObject({ holds: true, records: stored });

    rmSync(join(volume, "filler"));
    expect(archive.store(failover("failover-shop-2-after", 9_999)).stored).toBe(6);
    archive.close();
    expect(open(full).verify()).toMatchObject({ holds: true, records: stored + 6 });
  });

  test("a file that has reached its bound is the same to SQLite", () => {
    const archive = open(file, { maxPages: 40 });
    let i = 0;
    const fault = faultOf(() => {
      for (; i < 2_000; i += 1) archive.store(failover(`failover-shop-2-${i}`, i + 1));
    });
    expect(fault).toMatchObject({ code: "E_DISK_FULL", place: file });
    expect(archive.verify()).toMatchObject({ holds: true, records: i * 6 });
  });

  test("from the start: E_DISK_FULL, and no half-made file stays", (context) => {
    if (volume === null) return context.skip();
    fill(volume);
    const full = join(volume, "audit.sqlite");
    expect(faultOf(() => open(full))).toMatchObject({ code: "E_DISK_FULL", place: full });
    expect(readdirSync(volume)).toEqual(["filler"]);
    expect(existsSync(full)).toBe(false);
  });
});
