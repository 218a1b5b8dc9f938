/**
 * Everything ends. An intent whose operation fails is delivered again and the operation goes on where it stood; one that has met walls
 * for `policy.deadlines.forwardMs` is given up, in the way its phase allows.
 */

import { MysqlFault } from "@baton/mysql";
import { ackersOf, end, leaving, notCounted } from "@baton/protocol";
import { reignEnded } from "./announcement.ts";
import { givePenBack } from "./give-pen-back.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { rollBack } from "./roll-back.ts";

/** By the monotonic clock of the executor that goes on with it; dates of two machines cannot be compared. */
export function isOverdue(op: Operation): boolean {
  const { operation } = op.state;
  if (operation === null || operation.id !== op.intent.operation) return false;
  return op.ports.standingMs(op.state) > op.declared.policy.deadlines.forwardMs;
}

export async function giveUpOverdue(op: Operation, error: unknown): Promise<void> {
  const why = asRefusal(error);
  if (op.state.phase === "promoting") return block(op, why);
  if (op.state.phase === "fencing")
    return op.intent.kind === "switchover"
      ? givePenBack(op, why, { frozen: true, stopped: true, moved: new Set() })
      : rollBack(op, why);
  await op.change(end(op.state, "blocked", why.code, op.ports.nowUnixMs()));
  op.alert({
    severity: "warning",
    code: why.code,
    title: `${op.cluster}: ${op.intent.kind} of ${op.intent.node} given up (${why.code})`,
    summary: why.message,
    action: `Baton orders it again when it is still needed. What it ran into: baton history ${op.intent.operation}`,
    node: op.intent.node,
  });
}

/** A person has ended it (`baton abort`): given up in the same way, with every node that it may have touched in hand. */
export async function endAborted(op: Operation): Promise<void> {
  const { before, aborted } = op.state.operation as NonNullable<typeof op.state.operation>;
  const { openMs } = op.declared.policy.deadlines;
  const touched = new Set([...before.receiverOn, ...before.writable, ...Object.keys(before.sources ?? {})]);
  if (op.state.phase === "fencing")
    await Promise.all(
      [...touched]
        .filter((node) => op.declared.nodes[node] !== undefined)
        .map((node) => op.hand(node, openMs).catch(() => null)),
    );
  op.assertMine();
  await giveUpOverdue(
    op,
    new Refusal("aborted", `${aborted?.by ?? "somebody"} has ended it: ${aborted?.reason ?? ""}`),
  );
}

/** Past the point of no return, and the new primary cannot be opened or made sure of: a person must help. */
async function block(op: Operation, why: Refusal): Promise<void> {
  const { primary } = op.state;
  const others = ackersOf(op.declared, primary, notCounted(op.state));
  const follow = await Promise.all(others.map((node) => follows(op, node, primary)));
  const astray = others.filter((_, i) => !follow[i]);
  await op.change(end(leaving(op.state, astray), "blocked", why.code, op.ports.nowUnixMs()));
  const told = reignEnded(op.intent, op.state);
  op.event({ ...told.event, summary: `${told.event.summary}: ${why.message}` });
  op.alert({
    ...told.alert,
    summary: why.message,
    action: `Bring ${op.state.primary} back: it holds the last history. Baton opens it as soon as it answers.`,
  });
}

/** Is it pointed at the primary as a whole, so that it will follow as soon as that is there? Else somebody must lead it home. */
async function follows(op: Operation, node: string, primary: string): Promise<boolean> {
  const { openMs } = op.declared.policy.deadlines;
  const to = op.declared.nodes[primary];
  try {
    const r = (await (await op.hand(node, openMs)).status(openMs)).replica;
    return r !== null && r.receiver !== "off" && r.sourceHost === to?.host && r.sourcePort === to.port;
  } catch {
    return false;
  }
}

function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new Refusal(error instanceof MysqlFault ? "node-lost" : "internal", message);
}
