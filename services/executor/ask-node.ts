/** The hand on a node, with its lock, for an operation that cannot go on without it. */
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/** @throws Refusal node-lost */
export function handOn(op: Operation, node: string): Promise<Hand> {
  return op.hand(node, op.declared.policy.deadlines.openMs).catch((error: unknown) => {
    if (error instanceof Error && error.name === "Superseded") throw error;
    throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
  });
}
