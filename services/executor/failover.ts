/**
 * Failover in lossless durability: SAFETY.md, steps 1 to 8, in that order. A crash before `commit` is rolled back or
 * run again from `fence`; after it, the operation is only ever carried forward. Every step may be run twice.
 */
import type { RefusalCode } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import {
  ackersOf,
  choose,
  commit,
  contenderOf,
  downtimesOf,
  end,
  flavourRefusal,
  heldBy,
} from "@baton/protocol";
import { applyReceived, carryForward } from "./carry-forward.ts";
import { shut } from "./fence-primary.ts";
import type { Hand } from "./hand.ts";
import { type Operation, within } from "./operation.ts";
import { type Fence, fence, type Stopped } from "./receivers.ts";
import { Refusal } from "./refusal.ts";
import { assertNotStranded } from "./relay-logs.ts";

/** From the claimed state to the end. @throws Refusal before the commit point; Superseded at any time. */
export async function failover(op: Operation): Promise<void> {
  if (op.state.phase === "fencing") {
    try {
      await towardsCommit(op);
    } catch (error) {
      if (!(error instanceof Refusal) || op.state.phase !== "fencing") throw error;
      await rollBack(op, error.code, error.message);
      return;
    }
  }
  await carryForward(op);
}

/** Steps 1 to 5: shut out, read, choose, catch up, commit. */
async function towardsCommit(op: Operation): Promise<void> {
  const old = op.intent.node;
  const { quarantined } = op.state;
  const ackers = ackersOf(op.declared, old, quarantined);
  const { deadlines, acks } = op.declared.policy;
  const downtimes = downtimesOf(await op.ports.brakes(op.cluster), op.ports.nowUnixMs());

  const fenced = await op.step("fence", async () => {
    const value = await fence(op, ackers, old, (hand, deadlineMs) => shut(op, hand, deadlineMs));
    const by =
      value.primary === null
        ? `${value.stopped.size} of ${ackers.length} receivers stopped`
        : `${old} confirmed read-only`;
    return {
      value,
      summary: `${old} can acknowledge nothing more: ${by}`,
      detail: {
        ackers,
        acks,
        needed: ackers.length - acks + 1,
        stopped: [...value.stopped.keys()],
        failed: Object.fromEntries(value.failed),
        primaryFenced: value.primary !== null,
      },
    };
  });

  const history = await op.step("read", () => readHistory(op, fenced, ackers.length - acks + 1));

  const choice = await op.step("choose", () => {
    const unfit = flavourRefusal(
      op.declared.policy,
      new Map([...fenced.stopped.values()].map((s) => [s.node, s.status])),
    );
    if (unfit !== null) throw new Refusal(unfit.refusal, unfit.reason);
    const made = choose({
      contenders: [...fenced.stopped.values()].map((s) =>
        contenderOf(s.node, s.status, op.declared, quarantined, downtimes),
      ),
      oldPrimaryRegion: op.declared.nodes[old]?.region ?? "",
      primaryExecuted: history.primaryExecuted,
      acks,
    });
    const detail = { union: made.union.toString(), notChosen: made.notChosen as unknown[] };
    if (!made.ok) throw new Refusal(made.refusal, made.reason, detail);
    const candidate = fenced.stopped.get(made.candidate) as Stopped;
    const lacking = history.required.subtract(heldBy(candidate.status));
    if (!lacking.isEmpty())
      throw new Refusal(
        "ackers-unreachable",
        `${made.candidate} lacks ${lacking}, which only the old primary is known to hold`,
        detail,
      );
    return {
      value: { candidate, union: made.union },
      summary: `${made.candidate} holds all that was acknowledged and is promoted`,
      detail: { ...detail, candidate: made.candidate, followers: made.followers },
    };
  });

  await op.step("catch-up", async () => {
    const { candidate } = choice;
    const waited = await applyReceived(candidate.hand, candidate.status, deadlines.catchUpMs);
    return {
      value: waited,
      summary: `${candidate.node} has applied all that it had received`,
      detail: { received: candidate.status.replica?.received ?? "" },
    };
  });

  await op.step("commit", async () => {
    const { serverUuid, startedUnixS } = choice.candidate.status;
    await op.change(commit(op.state, choice.candidate.node, serverUuid, startedUnixS));
    return {
      value: null,
      summary: `${choice.candidate.node} is the primary of epoch ${op.epoch}; from here there is no way back`,
    };
  });
}

