import { BatonError, MESSAGES } from "@baton/contracts";
import { expect, test } from "vitest";
import { type KeeperReport, keeper } from "./keeper.ts";
import type { Draft } from "./record.ts";
import { alert, draft } from "./story.testkit.ts";

const one = (id: string) => draft(MESSAGES.alert, alert(id), { atMs: 0, trace: 1 });

function setUp() {
  const bursts: number[] = [];
  const said: string[] = [];
  const disk = { full: false };
  const store = (drafts: readonly Draft[]) => {
    if (disk.full) throw Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
    bursts.push(drafts.length);
    return { stored: drafts.length, kinds: [], duplicates: 0 };
  };
  const report: KeeperReport = {
    stored: () => {},
    broken: (fault, first) => said.push(`broken ${fault.code} ${first.cluster}`),
    mended: () => said.push("mended"),
  };
  return { bursts, said, disk, keep: keeper({ file: "/archive", store }, report) };
}

test("what comes in one turn is one transaction, of a bounded size", async () => {
  const { bursts, keep } = setUp();
  await Promise.all(Array.from({ length: 1_200 }, (_, i) => keep.keep(one(`a${i}`))));
  await keep.keep(one("later"));
  expect(bursts).toEqual([500, 500, 200, 1]);
});

test("a full disk is said once, each message is given back, and the end of it is said", async () => {
  const { said, disk, keep } = setUp();
  disk.full = true;
  const results = await Promise.allSettled([keep.keep(one("a")), keep.keep(one("b"))]);
  expect(results.map((r) => r.status)).toEqual(["rejected", "rejected"]);
  await expect(keep.keep(one("a"))).rejects.toBeInstanceOf(BatonError);
  expect(keep.fault()?.code).toBe("E_DISK_FULL");
  expect(said).toEqual(["broken E_DISK_FULL shop"]);
  disk.full = false;
  await keep.keep(one("a"));
  expect(keep.fault()).toBeNull();
  expect(said).toEqual(["broken E_DISK_FULL shop", "mended"]);
});
