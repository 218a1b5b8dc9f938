import type { Event } from "@baton/contracts";
import { expect, test } from "vitest";
import { paint } from "./colour.ts";
import { bytes, endingLine, progressLine } from "./rebuild-view.ts";

const plain = paint(false);
const event = (o: Partial<Event>): Event => ({
  cluster: "shop",
  type: "rebuild-progress",
  epoch: 2,
  operation: "rebuild-shop-n1-9",
  kind: "rebuild",
  node: "n1",
  outcome: null,
  code: null,
  summary: "n1 is stopped",
  primary: null,
  previous: null,
  next: null,
  detail: {},
  ...o,
});

test("bytes in thousands", () => {
  expect([0, 999, 1_000, 75_743_661, 999_600, 3.2e12].map(bytes)).toEqual([
    "0 B",
    "999 B",
    "1.0 KB",
    "75.7 MB",
    "1.0 MB",
    "3.2 TB",
  ]);
});

test("the copy as a bar with rate and estimate", () => {
  const detail = { stage: "file copy", copiedBytes: 40e6, totalBytes: 80e6, bytesPerS: 20e6, leftMs: 2_000 };
  const line = progressLine(event({ detail }), plain);
  expect(line).toContain("50%  40.0 MB of 80.0 MB  20.0 MB/s  about 2.00 s left");
  expect(line.match(/█/g)).toHaveLength(15);
  expect(line.match(/░/g)).toHaveLength(15);
});

test("before the size is known, and when a person must start the server", () => {
  const line = progressLine(event({ detail: { stage: "restart" }, next: "start mysqld on n1" }), plain);
  expect(line).toBe("  restart  n1 is stopped; start mysqld on n1");
});

test("how it ended, and the next command", () => {
  expect(endingLine(event({ outcome: "completed" }), plain)).toBe(
    "✔ n1 is rebuilt, follows and acknowledges",
  );
  const blocked = event({
    outcome: "blocked",
    code: "clone-failed",
    summary: "no",
    next: "baton rebuild shop n1",
  });
  expect(endingLine(blocked, plain)).toBe("✖ clone-failed  no  next: baton rebuild shop n1");
});
