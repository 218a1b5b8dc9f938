/**
 * `baton switchover`: the plan, and the order that follows from it. Pure: the same rules as the executor's, on what the probers
 * have seen. The executor asks again before it touches anything; what only it can see (open transactions, locks) is not in here.
 */
import { BatonError, type CommandReply, type CommandRequest } from "@baton/contracts";
import { expectedPauseMs, forbidding, planSwitchover } from "@baton/protocol";
import { nearest } from "@baton/runtime";
import { downtimesNow } from "../brakes.ts";
import type { Order } from "../decide.ts";
import { mismatchNow } from "../identity.ts";
import type { Picture } from "../picture.ts";
import { liveProbers, reachedStatuses, type VoteSettings } from "../votes.ts";

export interface PlannedSwitchover {
  reply: Omit<CommandReply<"switchover">, "operation">;
  /** Null for a dry run. */
  order: Order | null;
}

/** @throws BatonError E_NOT_FOUND, E_CONFLICT, E_LOCKED. A dry run shows failed checks instead of throwing. */
export function planOrder(
  picture: Picture,
  { to, dryRun, force }: CommandRequest<"switchover">,
  now: number,
  s: VoteSettings,
): PlannedSwitchover {
  const place = `switchover ${picture.cluster}`;
  const { declared, state } = picture;
  if (declared === null || state === null)
    throw new BatonError("E_CONFLICT", {
      place,
      message: `${picture.cluster} has not been adopted yet: its primary is not known.`,
      remedy: "`baton status` says what it waits for.",
    });
  const { primary, primaryUuid, quarantined, epoch, phase, operation } = state.value;
  if (to !== null && declared.nodes[to] === undefined) {
    const near = nearest(to, Object.keys(declared.nodes));
    throw new BatonError("E_NOT_FOUND", {
      place,
      message: `No node of ${picture.cluster} is called ${JSON.stringify(to)}.${near === null ? "" : ` Did you mean ${near}?`}`,
      remedy: `Its nodes are ${Object.keys(declared.nodes).join(", ")}.`,
    });
  }
  if (phase !== "steady")
    throw new BatonError("E_LOCKED", {
      place,
      message: `${operation?.id ?? "An operation"} is running.`,
      remedy: "Wait until it has ended; `baton status` shows it.",
    });
  if (to === primary)
    throw new BatonError("E_CONFLICT", {
      place,
      message: `${primary} is the primary already.`,
      remedy: "Name another node, or none.",
    });
  const mismatch = mismatchNow(picture, now, s);
  if (mismatch !== null)
    throw new BatonError("E_CONFLICT", {
      place,
      message: `Names and servers do not fit: ${mismatch}.`,
      remedy: "Mend the addresses in baton.yaml, then baton apply.",
    });
  // What was seen before the present reign began tells of roles that have passed.
  const statuses = new Map(
    [...reachedStatuses(picture, now, s)].filter(
      ([node]) => (picture.statuses.get(node)?.atMs ?? 0) > state.sinceMs,
    ),
  );
  const plan = planSwitchover({
    declared,
    primary,
    primaryUuid,
    quarantined,
    statuses,
    named: to,
    downtimes: downtimesNow(picture, now),
    oldestTransactionMs: null,
    readLocked: null,
  });
  if (plan.candidate === null)
    throw new BatonError("E_CONFLICT", {
      place,
      message: `No replica can take over from ${primary}: ${plan.notChosen.map((n) => `${n.node}: ${n.reason}`).join("; ")}.`,
      remedy: "Remove the reason for one of them, or name one with --to.",
    });
  const against = forbidding(plan.checks, force);
  if (against.length > 0 && !dryRun)
    throw new BatonError("E_CONFLICT", {
      place,
      message: `${against.map((c) => c.found).join("; ")}.`,
      remedy: against.some((c) => c.safety)
        ? "Remove the reason; --force does not override what is about safety."
        : "Remove the reason, or say --force.",
    });
  const reply = {
    from: primary,
    to: plan.candidate,
    checks: plan.checks,
    notChosen: plan.notChosen,
    expectedPauseMs: expectedPauseMs(slowestRttMs(picture, now, s)),
  };
  const order: Order = {
    kind: "switchover",
    node: primary,
    epoch,
    stateRevision: state.revision,
    diagnosis: picture.diagnosis?.code ?? "healthy",
    reason: `A person asked for ${to === null ? "another primary" : to}${force ? ", with force" : ""}.`,
    candidate: plan.candidate,
    force,
    byPerson: true,
  };
  return { reply, order: dryRun ? null : order };
}

/** The slowest of the last good answers of any node to any live prober: the executor is about as far away. */
function slowestRttMs(picture: Picture, now: number, s: VoteSettings): number {
  const live = liveProbers(picture, now, s);
  let slowest = 0;
  for (const byProber of picture.seen.values())
    for (const [prober, { sample }] of byProber)
      if (live.has(prober) && sample.outcome === "ok") slowest = Math.max(slowest, sample.rttMs);
  return slowest;
}
