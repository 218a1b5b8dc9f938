/** A failover that came to nothing: every node that it touched is put back as it was, the epoch is given back, and why is said. */
import type { Before } from "@baton/contracts";
import { end, leaving } from "@baton/protocol";
import { pointAtAddress, sourceOf } from "./channel.ts";
import type { Hand } from "./hand.ts";
import { openAgain } from "./open.ts";
import { type Operation, within } from "./operation.ts";
import type { Refusal } from "./refusal.ts";
import { assertNotStranded } from "./relay-logs.ts";
import { standStill } from "./stand-still.ts";
import { startAgain } from "./start-again.ts";

export async function rollBack(op: Operation, why: Refusal): Promise<void> {
  const { before } = op.state.operation as NonNullable<typeof op.state.operation>;
  const notRestored: Record<string, string> = {};
  const restored: string[] = [];
  await op.confirmMine();
  await op.step("roll-back", async () => {
    const nodes = new Set([...before.receiverOn, ...before.writable, ...Object.keys(before.sources ?? {})]);
    await Promise.all(
      [...nodes].map(async (node) => {
        try {
          // A node that could not be reached until now was not changed either, unless by the one who began.
          const hand = await within(op.hand(node, 0), 0).catch(() => null);
          if (hand === null && op.takenOver) throw new Error("it cannot be reached");
          if (hand === null) return;
          op.assertMine();
          // Nothing was done to another server that answers at its address by now, and it must not be opened.
          const { serverUuid } = await hand.status(op.declared.policy.deadlines.openMs);
          if (node === op.state.primary && serverUuid !== op.state.primaryUuid) return;
          await putBack(op, hand, before);
          restored.push(node);
        } catch (error) {
          notRestored[node] = error instanceof Error ? error.message : String(error);
        }
      }),
    );
    const unrestored = [...before.receiverOn, ...before.writable].filter((n) => notRestored[n] !== undefined);
    await op.change(
      end(leaving(op.state, unrestored, restored), "rolled-back", why.code, op.ports.nowUnixMs()),
    );
    return {
      value: null,
      summary: `as it was before: ${why.message}`,
      detail: { restored: before, notRestored },
    };
  });
  op.event({
    type: "operation-ended",
    node: op.intent.node,
    outcome: "rolled-back",
    code: why.code,
    summary: `failover of ${op.cluster} refused: ${why.message}`,
    primary: null,
    previous: null,
    next: `baton history ${op.intent.operation}`,
    detail: { notRestored },
  });
  op.alert({
    severity: "critical",
    code: why.code,
    title: `${op.cluster}: failover refused (${why.code})`,
    summary: why.message,
    action:
      "Nothing was lost or promoted. Bring back a replica or the old primary; Baton tries again by itself.",
    node: op.intent.node,
  });
}

async function putBack(op: Operation, hand: Hand, before: Before): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const d = hand.dialect;
  if (before.writable.includes(hand.node)) {
    await openAgain(op, hand, await hand.status(openMs));
    return;
  }
  const was = before.sources?.[hand.node];
  if (!d.keepsRelayLogs) assertNotStranded(hand.node, await hand.status(openMs));
  const now = (await hand.status(openMs)).replica;
  // Its relay logs stay: the applier runs since it was to catch up.
  if (was !== undefined && now !== null && (now.sourceHost !== was.host || now.sourcePort !== was.port)) {
    const { account, tls } = sourceOf(op, op.intent.node);
    await pointAtAddress(op, hand, was, account, tls, { roles: [], start: "nothing", running: true });
    if (!d.keepsRelayLogs) await hand.run(d.startApplier, openMs);
  }
  // Where standing costs relay logs, an applier that was started goes on.
  const stood = d.keepsRelayLogs && before.applierOff?.includes(hand.node) === true;
  if (stood && now?.applier === "on") await standStill(hand, openMs);
  if (before.receiverOn.includes(hand.node)) await startAgain(op, hand);
}
