import { expect, test } from "vitest";
import { remember } from "./memory.ts";
import { route } from "./route.ts";

const channels = [
  { name: "log", minSeverity: "info" },
  { name: "team", minSeverity: "warning" },
  { name: "phone", minSeverity: "critical" },
] as const;
const names = (severity: "info" | "warning" | "critical", taken = (_c: string, _a: string) => false) =>
  route({ id: "a1", severity }, channels, taken).map((c) => c.name);

test("an alert goes to the channels whose least severity it reaches", () => {
  expect(names("info")).toEqual(["log"]);
  expect(names("warning")).toEqual(["log", "team"]);
  expect(names("critical")).toEqual(["log", "team", "phone"]);
});

test("a channel that has taken the alert is left out", () => {
  expect(names("critical", (channel, id) => channel === "team" && id === "a1")).toEqual(["log", "phone"]);
});

test("the memory keeps the last ones, and a name never runs into an id", () => {
  const memory = remember(2);
  memory.add("a", "1");
  memory.add("a", "2");
  memory.add("a", "1"); // Again: now the youngest.
  memory.add("a", "3");
  expect([memory.has("a", "1"), memory.has("a", "2"), memory.has("a", "3")]).toEqual([true, false, true]);
  expect(memory.has("b", "1")).toBe(false);
});
