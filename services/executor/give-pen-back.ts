/** A switchover that came to nothing: the primary writes again, with semi-sync on first, and the candidate follows it as before. */
import { end, leaving } from "@baton/protocol";
import { redirect } from "./carry-forward.ts";
import type { Hand } from "./hand.ts";
import { openAgain } from "./open.ts";
import type { Operation } from "./operation.ts";
import type { Refusal } from "./refusal.ts";
import { startAgain } from "./start-again.ts";
import type { Touched } from "./switchover.ts";

export async function givePenBack(op: Operation, why: Refusal, touched: Touched): Promise<void> {
  const old = op.intent.node;
  const candidate = op.intent.candidate;
  const before = op.state.operation?.before;
  await op.confirmMine();
  const failure = await op.step("roll-back", async () => {
    const astray = op.takenOver ? (before?.receiverOn ?? []) : [...touched.moved];
    const unrestored: string[] = [];
    const [penBack] = await Promise.all([
      touched.frozen && before?.writable.includes(old) === true ? open(op, old) : null,
      ...astray.map(async (node) => {
        if (!(await moveBack(op, node))) unrestored.push(node);
      }),
    ]);
    if (touched.stopped && candidate !== null && before?.receiverOn.includes(candidate))
      await op
        .hand(candidate, op.declared.policy.deadlines.openMs)
        .then((hand) => startAgain(op, hand))
        .catch(() => unrestored.push(candidate));
    // Blocked, and the decider gives it its pen back as soon as it answers again.
    await op.change(
      end(
        leaving(op.state, unrestored),
        penBack === null ? "rolled-back" : "blocked",
        why.code,
        op.ports.nowUnixMs(),
      ),
    );
    return {
      value: penBack,
      summary: !touched.frozen
        ? `nothing was touched: ${why.message}`
        : penBack === null
          ? `${old} writes again: ${why.message}`
          : `${old} could not be opened again (${penBack}), after: ${why.message}`,
    };
  });
  op.event({
    type: "operation-ended",
    node: old,
    outcome: failure === null ? "rolled-back" : "blocked",
    code: why.code,
    summary: `switchover of ${op.cluster} given up: ${why.message}`,
    primary: null,
    previous: null,
    next: `baton history ${op.intent.operation}`,
    detail: {},
  });
  op.alert({
    severity: failure === null ? "warning" : "critical",
    code: why.code,
    title: `${op.cluster}: switchover given up (${why.code})`,
    summary: why.message,
    action:
      failure === null
        ? `${old} is primary as before. Remove the reason and order it again.`
        : `${old} could not be opened again: ${failure}. Baton tries again as soon as it answers.`,
    node: old,
  });
}

/**
 * A replica that was, or was about to be, pointed at the candidate follows the primary again. False: it could not be asked, and its
 * receiver may stand; it is led home by the decider, which would take it for stopped by a person otherwise.
 */
async function moveBack(op: Operation, node: string): Promise<boolean> {
  const { openMs } = op.declared.policy.deadlines;
  const to = op.declared.nodes[op.intent.candidate ?? ""];
  try {
    const hand = await op.hand(node, openMs);
    const r = (await hand.status(openMs)).replica;
    op.assertMine();
    if (r?.sourceHost === to?.host && r?.sourcePort === to?.port) await redirect(op, hand, op.intent.node);
    else if (r?.receiver === "off") await startAgain(op, hand);
    return true;
  } catch {
    op.assertMine();
    return false;
  }
}

/** Null, or why it could not be opened. The operation is known to be ours: a hand that was lost may be taken again. */
async function open(op: Operation, node: string): Promise<string | null> {
  const { deadlines } = op.declared.policy;
  const attempt = async (taking: Promise<Hand>): Promise<string | null> => {
    const hand = await taking;
    const status = await hand.status(deadlines.openMs);
    if (status.serverUuid !== op.state.primaryUuid) return `it is another server, ${status.serverUuid}`;
    op.assertMine();
    await openAgain(op, hand, status);
    return null;
  };
  try {
    return await attempt(op.hand(node, deadlines.openMs));
  } catch {
    op.assertMine();
    return attempt(op.renewHand(node, deadlines.openMs)).catch((error: unknown) =>
      error instanceof Error ? error.message : String(error),
    );
  }
}
