import { expect, test } from "vitest";
import { count, duration, list, median, plural } from "./amounts.ts";
import { paint, wantsColour } from "./colour.ts";
import { columns, cutTo, visibleWidth } from "./columns.ts";

test("durations keep three digits at most", () => {
  expect(
    [0, 0.04, 0.84, 9.96, 41.4, 999.4, 999.6, 1_240, 59_994, 59_996, 185_000, 3_599_000, 7_440_000].map(
      duration,
    ),
  ).toEqual([
    "0.0 ms",
    "0.0 ms",
    "0.8 ms",
    "10 ms",
    "41 ms",
    "999 ms",
    "1.00 s",
    "1.24 s",
    "59.99 s",
    "1 min 0 s",
    "3 min 5 s",
    "59 min 59 s",
    "2 h 4 min",
  ]);
});

test("counts, plurals, lists, medians", () => {
  expect([0, 999, 1_000, 18_402, 1_234_567].map(count)).toEqual(["0", "999", "1 000", "18 402", "1 234 567"]);
  expect([plural(1, "replica"), plural(2, "replica"), plural(0, "replica")]).toEqual([
    "1 replica",
    "2 replicas",
    "0 replicas",
  ]);
  expect([list([]), list(["a"]), list(["a", "b"]), list(["a", "b", "c"])]).toEqual([
    "",
    "a",
    "a and b",
    "a, b and c",
  ]);
  expect([median([]), median([3]), median([9, 1, 5]), median([4, 1, 3, 2])]).toEqual([null, 3, 5, 2.5]);
});

test("columns are aligned by what is seen", () => {
  const { red } = paint(true);
  const lines = columns(
    [
      ["a", "1", "x"],
      [red("bbb"), "22", ""],
    ],
    { right: [1], indent: 1 },
  );
  expect(lines[0]).toBe(" a     1  x");
  expect(visibleWidth(lines[1]!)).toBe(" bbb  22".length);
});

test("what does not fit is cut, colours closed", () => {
  expect(cutTo("abcdef", 6)).toBe("abcdef");
  expect(cutTo("abcdef", 4)).toBe("abc…");
  const { red } = paint(true);
  expect(visibleWidth(cutTo(`${red("abc")}def`, 3))).toBe(3);
  expect(cutTo(red("abcdef"), 3).endsWith("\u001b[0m")).toBe(true);
});

test("colours are for terminals, unless the environment says otherwise", () => {
  const tty = { isTTY: true };
  expect(wantsColour(tty, {})).toBe(true);
  expect(wantsColour({}, {})).toBe(false);
  expect(wantsColour(tty, { NO_COLOR: "1" })).toBe(false);
  expect(wantsColour(tty, { NO_COLOR: "" })).toBe(true);
  expect(wantsColour(tty, { TERM: "dumb" })).toBe(false);
  expect(wantsColour({}, { FORCE_COLOR: "1" })).toBe(true);
  expect(wantsColour({}, { FORCE_COLOR: "1", NO_COLOR: "1" })).toBe(false);
});
