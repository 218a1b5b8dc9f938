/**
 * A member leaves (quarantine, rebuild) only when k others are read, in this operation, to hold all that it holds of the cluster's history: else
 * it may be the only one that has an acknowledged write, and whoever fails over would not ask it any more. Until it has left it counts.
 */
import type { NodeStatus } from "@baton/contracts";
import type { GtidSet } from "@baton/mysql";
import { mayLose } from "@baton/protocol";
import { describeHolders, detailOf, whoHolds } from "./channel.ts";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { standStill } from "./stand-still.ts";

const POLL_MS = 100;

/**
 * Waits until enough hold it; only for those that receive: what another operation would bring back is not waited for. Where acks prove nothing, neither would this.
 * @throws Refusal handover-unproven
 */
export async function proveHandover(
  op: Operation,
  node: string,
  history: GtidSet,
  withinMs: number,
  leaving: readonly string[] = [],
): Promise<string[]> {
  const { acks } = op.declared.policy;
  if (mayLose(op.declared, op.state) || history.isEmpty()) return [];
  const untilMs = op.ports.now() + withinMs;
  for (;;) {
    const found = await whoHolds(op, node, history, leaving);
    if (found.holders.length >= acks) return found.holders;
    const mayYet = found.holders.length + found.receiving.length >= acks;
    if (!mayYet || op.ports.now() >= untilMs)
      throw new Refusal(
        "handover-unproven",
        `${node} stays a member: not enough others hold what it may have acknowledged (${describeHolders(found, acks)})`,
        { history: history.toString(), ...detailOf(found) },
      );
    op.assertMine();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Its acknowledging is over, and the node says so. @throws Refusal node-lost */
export async function stopAcknowledging(hand: Hand, deadlineMs: number): Promise<NodeStatus> {
  await standStill(hand, deadlineMs);
  await hand.run(hand.dialect.isolate, deadlineMs);
  const status = await hand.status(deadlineMs);
  if (status.replica !== null && status.replica.receiver !== "off")
    throw new Refusal(
      "node-lost",
      `${hand.node}: its receiver is still ${status.replica.receiver} after STOP`,
    );
  return status;
}
