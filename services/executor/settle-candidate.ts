/**
 * Step 3, on what was read while the receivers stood still: who is promoted. One that is preferred and behind is brought
 * forward first, from a replica that holds all; when that takes too long the next best is taken (SAFETY.md, Failover 3).
 */

import type { Loss } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import {
  absentees,
  type Choice,
  choose,
  contenderOf,
  describeLoss,
  downtimesOf,
  flavourRefusal,
  heldBy,
  lossForbids,
  lossOf,
  mayLose,
  onlyNamed,
} from "@baton/protocol";
import { bringForward } from "./bring-forward.ts";
import { applyReceived } from "./carry-forward.ts";
import type { Operation } from "./operation.ts";
import type { Fence, Stopped } from "./receivers.ts";
import { Refusal } from "./refusal.ts";

export interface History {
  /** The last that is known of the old primary's own set. */
  primaryExecuted: GtidSet;
  /** What the candidate must hold, whatever the others hold. */
  required: GtidSet;
}

export interface Settled {
  candidate: Stopped;
  /** What may be lost with it; null where acks prove that nothing is. */
  loss: Loss | null;
}

/**
 * A candidate that holds all and has applied it. Ends: each turn but the last either completes a candidate or rules it out.
 * @throws Refusal
 */
export async function settleCandidate(op: Operation, fenced: Fence, history: History): Promise<Settled> {
  const missed = new Map<string, string>();
  const downtimes = downtimesOf(await op.ports.brakes(op.cluster), op.ports.nowUnixMs());
  for (;;) {
    const made = await op.step("choose", () => judge(op, fenced, history, downtimes, missed));
    const candidate = fenced.stopped.get(made.candidate) as Stopped;
    const source = made.source === null ? null : (fenced.stopped.get(made.source) as Stopped);
    const { preferMs, catchUpMs } = op.declared.policy.deadlines;
    // Where nobody else may be promoted, there is nothing to hurry for.
    const withinMs = made.alone ? catchUpMs : Math.min(preferMs, catchUpMs);
    try {
      await op.step("catch-up", async () => {
        if (source === null) {
          await applyReceived(candidate.hand, candidate.status, withinMs);
          return {
            value: null,
            summary: `${candidate.node} has applied all that it had received`,
            detail: { received: candidate.status.replica?.received ?? "" },
          };
        }
        const status = await bringForward(op, candidate, source, made.union, withinMs);
        fenced.stopped.set(candidate.node, { ...candidate, status });
        return {
          value: null,
          summary: `${candidate.node} has caught up from ${source.node}`,
          detail: { source: source.node, union: made.union.toString(), executed: status.executed },
        };
      });
      if (source === null) return { candidate, loss: made.loss };
    } catch (error) {
      if (!(error instanceof Refusal) || (source === null && made.alone)) throw error;
      // It holds the node's lock, but its applier stands behind something: another that holds all is not kept waiting.
      missed.set(candidate.node, error.message);
      if (candidate.hand.closed) {
        fenced.stopped.delete(candidate.node);
        fenced.failed.set(candidate.node, error.message);
      }
    }
  }
}

function judge(
  op: Operation,
  fenced: Fence,
  history: History,
  downtimes: ReadonlyMap<string, string>,
  missed: ReadonlyMap<string, string>,
) {
  const old = op.intent.node;
  const { quarantined } = op.state;
  const loses = mayLose(op.declared, op.state);
  const { acks, lagCeilingMs } = op.declared.policy;
  const unfit = flavourRefusal(
    op.declared.policy,
    new Map([...fenced.stopped.values()].map((s) => [s.node, s.status])),
  );
  if (unfit !== null) throw new Refusal(unfit.refusal, unfit.reason);
  const facts = {
    contenders: onlyNamed(
      [...fenced.stopped.values()].map((s) =>
        contenderOf(s.node, s.status, op.declared, quarantined, downtimes),
      ),
      op.intent.candidate,
    ),
    mark: loses ? GtidSet.empty : op.required,
    absent: absentees(op.declared, old, quarantined, (node) =>
      fenced.stopped.has(node)
        ? null
        : (fenced.failed.get(node) ?? "it had not answered when enough others had"),
    ),
    missed,
    oldPrimaryRegion: op.declared.nodes[old]?.region ?? "",
    primaryExecuted: history.primaryExecuted,
    // Without enough to follow it is opened all the same, where a person accepts that: its writes wait for them.
    acks: loses || op.intent.acceptLoss?.unproven === true ? 0 : acks,
    lagCeilingMs,
  };
  const made: Choice = choose(facts);
  const detail = { union: made.union.toString(), notChosen: made.notChosen as unknown[] };
  if (!made.ok) throw new Refusal(made.refusal, made.reason, detail);
  const { candidate, source, union, followers } = made;
  const holder = fenced.stopped.get(source ?? candidate) as Stopped;
  const lacking = history.required.subtract(heldBy(holder.status));
  if (!lacking.isEmpty())
    throw new Refusal(
      "ackers-unreachable",
      `${holder.node} lacks ${lacking}, which only the old primary is known to hold`,
      detail,
    );
  const loss = loses ? stateLoss(op, fenced, history, union.union(heldBy(holder.status)), detail) : null;
  return {
    value: {
      candidate,
      source,
      union,
      loss,
      alone: !choose({ ...facts, missed: new Map([...missed, [candidate, ""]]) }).ok,
    },
    summary:
      source !== null
        ? `${candidate} is preferred, and catches up from ${source} first`
        : loss === null
          ? `${candidate} holds all that was acknowledged and is promoted`
          : `${candidate} holds the most and is promoted; this loses ${describeLoss(loss)}`,
    detail: { ...detail, candidate, source, followers, ...(loss === null ? {} : { loss }) },
  };
}

/** @throws Refusal loss-above-limit, loss-unknown */
function stateLoss(
  op: Operation,
  fenced: Fence,
  history: History,
  held: GtidSet,
  detail: Record<string, unknown>,
): Loss | null {
  // One that was shut has told its last set: nothing is unseen.
  const unseen = fenced.primary !== null ? { ms: 0, transactions: 0 } : (op.intent.unseen ?? null);
  const loss =
    unseen === null
      ? null
      : lossOf({
          primaryUuid: op.state.primaryUuid,
          primaryExecuted: history.primaryExecuted,
          held,
          unseen,
          unfenced: fenced.primary === null && !fenced.primaryGone,
        });
  const forbidden = lossForbids(loss, op.declared.policy);
  if (forbidden !== null) throw new Refusal(forbidden.refusal, forbidden.reason, { ...detail, loss });
  return loss;
}