/** Step 2: what is known to exist, and what the candidate must hold. */
function readHistory(op: Operation, fenced: Fence, needed: number) {
  const old = op.intent.node;
  const lastKnown = op.intent.nodes[old];
  const primaryExecuted = GtidSet.parse(fenced.primary?.status.executed ?? lastKnown?.executed ?? "");
  const vouching = [...fenced.stopped.values()].filter((s) => s.vouches).length;
  // With N−k+1 voices, everything acknowledged is among them. With fewer, only the fenced primary itself knows.
  const required = vouching >= needed || fenced.primary === null ? GtidSet.empty : primaryExecuted;
  const sets = Object.fromEntries(
    [...fenced.stopped.values()].map((s) => [
      s.node,
      {
        executed: s.status.executed,
        received: s.status.replica?.received ?? "",
        vouches: s.vouches,
        why: s.why,
      },
    ]),
  );
  return {
    value: { primaryExecuted, required },
    summary: `${fenced.stopped.size} replicas read while stopped, ${vouching} can vouch`,
    detail: { sets, lastKnownOfPrimary: primaryExecuted.toString(), required: required.toString() },
  };
}

async function startReceiver(hand: Hand, deadlineMs: number): Promise<void> {
  if (!hand.dialect.keepsRelayLogs) assertNotStranded(hand.node, await hand.status(deadlineMs));
  await hand.run(hand.dialect.startReceiver, deadlineMs);
}

/** Before the commit point: puts back what was changed, gives the epoch back, says why. */
async function rollBack(op: Operation, code: RefusalCode, why: string): Promise<void> {
  const { deadlines } = op.declared.policy;
  const { before } = op.state.operation as NonNullable<typeof op.state.operation>;
  const notRestored: Record<string, string> = {};
  const leftStopped = new Set(op.state.leftStopped);
  await op.confirmMine();
  await op.step("roll-back", async () => {
    await Promise.all(
      [...before.receiverOn, ...before.writable].map(async (node) => {
        try {
          // A node that could not be reached until now was not changed either, unless by a predecessor.
          const hand = await within(op.hand(node, 0), 0).catch(() => null);
          if (hand === null && op.takenOver && before.receiverOn.includes(node)) leftStopped.add(node);
          if (hand === null) return;
          op.assertMine();
          if (before.writable.includes(node))
            await hand.run(hand.dialect.openPrimary({ acks: op.declared.policy.acks }), deadlines.openMs);
          else await startReceiver(hand, deadlines.openMs);
        } catch (error) {
          notRestored[node] = error instanceof Error ? error.message : String(error);
          if (before.receiverOn.includes(node)) leftStopped.add(node);
        }
      }),
    );
    // Nobody stopped these on purpose: whoever finds one standing still starts it.
    const state = { ...op.state, leftStopped: [...leftStopped].sort() };
    await op.change(end(state, "rolled-back", code, op.ports.nowUnixMs()));
    return { value: null, summary: `as it was before: ${why}`, detail: { restored: before, notRestored } };
  });
  op.event({
    type: "operation-ended",
    node: op.intent.node,
    outcome: "rolled-back",
    code,
    summary: `failover of ${op.cluster} refused: ${why}`,
    primary: null,
    previous: null,
    next: `baton history ${op.intent.operation}`,
    detail: { notRestored },
  });
  op.alert({
    severity: "critical",
    code,
    title: `${op.cluster}: failover refused (${code})`,
    summary: why,
    action:
      "Nothing was lost or promoted. Bring back a replica or the old primary; Baton tries again by itself.",
    node: op.intent.node,
  });
}
