/** A replica in its place: its replication is started again, or it acknowledges again. */
import type { NodeStatus, RepairCode } from "@baton/contracts";
import { heldBy, ownTransactions } from "@baton/protocol";
import { handOn } from "./ask-node.ts";
import type { Hand } from "./hand.ts";
import { joinAsAcker } from "./join.ts";
import type { Operation } from "./operation.ts";
import { untilReceiving } from "./receiving.ts";
import { Refusal } from "./refusal.ts";
import { executedOfPrimary } from "./rejoin.ts";

/** A wait in slices, so that an applier that stops again is noticed. */
const APPLY_SLICE_MS = 500;

/** Returns what was done. @throws Refusal */
export async function mendReplica(op: Operation, code: RepairCode): Promise<string> {
  const { node } = op.intent;
  const { openMs } = op.declared.policy.deadlines;
  const { hand, status } = await op.step("check", async () => {
    const hand = await handOn(op, node);
    const status = await hand.status(openMs);
    assertFollows(op, node, status);
    const own = ownTransactions(
      { ...status, executed: heldBy(status).toString() },
      await executedOfPrimary(op, op.state.primary),
      op.state.primaryUuid,
    );
    if (!own.isEmpty() && code !== "semi-sync-broken")
      throw new Refusal("not-clean", `${node} holds ${own}, which ${op.state.primary} has not`, {
        errant: own.toString(),
      });
    return {
      value: { hand, status },
      summary: `${node} follows ${op.state.primary}, read-only`,
      detail: { replica: status.replica, semiSync: status.semiSync },
    };
  });
  return op.step("repair", async () => {
    const done = code === "semi-sync-broken" ? await acknowledge(op, hand) : await start(op, hand, status);
    return { value: done, summary: done };
  });
}

/** What stands elsewhere, or accepts writes, is another fault and led home. */
function assertFollows(op: Operation, node: string, status: NodeStatus): void {
  const r = status.replica;
  const at = op.declared.nodes[op.state.primary];
  const follows =
    r !== null &&
    (r.sourceUuid === op.state.primaryUuid || (r.sourceHost === at?.host && r.sourcePort === at.port));
  if (follows && status.readOnly) return;
  throw new Refusal(
    "state-changed",
    `${node} ${follows ? "accepts writes" : `does not follow ${op.state.primary}`} now`,
  );
}

async function start(op: Operation, hand: Hand, before: NodeStatus): Promise<string> {
  const { openMs, catchUpMs } = op.declared.policy.deadlines;
  const d = hand.dialect;
  // One that receives already is not cut off from its source for this: somebody may wait for its ack.
  if (before.replica?.receiver === "off") await joinAsAcker(op, hand, op.state.primary);
  else {
    await hand.run([...d.becomeReplica, d.startReplication], openMs);
    await untilReceiving(op, hand, openMs);
  }
  const received = before.replica?.received ?? "";
  const untilMs = op.ports.now() + catchUpMs;
  for (;;) {
    const rows =
      received === "" ? [] : await hand.run(d.waitApplied(received, APPLY_SLICE_MS), APPLY_SLICE_MS + openMs);
    const r = (await hand.status(openMs)).replica;
    if (r === null || r.applier === "off" || r.applierErrno !== 0)
      throw new Refusal(
        "cannot-follow",
        `${hand.node}: its applier stopped again: ${r?.applierErrno ?? 0} ${r?.applierError ?? ""}`,
      );
    if (received === "" || d.applied(rows.at(-1) ?? [])) return `${hand.node} receives and applies again`;
    op.assertMine();
    // Far behind is no fault of this kind.
    if (op.ports.now() > untilMs) return `${hand.node} receives and applies, and is still behind`;
  }
}

async function acknowledge(op: Operation, hand: Hand): Promise<string> {
  const { openMs } = op.declared.policy.deadlines;
  const d = hand.dialect;
  const before = await hand.status(openMs);
  if (before.semiSync?.replica === false && before.replica?.receiver === "on") {
    await joinAsAcker(op, hand, op.state.primary);
    return `${hand.node} has a replica's semi-sync settings`;
  }
  await hand.run(d.becomeReplica, openMs);
  const { semiSync, replica } = await hand.status(openMs);
  if (replica?.receiver === "on" && semiSync?.replicaActive === false) {
    await hand.run([d.stopReceiver, d.startReceiver], openMs);
    await untilReceiving(op, hand, openMs);
  }
  return `${hand.node} has a replica's semi-sync settings`;
}
