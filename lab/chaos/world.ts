/** The cluster that a run is played on: drawn from the seed, or said. It is the same for all rounds of a run. Pure. */
import { LabError } from "../lab-error.ts";
import { pick, random } from "./random.ts";

export interface World {
  nodes: number;
  /** k: acks that a write waits for. */
  acks: number;
  /** `apart`: handed out in turn to three regions. `shared`: all nodes in one. */
  regions: "apart" | "shared";
  /** `degrade`: lossless, and writes go on without acks when the ackers are gone. */
  durability: "lossless" | "available" | "degrade";
}

/** What most of the faults were made for. */
export const PLAIN_WORLD: World = { nodes: 3, acks: 1, regions: "apart", durability: "lossless" };

const WORLDS_STREAM = 0x776f726c;

/** What is said stays; the rest is drawn so that it fits. Error: LabError `bad-option`. */
export function drawWorld(seed: number, said: { [K in keyof World]?: World[K] | undefined } = {}): World {
  const next = random(seed, WORLDS_STREAM);
  const [many, two, shared, durable] = [next(), next(), next(), next()];
  const nodes = said.nodes ?? (said.acks === 2 ? pick([4, 5], many) : pick([3, 3, 4, 5], many));
  const acks = said.acks ?? (nodes >= 4 && two < 0.5 ? 2 : 1);
  if (acks > 1 && nodes < 4) {
    throw new LabError("bad-option", {
      found: `${nodes} nodes and ${acks} acks`,
      expected: "4 or 5 nodes for 2 acks: with fewer no failover could ever be made",
      remedy: "say --nodes 4, or --acks 1",
    });
  }
  return {
    nodes,
    acks,
    regions: said.regions ?? (shared < 0.3 ? "shared" : "apart"),
    durability:
      said.durability ??
      pick(["lossless", "lossless", "lossless", "lossless", "available", "degrade"], durable),
  };
}

/** The options that make this world again. */
export function worldOptions({ nodes, acks, regions, durability }: World): string {
  return `--nodes ${nodes} --acks ${acks} --regions ${regions} --durability ${durability}`;
}

/**
 * Whether a failover is possible when the primary and so many replicas are gone at the same moment: those that are left can fence, and
 * the candidate keeps k ackers.
 */
export function survivesWithout({ nodes, acks }: World, replicas: number): boolean {
  const members = nodes - 1;
  const left = members - replicas;
  return left >= members - acks + 1 && left >= acks + 1;
}
