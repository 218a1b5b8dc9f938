/** The open primary: its semi-sync settings, and commits that wait for an ack that was lost on its way. It is never closed for this. */
import type { NodeStatus, RepairCode } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { ackersOf, heldBy, notCounted, penOf, waitingThoughHeld } from "@baton/protocol";
import { handOn } from "./ask-node.ts";
import { beside } from "./beside.ts";
import { markEpoch } from "./epoch.ts";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

const POLL_MS = 50;

/** Returns what was done. @throws Refusal */
export async function mendPrimary(op: Operation, code: RepairCode): Promise<string> {
  const { acks, deadlines } = op.declared.policy;
  const node = op.state.primary;
  const { hand, status, ackers } = await op.step("check", async () => {
    const hand = await handOn(op, node);
    const status = await hand.status(deadlines.openMs);
    if (status.serverUuid !== op.state.primaryUuid || status.readOnly)
      throw new Refusal("state-changed", `${node} is not the writable server that the state names`);
    const ackers = await followers(op);
    if (ackers.size < acks)
      throw new Refusal(
        "too-few-ackers-left",
        `${ackers.size} replicas follow ${node} and a write would wait for ${acks}: writes would stop`,
      );
    return {
      value: { hand, status, ackers },
      summary: `${node} is writable, and ${[...ackers.keys()].join(", ")} follow it`,
      detail: { semiSync: status.semiSync },
    };
  });
  return op.step("repair", async () => {
    const done =
      code === "epoch-unmarked"
        ? await writeMark(op, hand)
        : code === "semi-sync-waiting"
          ? await replaceLostAck(op, hand, status, [...ackers.values()])
          : await waitForAcksAgain(op, hand);
    return { value: done, summary: done };
  });
}

async function writeMark(op: Operation, hand: Hand): Promise<string> {
  await markEpoch(op, hand.node, op.declared.policy.deadlines.openMs);
  return `${hand.node} carries the mark of epoch ${op.state.epoch}`;
}

/** Ackers whose receiver runs, by what they say of themselves now. */
async function followers(op: Operation): Promise<Map<string, NodeStatus>> {
  const { openMs } = op.declared.policy.deadlines;
  const found = await Promise.all(
    ackersOf(op.declared, op.state.primary, notCounted(op.state)).map(async (node) => {
      const status = await beside(op, node, (h) => h.status(openMs)).catch(() => null);
      return [node, status] as const;
    }),
  );
  return new Map(
    found.flatMap(([node, status]) =>
      status?.replica?.receiver === "on" && status.replica.sourceUuid === op.state.primaryUuid
        ? [[node, status] as const]
        : [],
    ),
  );
}

/**
 * The settings first, then a proof: what was answered meanwhile without acks is only safe when k replicas hold it, and a
 * failover could not tell.
 */
async function waitForAcksAgain(op: Operation, hand: Hand): Promise<string> {
  const { acks, deadlines } = op.declared.policy;
  await hand.run(hand.dialect.semiSyncSource(penOf(op.declared.policy, op.state)), deadlines.openMs);
  const executed = GtidSet.parse((await hand.status(deadlines.openMs)).executed);
  const untilMs = op.ports.now() + deadlines.catchUpMs;
  for (;;) {
    const holding = [...(await followers(op))].filter(([, s]) => heldBy(s).contains(executed));
    if (holding.length >= acks)
      return `${hand.node} waits for ${acks} acks, and ${holding.map(([n]) => n).join(", ")} hold all that it had answered`;
    op.assertMine();
    if (op.ports.now() > untilMs)
      throw new Refusal(
        "catch-up-timeout",
        `${hand.node} waits for acks again, but fewer than ${acks} replicas received what it had answered before`,
      );
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/**
 * Measured on 9.7.4: when every dump thread is cut while a commit waits, and the replicas had it already, nothing is left to be
 * acknowledged when they connect again (they ask by GTID, so the source does not learn their position). The
 * next transaction is sent and acknowledged as ever, and its ack covers all before it.
 */
async function replaceLostAck(
  op: Operation,
  hand: Hand,
  status: NodeStatus,
  ackers: readonly NodeStatus[],
): Promise<string> {
  const { acks, deadlines } = op.declared.policy;
  const waiting = waitingThoughHeld(status, ackers, acks);
  if (waiting === null) return `nobody waits on ${hand.node} any more`;
  const { cluster, intent } = op;
  await hand.run(
    hand.dialect.writeCanary({ cluster, epoch: op.epoch, operation: intent.operation }),
    deadlines.openMs,
  );
  const executed = GtidSet.parse((await hand.status(deadlines.openMs)).executed);
  const left = waiting.subtract(executed);
  if (!left.isEmpty())
    throw new Refusal(
      "deadline-exceeded",
      `${hand.node}: ${left} still waits after a further write was acknowledged`,
    );
  return `a row of Baton's own was acknowledged, and with it ${waiting}, for which clients waited`;
}
