/** What is right for a round, from what is right for each of its faults. Pure. */
import type { RefusalCode } from "@baton/contracts";
import type { Expectation, Fault } from "./scene.ts";
import type { World } from "./world.ts";

export interface RightOutcome {
  expects: Expectation;
  refusals: readonly RefusalCode[];
}

/** `main` is the fault that the round is named after, `others` come on top of it. */
export function rightOutcome(main: Fault, others: readonly Fault[], world: World): RightOutcome {
  const inWorld = (fault: Fault): Fault => ({ ...fault, ...fault.inWorld?.(world) });
  const [first, onTop] = [inWorld(main), others.map(inWorld)];
  const refusals = [...new Set([first, ...onTop].flatMap((fault) => fault.refusals))];
  return { expects: expectation(first, onTop), refusals };
}

function expectation(main: Fault, others: readonly Fault[]): Expectation {
  // A second fault of the primary may be one too many for it.
  if (others.some(({ expects }) => expects === "failover" || expects === "either")) return "either";
  if (!others.some(({ holdsUp }) => holdsUp)) return main.expects;
  if (main.expects === "failover") return "either";
  // With half of Baton away nobody may be there to say it.
  return main.expects === "refuse" ? "wait" : main.expects;
}
