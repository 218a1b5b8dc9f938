/**
 * A switchover that somebody else has committed, or that was committed while NATS was away: the old primary may have been let go on since
 * (thaw.ts). Before the candidate is opened it is frozen again, where it can be reached, and the candidate's receiver is stopped: every write that the
 * old primary has answered needed its ack, so the candidate holds them all, and from then on there can be no more.
 */
import { freeze } from "./freeze.ts";
import { type Operation, within } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { keepReceived } from "./relay-logs.ts";

/** For a server that is well; the candidate's stopped receiver does for a silent one. */
const REACH_MS = 500;

export async function closeAgain(op: Operation): Promise<void> {
  const { openMs, catchUpMs } = op.declared.policy.deadlines;
  const { node } = op.intent;
  const candidate = await op.hand(op.state.primary, openMs);
  const d = candidate.dialect;
  const status = await candidate.status(openMs);
  // It was opened before, and so by one who had been here, or before the old primary could be let go on.
  if (!status.readOnly) return;
  const hand = await within(
    op.hand(node, openMs).catch(() => null),
    REACH_MS,
  );
  const old = await hand?.status(openMs).catch(() => null);
  const meant = op.intent.nodes[node]?.serverUuid;
  if (hand !== null && old != null && !old.readOnly && (meant === undefined || old.serverUuid === meant)) {
    await op
      .step("freeze", async () => {
        if (status.replica?.receiver === "off") await candidate.run(d.startReceiver, openMs);
        const helper = await op.helper(hand, openMs);
        const frozen = await freeze(hand, helper).finally(() => helper.destroy());
        await candidate.run(d.waitApplied(frozen.status.executed, catchUpMs), catchUpMs + 1_000);
        return {
          value: null,
          summary: `${node} had been let go on while NATS was away, and takes no more writes now`,
          detail: { executed: frozen.status.executed },
        };
      })
      .catch((error: unknown) => {
        // It cannot answer a write any more all the same, once the candidate hears nothing of it.
        if (!(error instanceof Refusal)) throw error;
      });
  }
  await keepReceived(candidate, openMs);
  await candidate.run(d.stopReceiver, openMs);
}
