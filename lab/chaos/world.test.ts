import { expect, it } from "vitest";
import { FAULTS, faultsNamed } from "./faults.ts";
import { drawWorld, PLAIN_WORLD, worldOptions } from "./world.ts";

const worlds = Array.from({ length: 400 }, (_, seed) => drawWorld(seed));

it("draws the same world from the same seed, and in many seeds every kind", () => {
  expect(worlds).toEqual(Array.from({ length: 400 }, (_, seed) => drawWorld(seed)));
  const kinds = new Set(worlds.map(({ nodes, acks }) => `${nodes}/${acks}`));
  expect([...kinds].sort()).toEqual(["3/1", "4/1", "4/2", "5/1", "5/2"]);
  expect(new Set(worlds.map(({ durability }) => durability)).size).toBe(3);
  expect(worlds.filter(({ durability }) => durability === "lossless").length).toBeGreaterThan(200);
  expect(new Set(worlds.map(({ regions }) => regions)).size).toBe(2);
});

it("keeps what is said, and draws what fits it", () => {
  expect(worlds.map((_, seed) => drawWorld(seed, { acks: 2 }).nodes).every((nodes) => nodes >= 4)).toBe(true);
  expect(worlds.map((_, seed) => drawWorld(seed, { nodes: 3 }).acks).every((acks) => acks === 1)).toBe(true);
  expect(drawWorld(7, PLAIN_WORLD)).toEqual(PLAIN_WORLD);
  expect(() => drawWorld(1, { nodes: 3, acks: 2 })).toThrow(/bad-option/);
});

it("is said by options", () => {
  expect(worldOptions(PLAIN_WORLD)).toBe("--nodes 3 --acks 1 --regions apart --durability lossless");
});

it("leaves out the faults that cannot be made in it, and refuses them when they are named", () => {
  const unfit = FAULTS.filter((fault) => fault.fits?.(PLAIN_WORLD) === false);
  const drawn = faultsNamed(undefined, PLAIN_WORLD);
  expect(drawn).toHaveLength(FAULTS.length - unfit.length);
  for (const { name } of unfit) expect(() => faultsNamed([name], PLAIN_WORLD)).toThrow(/bad-option/);
});
