/**
 * Failover: SAFETY.md, steps 1 to 8, in that order. Where writes need not wait for acks no count of ackers fences the old primary, and
 * what may be lost is stated before the commit point, or the failover refused (docs/decisions/0011). A crash before `commit` is rolled back or
 * run again from `fence`; after it, the operation is only ever carried forward. Every step may be run twice.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { ackersOf, commit, describeLoss, forgoing, heldBy, mayLose, notCounted } from "@baton/protocol";
import { carryForward } from "./carry-forward.ts";
import { heedEpoch } from "./epoch.ts";
import { shut } from "./fence-primary.ts";
import { type Operation, within } from "./operation.ts";
import { type Fence, fence } from "./receivers.ts";
import { Refusal } from "./refusal.ts";
import { rollBack } from "./roll-back.ts";
import { settleCandidate } from "./settle-candidate.ts";

/** From the claimed state to the end. @throws Refusal before the commit point; Superseded at any time. */
export async function failover(op: Operation): Promise<void> {
  const shutting: Shutting = { givenUp: false, ended: Promise.resolve() };
  let held: GtidSet | null = null;
  if (op.state.phase === "fencing") {
    try {
      held = await towardsCommit(op, shutting);
    } catch (error) {
      if (!(error instanceof Refusal) || op.state.phase !== "fencing") throw error;
      // Or it would be shut, or its semi-sync switched off, after it was opened again.
      shutting.givenUp = true;
      await shutting.ended;
      await rollBack(op, error);
      return;
    }
  }
  await carryForward(op, held);
  // It is done while the old primary's lock is held, or not at all.
  shutting.givenUp = true;
  await shutting.ended;
}

/** The fencing of the old primary itself, which may outlast a fence that has enough receivers. */
interface Shutting {
  givenUp: boolean;
  ended: Promise<unknown>;
}

/** Steps 1 to 5: shut out, read, choose, catch up, commit. What the candidate holds. */
async function towardsCommit(op: Operation, shutting: Shutting): Promise<GtidSet> {
  const old = op.intent.node;
  // Where a person goes on without proof, whoever is there is asked, whether it counts or not: it may hold what others lack.
  const unproven = op.intent.acceptLoss?.unproven === true;
  const ackers = ackersOf(op.declared, old, unproven ? op.state.quarantined : notCounted(op.state));
  const { acks } = op.declared.policy;

  const loses = mayLose(op.declared, op.state);
  // Where writes need not wait for acks, what is missing of the mark is stated as the loss.
  const required = loses ? GtidSet.empty : op.required;
  assertProven(op, loses);
  const fenced = await op.step("fence", async () => {
    const value = await fence(op, ackers, old, loses, required, (hand, deadlineMs) => {
      const closed = shut(op, hand, deadlineMs, () => shutting.givenUp, op.state.primaryUuid);
      shutting.ended = closed.catch(() => undefined);
      return closed;
    });
    const by =
      value.primary === null
        ? `${value.stopped.size} of ${ackers.length} receivers stopped`
        : `${old} confirmed read-only`;
    return {
      value,
      summary:
        loses && value.primary === null
          ? `${old} ${value.primaryGone ? "is gone (connection refused)" : "is silent and could not be shut"}: ${by}`
          : provenBy(value, ackers.length - acks + 1)
            ? `${old} can acknowledge nothing more: ${by}`
            : `${by}, and a person accepts that ${old} may have acknowledged what they lack`,
      detail: {
        ackers,
        acks,
        needed: ackers.length - acks + 1,
        stopped: [...value.stopped.keys()],
        failed: Object.fromEntries(value.failed),
        primaryFenced: value.primary !== null,
        primaryGone: value.primaryGone,
      },
    };
  });

  const history = await op.step("read", () => readHistory(op, fenced, ackers.length - acks + 1));

  const { candidate, loss } = await settleCandidate(op, fenced, history);
  const held = heldBy(candidate.status);

  await heedStopped(op, fenced);
  await op.step("commit", async () => {
    const { serverUuid, startedUnixS } = candidate.status;
    const opening = {
      ...forgoing(op.state, op.intent, held, op.ports.nowUnixMs(), loss),
      primaryStartedUnixS: startedUnixS,
    };
    await op.change(commit(opening, candidate.node, serverUuid, op.ports.nowUnixMs(), loss));
    return {
      value: null,
      summary: `${candidate.node} is the primary of epoch ${op.epoch}${loss === null ? "" : ` and may lack ${describeLoss(loss)}`}; from here there is no way back`,
      ...(loss === null ? {} : { detail: { loss } }),
    };
  });
  return held;
}

/** N−k+1 voices, or the old primary's own word. */
function provenBy(fenced: Fence, needed: number): boolean {
  return fenced.primary !== null || [...fenced.stopped.values()].filter((s) => s.vouches).length >= needed;
}

/** Another decider may have seen what the one that gave the order has not. @throws Refusal durability-unproven */
function assertProven(op: Operation, loses: boolean): void {
  const durability = op.mark?.durability;
  if (loses || durability === undefined || durability.proven || op.intent.acceptLoss?.unproven === true)
    return;
  throw new Refusal("durability-unproven", durability.why);
}

/** They were asked long since: one that has not said it now is not waited for. */
const EPOCH_MS = 20;

/** @throws Refusal when a stopped replica carries a later epoch than this failover leaves, or another installation's */
async function heedStopped(op: Operation, fenced: Fence): Promise<void> {
  const carriers = new Map<string, NodeStatus>();
  const asked = [...fenced.stopped.values()].map(async ({ node, status, epoch }) => {
    const row = await epoch;
    if (row !== undefined) carriers.set(node, { ...status, epoch: row });
  });
  await within(Promise.all(asked), EPOCH_MS);
  heedEpoch(op, carriers);
}

/** Step 2: what is known to exist, and what the candidate must hold. */
function readHistory(op: Operation, fenced: Fence, needed: number) {
  const old = op.intent.node;
  const lastKnown = op.intent.nodes[old];
  // The mark may be of a later moment than the last sample; and one that came back may have less than it was seen to have.
  const primaryExecuted = GtidSet.parse(fenced.primary?.status.executed ?? lastKnown?.executed ?? "").union(
    op.required,
  );
  const vouching = [...fenced.stopped.values()].filter((s) => s.vouches).length;
  // With N−k+1 voices, everything acknowledged is among them. With fewer, only the fenced primary itself knows. Where
  // acks prove nothing, nothing can be required: what is missing is counted.
  const required =
    vouching >= needed || fenced.primary === null || mayLose(op.declared, op.state)
      ? GtidSet.empty
      : primaryExecuted;
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
