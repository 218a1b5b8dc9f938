/** `baton repair`: what is broken, what can be done about it, and the order to do it. A person passes policy `ask`, cooldown and limit. */
import {
  BatonError,
  type CommandReply,
  type CommandRequest,
  type Policy,
  type RepairCode,
} from "@baton/contracts";
import { isCalm } from "@baton/protocol";
import type { Order } from "../decide.ts";
import type { Picture } from "../picture.ts";
import type { Fault } from "../repairs.ts";
import { inDoubt, type VoteSettings } from "../votes.ts";

type Way = CommandReply<"repair">["faults"][number]["ways"][number];

const MENDS: Record<RepairCode, string> = {
  "split-brain": "shut all but the lawful primary, record what each holds, quarantine the others",
  "replica-writable": "shut it, compare it with the primary, lead it home or quarantine it",
  "semi-sync-waiting": "write one row of Baton's own: its ack releases those who wait",
  "semi-sync-off": "switch the source role on, and see that k replicas hold what was answered without acks",
  "semi-sync-broken": "set the semi-sync settings that policy.acks and its role need",
  "replica-wrong-source": "shut it, compare it with the primary, lead it home or quarantine it",
  "replication-error": "start it again; unless the cause is gone it stops again",
  "replication-stopped": "start it again",
  "replica-hollow": "let it follow without acknowledging, and quarantine it when what it lacks does not come",
  "epoch-unmarked": "write one row of Baton's own: whose epoch the data are of",
  "gtid-drift": "quarantine it: it acknowledges nothing and is not promoted until it is rebuilt",
};

/** @throws BatonError E_NOT_FOUND, E_CONFLICT, E_LOCKED */
export function planRepair(
  picture: Picture,
  request: CommandRequest<"repair">,
  now: number,
  s: VoteSettings,
): { reply: CommandReply<"repair">; order: Order | null } {
  const { cluster, node, dryRun, inject, keep } = request;
  const place = `repair ${cluster}${node === null ? "" : ` ${node}`}`;
  const refuse = (code: "E_NOT_FOUND" | "E_CONFLICT" | "E_LOCKED", message: string, remedy: string) =>
    new BatonError(code, { place, message, remedy });
  const { declared, state } = picture;
  if (node !== null && declared?.nodes[node] === undefined)
    throw refuse(
      "E_NOT_FOUND",
      `${cluster} has no node called ${JSON.stringify(node)}.`,
      `It has ${Object.keys(declared?.nodes ?? {}).join(", ")}.`,
    );
  if (declared === null || state === null)
    throw refuse("E_CONFLICT", `${cluster} has not been adopted yet.`, `baton status ${cluster} says why.`);
  if (!isCalm(state.value))
    throw refuse(
      "E_LOCKED",
      `${state.value.operation?.id ?? "An operation"} is running.`,
      "Wait until it has ended: baton history.",
    );
  if (inDoubt(picture, now, s))
    throw refuse(
      "E_CONFLICT",
      `${state.value.primary} is suspect.`,
      "Ask again when it is well, or has been replaced.",
    );
  const faults = picture.faults.filter((f) =>
    keep
      ? f.code === "split-brain"
      : (node === null || f.node === node) && (!inject || f.code === "gtid-drift"),
  );
  const reply: CommandReply<"repair"> = {
    operation: null,
    faults: faults.map((f) => ({
      node: f.node,
      code: f.code,
      found: f.found,
      policy: declared.policy.repairs[f.code],
      ways: waysOf(cluster, f, declared.policy, state.value.undecided ?? []),
    })),
  };
  const [first] = faults;
  if (keep && (first === undefined || node === null))
    throw refuse(
      "E_CONFLICT",
      first === undefined ? "There is no split brain." : "--keep needs the node whose history is kept.",
      `baton repair ${cluster} --dry-run lists what can be mended.`,
    );
  if (inject && first === undefined)
    throw refuse(
      "E_CONFLICT",
      `${node ?? "No node"} ${node === null ? "holds" : "does not hold"} transactions of its own while it follows the primary.`,
      `baton repair ${cluster} --dry-run lists what can be mended.`,
    );
  if (dryRun || first === undefined) return { reply, order: null };
  if (declared.policy.repairs[first.code] === "never")
    throw refuse(
      "E_CONFLICT",
      `policy.repairs.${first.code} is never.`,
      "Mend it by hand, or set the policy to ask and apply it.",
    );
  return {
    reply,
    order: {
      kind: inject ? "repair" : first.by,
      node: first.node,
      epoch: state.value.epoch,
      stateRevision: state.revision,
      diagnosis: picture.diagnosis?.code ?? "healthy",
      reason: `A person asked for it: ${first.found}.`,
      repair: first.code,
      byPerson: true,
      ...(inject ? { inject } : {}),
      ...(keep ? { candidate: node } : {}),
    },
  };
}

/** The first is what an order does. */
function waysOf(cluster: string, f: Fault, policy: Policy, undecided: readonly string[]): Way[] {
  if (undecided.length > 0)
    return undecided.map((node) => ({
      what: `keep ${node}'s history; what the others hold alone is archived when they are rebuilt`,
      command: `baton repair ${cluster} ${node} --keep`,
    }));
  const repair: Way = {
    what: MENDS[f.code],
    command: policy.repairs[f.code] === "never" ? null : `baton repair ${cluster} ${f.node}`,
  };
  const rebuild: Way = {
    what: "replace its data by a copy; what it holds alone is archived first",
    command: `baton rebuild ${cluster} ${f.node}`,
  };
  if (f.code === "replication-error") return f.unasked ? [repair] : [repair, rebuild];
  if (f.code !== "gtid-drift") return [repair];
  return [
    repair,
    rebuild,
    {
      what: "when they change nothing that matters: give the primary empty transactions of the same GTIDs; the node keeps its rows",
      command: repair.command === null ? null : `${repair.command} --inject-empty`,
    },
  ];
}
