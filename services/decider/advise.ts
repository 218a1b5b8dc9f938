/** Mode `advise`: what Baton would do now, for a person who keeps the doing to himself. Said once a diagnosis. Pure. */
import { type Alert, DIAGNOSES, REFUSALS } from "@baton/contracts";
import { pausedBy } from "@baton/protocol";
import { nowUnixMs } from "./brakes.ts";
import type { Order } from "./decide.ts";
import { planNow, type Verdict } from "./diagnose.ts";
import type { Picture } from "./picture.ts";
import type { VoteSettings } from "./votes.ts";

export type Advice = Pick<Alert, "severity" | "code" | "title" | "summary" | "action" | "node"> & {
  /** What tells two pieces of advice in one diagnosis apart. */
  about: string;
};

const YOURS = "Nothing is done in mode advise: do it yourself, or set policy.mode to auto and apply it.";

/** `wish` is what would be ordered in mode `auto`. Null when there is nothing to say, or it has been said. */
export function adviceFor(
  picture: Picture,
  verdict: Verdict,
  wish: Order | null,
  now: number,
  s: VoteSettings,
): Advice | null {
  if (picture.declared?.policy.mode !== "advise" || !picture.brakesKnown) return null;
  if (pausedBy(picture.brakes, nowUnixMs(picture, now)) !== null) return null;
  const advice = compose(picture, verdict, wish, now, s);
  if (advice === null) return null;
  const { advised, diagnosis } = picture;
  return advised !== null && advised.diagnosis === diagnosis && advised.about === advice.about
    ? null
    : advice;
}

function compose(
  picture: Picture,
  verdict: Verdict,
  wish: Order | null,
  now: number,
  s: VoteSettings,
): Advice | null {
  const { cluster } = picture;
  const base = { severity: DIAGNOSES[verdict.code].severity, code: verdict.code };
  if (verdict.code === "failover-not-possible" && verdict.refusal !== null)
    return {
      ...base,
      about: verdict.refusal,
      title: `${cluster}: Baton would refuse to fail over now (${verdict.refusal})`,
      summary: verdict.summary,
      action: REFUSALS[verdict.refusal].action,
      node: verdict.node,
    };
  if (wish === null || wish.kind === "adopt") return null;
  const { node, kind } = wish;
  if (kind === "failover") {
    const plan = planNow(picture, now, s);
    if (plan?.possible !== true) return null;
    const others = plan.notChosen.map((n) => `${n.node} not: ${n.reason}`);
    return {
      ...base,
      about: `${kind} ${plan.candidate}`,
      title: `${cluster}: Baton would fail over to ${plan.candidate} now`,
      summary: `${wish.reason} ${[plan.reason, ...others].join("; ")}.`,
      action: YOURS,
      node,
    };
  }
  const would = {
    reopen: `give ${node} its pen back`,
    degrade: `let ${node} answer writes without acks`,
    restore: `make ${node} wait for acks again`,
    rejoin: `lead ${node} home`,
    rebuild: `rebuild ${node}`,
    repair: `mend ${wish.repair} on ${node}`,
    "split-brain": `stop every pen but the lawful one, beginning with what stands beside ${node}`,
    membership: `change whether ${node} counts among the members`,
    switchover: `pass the pen on from ${node}`,
  }[kind];
  return {
    ...base,
    about: `${kind} ${node}`,
    title: `${cluster}: Baton would ${would} now`,
    summary: wish.reason,
    action: YOURS,
    node,
  };
}
