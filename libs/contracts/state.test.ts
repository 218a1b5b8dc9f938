import { expect, it } from "vitest";
import { SAMPLES } from "./generate/samples.ts";
import { Brake, ClusterState, Planned } from "./state.ts";

/** Their keys are names of nodes: an unknown one is no unknown field. */
const RECORDS = new Set(["sources", "unbuilt", "hollow", "servers", "downtimes", "parked"]);

/** As a later version writes it: with something new in it, and in every object in it. */
function later(value: unknown, key = ""): unknown {
  if (Array.isArray(value)) return value.map((part) => later(part));
  if (value === null || typeof value !== "object") return value;
  const parts = Object.entries(value).map(([k, part]) => [k, later(part, k)]);
  return { ...Object.fromEntries(parts), ...(RECORDS.has(key) ? {} : { fromLater: { than: "this" } }) };
}

it.each([
  ["bucket-state", ClusterState],
  ["bucket-brakes", Brake],
  ["bucket-plans", Planned],
] as const)("what a later version has put into %s stays in when this one writes it back", (name, schema) => {
  const whole = later(SAMPLES[name]);
  const read = schema.parse(whole);
  expect(read).toEqual(whole);
  expect(schema.parse({ ...read })).toEqual(whole);
});
