/**
 * How a node becomes an acker. It is whole only if it holds what the primary had executed when it joined: a receiver leaves out events of its
 * own server id, so one whose data were emptied or lost under its old id says that it lacks nothing and never will. What the present primary
 * wrote itself always comes; where anything else is lacking, the node follows without acknowledging until it has it.
 */
import { GtidSet } from "@baton/mysql";
import { heldBy } from "@baton/protocol";
import { beside } from "./beside.ts";
import { pointAt, setAgain } from "./channel.ts";
import type { Hand } from "./hand.ts";
import { beginAcknowledging, followUnacknowledged } from "./leave-quarantine.ts";
import type { Operation } from "./operation.ts";
import { untilReceiving } from "./receiving.ts";
import { Refusal } from "./refusal.ts";
import { standStill } from "./stand-still.ts";

const POLL_MS = 50;
/** What came before the primary's own is lacking although its own has come, and nothing moves: it was left out. */
const LEFT_OUT_MS = 5_000;
/** Nothing has moved at all: one transaction may be large. */
const STUCK_MS = 15_000;

/** @throws Refusal not-whole, with `lacking`; cannot-follow, relay-log-unapplied, state-changed */
export async function joinAsAcker(op: Operation, hand: Hand, primary: string): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const quarantined = op.state.quarantined.includes(hand.node);
  const needed = await executedNow(op, primary);
  const status = await hand.status(openMs);
  const lacking = needed.subtract(heldBy(status));
  const comes = lacking.onlyFrom(op.state.primaryUuid);
  // Of MariaDB, whose sets are positions, nothing of the kind can be told.
  const sure = status.flavour === "mariadb" || lacking.equals(comes);
  if (sure && !quarantined) {
    const roles = hand.dialect.becomeReplica;
    const done = await pointAt(op, hand, primary, { roles, start: "replication" });
    await untilReceiving(op, hand, openMs).catch(async (error: unknown) => {
      if (!(error instanceof Refusal) || done !== "start" || !(await setAgain(op, hand, primary)))
        throw error;
      await untilReceiving(op, hand, openMs);
    });
    return;
  }
  await followUnacknowledged(op, hand, primary);
  if (status.flavour !== "mariadb") await untilWhole(op, hand, needed);
  await beginAcknowledging(op, hand);
}

/** What the primary has executed; writes that wait for an ack are not among it. @throws Refusal when it is not the one that the state names */
async function executedNow(op: Operation, primary: string): Promise<GtidSet> {
  const of = await beside(op, primary, (h) => h.status(op.declared.policy.deadlines.openMs));
  if (of.readOnly || of.serverUuid !== op.state.primaryUuid)
    throw new Refusal("state-changed", `${primary} is not the writable server that the state names`);
  return GtidSet.parse(of.executed);
}

/** One that is given up stands still: what it has received stays, and the next try goes on from there. */
async function untilWhole(op: Operation, hand: Hand, needed: GtidSet): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const { primaryUuid } = op.state;
  let last: GtidSet | null = null;
  let movedMs = op.ports.now();
  let ownCame = false;
  for (;;) {
    const status = await hand.status(openMs);
    const lacking = needed.subtract(heldBy(status));
    if (lacking.isEmpty()) return;
    const now = op.ports.now();
    const own = lacking.onlyFrom(primaryUuid);
    if (last === null || !lacking.equals(last)) movedMs = now;
    if (last !== null && !last.onlyFrom(primaryUuid).isEmpty() && own.isEmpty()) ownCame = true;
    last = lacking;
    const r = status.replica;
    const refused = r === null || (r.receiver === "off" && r.receiverErrno !== 0);
    const stuck = now - movedMs > (ownCame && own.isEmpty() ? LEFT_OUT_MS : STUCK_MS);
    if (refused || stuck) {
      await standStill(hand, openMs);
      if (r?.receiver !== "on")
        throw new Refusal(
          "cannot-follow",
          `${hand.node}: ${r?.receiverErrno ?? 0} ${r?.receiverError ?? ""}`,
        );
      throw new Refusal(
        "not-whole",
        `${hand.node} follows and does not get ${lacking}, which ${op.state.primary} has: its data were lost under its old server id (${status.serverId})`,
        { lacking: lacking.toString() },
      );
    }
    op.assertMine();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
