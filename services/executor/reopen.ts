/**
 * The lawful primary restarted before anybody took its place, and booted read-only. It holds everything it ever
 * acknowledged, so it gets its pen back, with semi-sync first. The epoch stays: it is the same reign.
 */
import { GtidSet } from "@baton/mysql";
import { end, forgoing } from "@baton/protocol";
import { applyAll } from "./carry-forward.ts";
import { forgetChannel } from "./channel.ts";
import { carriersOf, heedEpoch, markEpoch, statusWithEpoch } from "./epoch.ts";
import { openAgain } from "./open.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

export async function reopen(op: Operation): Promise<void> {
  const node = op.state.primary;
  const { openMs } = op.declared.policy.deadlines;
  try {
    const { hand, startedUnixS, carried } = await op.step("check", async () => {
      const taken = await op.hand(node, openMs).catch((error: unknown) => {
        throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
      });
      const status = await statusWithEpoch(taken, openMs);
      if (status.serverUuid !== op.state.primaryUuid)
        throw new Refusal(
          "state-changed",
          `${node} is server ${status.serverUuid}, the state names ${op.state.primaryUuid}`,
        );
      heedEpoch(op, new Map([...carriersOf(op.intent.nodes), [node, status]]));
      return {
        value: { hand: taken, startedUnixS: status.startedUnixS, carried: status.epoch },
        summary: `${node} is the server that the state names`,
        detail: {
          serverUuid: status.serverUuid,
          executed: status.executed,
          startedUnixS: status.startedUnixS,
        },
      };
    });
    // A candidate that was lost between its promotion and its opening still has the channel of its time as a replica.
    const channel = (await hand.status(openMs)).replica !== null;
    if (channel)
      await op.step("catch-up", async () => {
        await applyAll(op, hand);
        return { value: null, summary: `${node} has applied all that it had received as a replica` };
      });
    await op.step("open", async () => {
      // It is asked now, with all applied: its disk may be an older one than the state's.
      const status = await hand.status(openMs);
      await openAgain(op, hand, status);
      if (channel) await forgetChannel(op, hand);
      const opened = {
        ...forgoing(op.state, op.intent, GtidSet.parse(status.executed), op.ports.nowUnixMs()),
        primaryStartedUnixS: startedUnixS,
      };
      await op.change(end(opened, "completed", null, op.ports.nowUnixMs()));
      return { value: null, summary: `${node} accepts writes again` };
    });
    // A promotion that was lost before its first write is made whole; else it is there already.
    await markEpoch(op, node, op.declared.policy.deadlines.proveMs, carried).catch(() => undefined);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    await op.change(end(op.state, "blocked", error.code, op.ports.nowUnixMs()));
    op.alert({
      severity: "critical",
      code: error.code,
      title: `${op.cluster}: ${node} could not be opened again (${error.code})`,
      summary: error.message,
      action:
        error.code === "mark-missed"
          ? "It stays closed, so that nothing is lost. Baton fails over when a replica that holds all can be promoted."
          : "Baton tries again by itself.",
      node,
    });
    return;
  }
  op.event({
    type: "primary-reopened",
    node,
    outcome: "completed",
    code: null,
    summary: `${node} restarted and is the writable primary of ${op.cluster} again`,
    primary: null,
    previous: null,
    next: null,
    detail: {},
  });
  op.alert({
    severity: "warning",
    code: "primary-reopened",
    title: `${op.cluster}: ${node} restarted and is primary again`,
    summary: op.intent.reason,
    action: "Nothing now. Find out why it restarted.",
    node,
  });
}
