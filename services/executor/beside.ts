/** Asks a node over a session without its lock: nothing is changed by it. */
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/** @throws Refusal node-lost */
export async function beside<T>(op: Operation, node: string, ask: (look: Hand) => Promise<T>): Promise<T> {
  const look = await op.ports
    .openLook(op.cluster, node, op.declared.policy.deadlines.openMs)
    .catch((error: unknown) => {
      throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
    });
  try {
    return await ask(look);
  } finally {
    look.destroy();
  }
}
