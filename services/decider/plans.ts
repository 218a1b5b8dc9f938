/**
 * A switchover that a person has planned: has its time come, and is the cluster fit for it? Pure. Every decider asks; who writes the
 * order into the plan first decides which one it is, and that one can run once only.
 */
import { BatonError, type Planned } from "@baton/contracts";
import { endOf, heldByHand, utc } from "@baton/protocol";
import { nowUnixMs } from "./brakes.ts";
import { planOrder } from "./commands/switchover.ts";
import type { Order } from "./decide.ts";
import { WARM_UP_MS } from "./diagnose.ts";
import { operationName } from "./order.ts";
import type { Picture } from "./picture.ts";
import type { VoteSettings } from "./votes.ts";

/** Who planned it for ten may be asleep by a quarter past: later than this it is not made up for. */
export const LATE_MS = 180_000;
/** A decider that took a plan and has not ordered it for so long is gone. */
const TAKER_GONE_MS = 5_000;
/** After a change of state every node is looked at within this time. */
const LOOKED_MS = 2_000;

export type PlanStep =
  | { do: "wait" }
  | { do: "skip"; reason: string }
  /** Write the order into the plan, then give it. */
  | { do: "take"; order: Order }
  | { do: "give"; order: Order }
  /** It has been ordered, and runs or has ended. */
  | { do: "forget" };

/** `seenMs`: when this decider learnt of the plan as it is now. */
export function judgePlan(
  plan: Planned,
  seenMs: number,
  picture: Picture,
  me: string,
  now: number,
  s: VoteSettings,
): PlanStep {
  const unixMs = nowUnixMs(picture, now);
  const { state } = picture;
  if (unixMs === null || unixMs < plan.atUnixMs || !picture.stateKnown || !picture.brakesKnown)
    return { do: "wait" };
  const late = unixMs - plan.atUnixMs > LATE_MS;
  if (plan.order !== null) return carryOut(plan, plan.order, seenMs, picture, me, now, late);
  if (late) {
    const busy = state !== null && state.value.phase !== "steady" && now - picture.startedMs > LATE_MS;
    return skip(
      busy
        ? `${state.value.operation?.id ?? "another operation"} has been running since then`
        : `no decider ran at ${utc(plan.atUnixMs)} or within ${LATE_MS / 60_000} minutes after it`,
    );
  }
  const paused = heldByHand(picture.brakes);
  if (paused !== null) return skip(paused);
  const looked = Object.keys(picture.declared?.nodes ?? {}).every(
    (node) => (picture.statuses.get(node)?.atMs ?? 0) > (state?.sinceMs ?? 0),
  );
  if (now - picture.startedMs < WARM_UP_MS || (!looked && now - (state?.sinceMs ?? 0) < LOOKED_MS))
    return { do: "wait" };
  try {
    const { to, force, cluster } = plan;
    const { order } = planOrder(picture, { cluster, to, force, dryRun: false }, now, s);
    if (order === null) return { do: "wait" };
    return { do: "take", order: { ...order, reason: reasonOf(plan) } };
  } catch (error) {
    if (!(error instanceof BatonError)) throw error;
    return error.code === "E_LOCKED" ? { do: "wait" } : skip(error.message.replace(/\.$/, ""));
  }
}

function carryOut(
  plan: Planned,
  { candidate, stateRevision, decider }: NonNullable<Planned["order"]>,
  seenMs: number,
  picture: Picture,
  me: string,
  now: number,
  late: boolean,
): PlanStep {
  const { state } = picture;
  if (state === null || state.revision < stateRevision) return { do: "wait" };
  const order: Order = {
    kind: "switchover",
    node: state.value.primary,
    epoch: state.value.epoch,
    stateRevision,
    diagnosis: picture.diagnosis?.code ?? "healthy",
    reason: reasonOf(plan),
    candidate,
    force: plan.force,
    byPerson: true,
  };
  const name = operationName(plan.cluster, order);
  if (state.value.operation?.id === name || endOf(state.value, name) !== null) return { do: "forget" };
  // The order can run no more. Whether it did before the state went on cannot be told from here, so it is not made again.
  if (state.revision !== stateRevision)
    return skip(`${plan.cluster} changed at that very moment; baton history says whether ${name} ran`);
  if (late) return skip("the cluster's lock was held by another operation all the time");
  return decider === me || now - seenMs > TAKER_GONE_MS ? { do: "give", order } : { do: "wait" };
}

function reasonOf(plan: Planned): string {
  return `${plan.by} planned it for ${utc(plan.atUnixMs)}${plan.force ? ", with force" : ""}.`;
}

function skip(reason: string): PlanStep {
  return { do: "skip", reason };
}
