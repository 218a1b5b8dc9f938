/** `baton rebuild`: may this node be copied over now, and from whom? The executor asks the same again, of the nodes themselves. */
import { BatonError, type CommandRequest } from "@baton/contracts";
import { chooseDonor, heldBy } from "@baton/protocol";
import { downtimesNow } from "../brakes.ts";
import type { Order } from "../decide.ts";
import { isForeignNode, mismatchNow } from "../identity.ts";
import type { Picture } from "../picture.ts";
import { inDoubt, reachable, reachedStatuses, type VoteSettings } from "../votes.ts";

/** @throws BatonError E_NOT_FOUND, E_CONFLICT, E_LOCKED */
export function planRebuild(
  picture: Picture,
  request: CommandRequest<"rebuild">,
  now: number,
  s: VoteSettings,
): { order: Order; donor: string } {
  const { cluster, node, from } = request;
  const place = `rebuild ${cluster} ${node}`;
  const refuse = (
    code: "E_NOT_FOUND" | "E_CONFLICT" | "E_LOCKED" | "E_NODE_FOREIGN",
    message: string,
    remedy: string,
  ) => new BatonError(code, { place, message, remedy });
  const { declared, state } = picture;
  for (const name of [node, ...(from === null ? [] : [from])]) {
    if (declared?.nodes[name] === undefined)
      throw refuse(
        "E_NOT_FOUND",
        `${cluster} has no node called ${JSON.stringify(name)}.`,
        `It has ${Object.keys(declared?.nodes ?? {}).join(", ")}.`,
      );
  }
  if (declared === null || state === null)
    throw refuse("E_CONFLICT", `${cluster} has not been adopted yet.`, `baton status ${cluster} says why.`);
  const { value: reign, revision } = state;
  if (reign.phase !== "steady")
    throw refuse(
      "E_LOCKED",
      `${reign.operation?.id ?? "An operation"} is running.`,
      "Wait until it has ended: baton history.",
    );
  if (node === reign.primary)
    throw refuse(
      "E_CONFLICT",
      `${node} is the primary: its data are the cluster's.`,
      `Pass the baton on first: baton switchover ${cluster}`,
    );
  if (inDoubt(picture, now, s))
    throw refuse("E_CONFLICT", `${reign.primary} is suspect.`, "Ask again when the primary is well.");
  if (reachable(picture, node, Number.NEGATIVE_INFINITY, now, s) !== true)
    throw refuse(
      "E_CONFLICT",
      `${node} cannot be reached.`,
      "Start its mysqld; an empty data directory with Baton's account and the clone plugin will do.",
    );
  const mismatch = mismatchNow(picture, now, s);
  if (mismatch !== null)
    throw refuse("E_CONFLICT", `Names and servers do not fit: ${mismatch}.`, "Mend baton.yaml: baton apply.");
  const status = picture.statuses.get(node)?.status;
  if (status !== undefined && isForeignNode(picture, node, status))
    throw refuse(
      "E_NODE_FOREIGN",
      `The server of ${node} holds ${heldBy(status).count()} transactions of its own and nothing of ${cluster}.`,
      `If it is to lose them: baton apply --force-join ${node} --confirm-size ${heldBy(status).count()}; then again.`,
    );
  if (status?.flavour === "mariadb")
    throw refuse(
      "E_CONFLICT",
      `${node} runs MariaDB, which has no clone plugin (flavour-cannot).`,
      "Rebuild it by hand: docs/operate/mariadb.md.",
    );
  const choice = chooseDonor({
    declared,
    primary: reign.primary,
    primaryUuid: reign.primaryUuid,
    quarantined: reign.quarantined,
    node,
    named: from,
    statuses: reachedStatuses(picture, now, s),
    downtimes: downtimesNow(picture, now),
  });
  if (!choice.ok)
    throw refuse(
      "E_CONFLICT",
      `${choice.reason}.`,
      "Leave --from out to let Baton choose, or bring a replica back.",
    );
  return {
    donor: choice.donor,
    order: {
      kind: "rebuild",
      node,
      epoch: reign.epoch,
      stateRevision: revision,
      diagnosis: picture.diagnosis?.code ?? "healthy",
      reason: `A person asked for it${from === null ? "" : `, from ${from}`}.`,
      candidate: from,
      byPerson: true,
    },
  };
}
