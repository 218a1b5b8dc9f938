/**
 * A stopped replica that is behind is brought forward from another stopped one that holds all. Both stay read-only, and
 * nobody's receiver listens to the old primary: the fence stands. Its channel is changed only when it has applied all that it had
 * received, so that no relay log with an acknowledged write is thrown away.
 */
import type { NodeStatus } from "@baton/contracts";
import type { GtidSet } from "@baton/mysql";
import { applyReceived } from "./carry-forward.ts";
import { pointAt } from "./channel.ts";
import type { Operation } from "./operation.ts";
import type { Stopped } from "./receivers.ts";
import { Refusal } from "./refusal.ts";

/** A wait in slices, so that a receiver that fails, or an operation that was taken away, is noticed. */
const SLICE_MS = 250;

/** Its status, with the receiver stopped again. @throws Refusal catch-up-timeout, cannot-follow, node-lost */
export async function bringForward(
  op: Operation,
  behind: Stopped,
  source: Stopped,
  union: GtidSet,
  withinMs: number,
): Promise<NodeStatus> {
  const { openMs } = op.declared.policy.deadlines;
  const { hand } = behind;
  const d = hand.dialect;
  const untilMs = op.ports.now() + withinMs;
  const late = () =>
    new Refusal(
      "catch-up-timeout",
      `${behind.node} did not catch up from ${source.node} within ${withinMs} ms`,
    );
  await Promise.all([
    applyReceived(hand, behind.status, withinMs),
    handOn(source, d.keepsRelayLogs, withinMs, openMs),
  ]);
  op.assertMine();
  const r = behind.status.replica;
  // Nothing is received since it was read, and all of that is applied: there is no need to read it again.
  const applier = r?.received === "" ? r.applier : "on";
  const known = { ...behind.status, replica: r === null ? null : { ...r, applier } };
  await pointAt(op, hand, source.node, { roles: [], start: "replication", known, running: true });
  try {
    for (;;) {
      const sliceMs = Math.min(SLICE_MS, untilMs - op.ports.now());
      if (sliceMs <= 0) throw late();
      const rows = await hand.run(d.waitApplied(union.toString(), sliceMs), sliceMs + openMs);
      if (d.applied(rows.at(-1) ?? [])) break;
      op.assertMine();
      const r = (await hand.status(openMs)).replica;
      if (r !== null && r.receiver === "off")
        throw new Refusal("cannot-follow", `${behind.node}: ${r.receiverErrno} ${r.receiverError}`);
      if (r !== null && r.applierErrno !== 0)
        throw new Refusal("catch-up-timeout", `${behind.node}: ${r.applierErrno} ${r.applierError}`);
    }
  } finally {
    if (!hand.closed) await hand.run(d.stopReceiver, openMs);
  }
  return hand.status(openMs);
}

/** A source hands on what it has applied. One of MariaDB must have applied as much as who follows it holds. */
async function handOn(
  source: Stopped,
  keepsRelayLogs: boolean,
  withinMs: number,
  openMs: number,
): Promise<void> {
  if (!keepsRelayLogs) await applyReceived(source.hand, source.status, withinMs);
  else if (source.status.replica?.applier === "off")
    await source.hand.run(source.hand.dialect.startApplier, openMs);
}
