/** Two ways to a node inside an operation: with its lock, to change it, and beside the lock, to ask it. */
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/** The hand on a node. @throws Refusal node-lost */
export function handOn(op: Operation, node: string): Promise<Hand> {
  return op.hand(node, op.declared.policy.deadlines.openMs).catch((error: unknown) => {
    if (error instanceof Error && error.name === "Superseded") throw error;
    throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
  });
}

/** Asks a node over a session without its lock: nothing is changed by it. */
export async function beside<T>(op: Operation, node: string, ask: (hand: Hand) => Promise<T>): Promise<T> {
  const helper = await op.ports
    .openLook(op.cluster, node, op.declared.policy.deadlines.openMs)
    .catch((error: unknown) => {
      throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
    });
  try {
    return await ask(helper);
  } finally {
    helper.destroy();
  }
}
