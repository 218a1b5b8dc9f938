/**
 * `baton forget`: a person's word that a member which cannot be reached will not come back by itself. A failover does not wait for it any
 * more. Pure: the executor asks again, and proves first that k others hold what it may have acknowledged.
 */
import { BatonError, type CommandReply, type CommandRequest } from "@baton/contracts";
import { nearest } from "@baton/runtime";
import type { Order } from "../decide.ts";
import { reckoning } from "../membership.ts";
import type { Picture } from "../picture.ts";
import { reachable, type VoteSettings } from "../votes.ts";

/** @throws BatonError E_NOT_FOUND, E_CONFLICT, E_LOCKED, all with nothing touched */
export function planForget(
  picture: Picture,
  request: CommandRequest<"forget">,
  now: number,
  s: VoteSettings,
): { reply: Omit<CommandReply<"forget">, "operation">; order: Order | null } {
  const { cluster, node, dryRun, by, reason } = request;
  const refuse = (code: BatonError["code"], message: string, remedy: string) =>
    new BatonError(code, { place: `forget ${cluster} ${node}`, message, remedy });
  const { declared, state } = picture;
  if (declared === null || state === null)
    throw refuse("E_CONFLICT", `${cluster} has not been adopted yet.`, `baton status ${cluster} says why.`);
  const { primary, operation, phase, parked, quarantined, epoch } = state.value;
  if (declared.nodes[node] === undefined) {
    const near = nearest(
      node,
      Object.keys(declared.nodes).filter((name) => name !== primary),
    );
    throw refuse(
      "E_NOT_FOUND",
      `No node of ${cluster} is called ${JSON.stringify(node)}.${near === null ? "" : ` Did you mean ${near}?`}`,
      `Its nodes are ${Object.keys(declared.nodes).join(", ")}.`,
    );
  }
  if (node === primary)
    throw refuse(
      "E_CONFLICT",
      `${node} is the primary.`,
      `A lost primary is replaced: baton failover ${cluster}.`,
    );
  if (parked?.[node] !== undefined || quarantined.includes(node))
    throw refuse(
      "E_CONFLICT",
      `${node} does not count among the members as it is.`,
      `baton members ${cluster} says why; it counts again when it is led home.`,
    );
  if (phase !== "steady")
    throw refuse(
      "E_LOCKED",
      `${operation?.id ?? "An operation"} is running.`,
      "Wait until it has ended; `baton status` shows it.",
    );
  if (reachable(picture, node, state.sinceMs, now, s) !== false)
    throw refuse(
      "E_CONFLICT",
      `${node} can be reached, or was not looked at yet: it may acknowledge writes.`,
      `A node that is to leave while it runs is taken out of baton.yaml: baton apply.`,
    );
  if (reachable(picture, primary, state.sinceMs, now, s) !== true)
    throw refuse(
      "E_CONFLICT",
      `${primary} cannot be reached, so nobody can say what ${node} may have acknowledged.`,
      `When both are gone for good: baton failover ${cluster} --dry-run says what would be given up.`,
    );
  const { members, needed } = reckoning(picture, node);
  if (members.length < declared.policy.acks)
    throw refuse(
      "E_CONFLICT",
      `Without ${node} ${members.length === 0 ? "nobody" : members.join(", ")} would be left, and a write waits for ${declared.policy.acks}.`,
      "Bring another replica first.",
    );
  const order: Order = {
    kind: "membership",
    node,
    epoch,
    stateRevision: state.revision,
    diagnosis: picture.diagnosis?.code ?? "healthy",
    reason: `${by} says that it does not come back by itself: ${reason}`,
    byPerson: true,
  };
  return { reply: { node, members, needed }, order: dryRun ? null : order };
}
