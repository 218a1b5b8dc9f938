/**
 * `baton failover`: a person orders the failover that Baton does not make by itself (mode `advise`, a cooldown, a refusal), and says what is
 * given up for it where something must be. Pure: the executor asks the same again of what it reads itself.
 */
import { BatonError, type CommandReply, type CommandRequest, type DiagnosisCode } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import { isCalm } from "@baton/protocol";
import { nearest } from "@baton/runtime";
import type { Order } from "../decide.ts";
import { DEATHS, diagnose, planNow } from "../diagnose.ts";
import { unproven } from "../mark.ts";
import type { Picture } from "../picture.ts";
import type { VoteSettings } from "../votes.ts";

/** A primary that does not take writes: it may be replaced, or opened again by a person's word. */
const CLOSED: ReadonlySet<DiagnosisCode> = new Set<DiagnosisCode>([
  "primary-read-only",
  "primary-lost-history",
]);

/** @throws BatonError E_USAGE, E_NOT_FOUND, E_CONFLICT, E_LOCKED, all with nothing touched */
export function planFailoverByPerson(
  picture: Picture,
  request: CommandRequest<"failover">,
  now: number,
  s: VoteSettings,
): { reply: Omit<CommandReply<"failover">, "operation">; order: Order | null } {
  const { cluster, to, dryRun, by } = request;
  const place = `failover ${cluster}`;
  const refuse = (code: BatonError["code"], message: string, remedy: string) =>
    new BatonError(code, { place, message, remedy });
  const { declared, state } = picture;
  if (declared === null || state === null)
    throw refuse("E_CONFLICT", `${cluster} has not been adopted yet.`, `baton status ${cluster} says why.`);
  const { primary, epoch, operation } = state.value;
  if (to !== null && declared.nodes[to] === undefined) {
    const near = nearest(to, Object.keys(declared.nodes));
    throw refuse(
      "E_NOT_FOUND",
      `No node of ${cluster} is called ${JSON.stringify(to)}.${near === null ? "" : ` Did you mean ${near}?`}`,
      `Its nodes are ${Object.keys(declared.nodes).join(", ")}.`,
    );
  }
  const gtids = parseGiven(request.acceptLoss, refuse);
  if (!isCalm(state.value))
    throw refuse(
      "E_LOCKED",
      `${operation?.id ?? "An operation"} is running.`,
      "Wait until it has ended; `baton status` shows it.",
    );
  const verdict = diagnose(picture, now, s);
  if (verdict === null)
    throw refuse("E_CONFLICT", `What is seen of ${primary} is not complete yet.`, "Ask again in a moment.");
  const closed = CLOSED.has(verdict.code);
  if (!closed && !DEATHS.has(verdict.code) && verdict.code !== "failover-not-possible")
    throw refuse(
      "E_CONFLICT",
      `A failover is for a primary that is lost, and this is ${verdict.code}: ${verdict.summary}`,
      `To pass the role on: baton switchover ${cluster}${to === null || to === primary ? "" : ` --to ${to}`}.`,
    );
  const acceptLoss = { gtids: gtids.toString(), unproven: request.acceptUnproven, by };
  const order = (kind: "failover" | "reopen", reason: string): Order => ({
    kind,
    node: primary,
    epoch,
    stateRevision: state.revision,
    diagnosis: verdict.code,
    reason,
    byPerson: true,
    candidate: kind === "failover" ? to : null,
    ...(gtids.isEmpty() && !request.acceptUnproven ? {} : { acceptLoss }),
  });
  const given = [
    ...(gtids.isEmpty() ? [] : [`gives up ${gtids}`]),
    ...(request.acceptUnproven ? ["accepts that unseen writes may be lost"] : []),
  ].join(" and ");
  const why = `${by} asked for it${given === "" ? "" : ` and ${given}`}. ${verdict.summary}`;
  if (to === primary) {
    if (!closed)
      throw refuse(
        "E_CONFLICT",
        `${primary} cannot be reached, so it cannot be opened again.`,
        "Bring it back, or name a replica.",
      );
    const reason = `${primary} is opened again as it is`;
    return {
      reply: { from: primary, to, reason, notChosen: [] },
      order: dryRun ? null : order("reopen", why),
    };
  }
  const plan = planNow(picture, now, s, true, { gtids, unproven: request.acceptUnproven, named: to });
  if (plan === null || !plan.possible)
    throw refuse(
      "E_CONFLICT",
      `It would be refused (${plan?.refusal ?? "no plan"}): ${plan?.reason ?? "nothing is known of the nodes"}.`,
      wayOut(picture, plan?.refusal ?? null),
    );
  const before = request.acceptUnproven
    ? planNow(picture, now, s, true, { gtids, unproven: false, named: to })
    : plan;
  const open =
    before?.possible === false
      ? `. Nobody proves this (${before.refusal}): ${before.reason}. If ${primary} lives and is only cut off, shut it first.`
      : "";
  return {
    reply: { from: primary, to: plan.candidate, reason: `${plan.reason}${open}`, notChosen: plan.notChosen },
    order: dryRun ? null : order("failover", why),
  };
}

function parseGiven(
  text: string | null,
  refuse: (code: "E_USAGE", message: string, remedy: string) => BatonError,
): GtidSet {
  if (text === null) return GtidSet.empty;
  try {
    const set = GtidSet.parse(text);
    if (!set.isEmpty()) return set;
  } catch {
    // Said below.
  }
  throw refuse(
    "E_USAGE",
    `${JSON.stringify(text)} is no GTID set.`,
    "Give the set that the refusal names, as 'uuid:1-5'; `baton status` shows it.",
  );
}

function wayOut(picture: Picture, refusal: string | null): string {
  const { cluster } = picture;
  if (refusal === "durability-unproven" && unproven(picture) !== null)
    return `Bring the primary back; or, when it is gone for good: baton failover ${cluster} --accept-unproven.`;
  if (refusal === "ackers-unreachable" || refusal === "acker-cannot-vouch")
    return `Bring back whoever is missing. When they are gone for good, or cut off so that they acknowledge nothing more: baton failover ${cluster} --accept-unproven.`;
  if (refusal === "too-few-ackers-left")
    return `Bring back a replica. To promote all the same: baton failover ${cluster} --accept-unproven; writes wait there until a replica acknowledges.`;
  if (refusal === "mark-missed")
    return `Bring back a node that holds them; or give them up: baton failover ${cluster} --accept-loss '<the missing set>'.`;
  return `baton status ${cluster} says what is missing.`;
}
