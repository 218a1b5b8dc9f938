/** The texts are a 9.7.4 server's own; mysql84.test.ts asks a real one again. */
import { describe, expect, it } from "vitest";
import { GtidSet } from "./gtid.ts";
import { ownedSet } from "./owned.ts";

const a = "aaaaaaaa-0000-0000-0000-000000000001";
const one = "12345678-0000-0000-0000-000000000001";

describe("what is owned", () => {
  it.each([
    ["nothing", "", ""],
    ["one", `${a}:5#13`, `${a}:5`],
    ["several of one UUID", `${a}:7#12:5#11`, `${a}:5:7`],
    ["two UUIDs, the thread's digits against the next one's", `${one}:5#16${a}:7#12`, `${one}:5,${a}:7`],
    ["digits on both sides", `${a}:5#1${one}:6#2`, `${one}:6,${a}:5`],
    ["a tag behind its UUID", `${a}:7#12${a}:tag:3#14`, `${a}:7:tag:3`],
    [
      "a tag that looks like a UUID's beginning",
      `${a}:abcdef12:9#17${a}:tag_2:9#15`,
      `${a}:abcdef12:9:tag_2:9`,
    ],
    ["a set as it is printed elsewhere", `${a}:1-3,\n${one}:4`, `${one}:4,${a}:1-3`],
  ])("%s", (_, text, set) => {
    expect(GtidSet.parse(ownedSet(text)).toString()).toBe(GtidSet.parse(set).toString());
  });
});
