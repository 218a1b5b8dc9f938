/**
 * Writes of a lossless primary wait for acks that nobody is there to give, and the policy lets them go on without
 * (`onAckLoss: degrade`). The state says so before the first of them is let go, so that a failover in between knows that it may
 * lose something; and it says that all is well again only when k ackers hold everything that was written meanwhile.
 */
import { GtidSet } from "@baton/mysql";
import { ackersOf, degraded, end, heldBy, notCounted, restored } from "@baton/protocol";
import { beside } from "./beside.ts";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

const POLL_MS = 50;
/** For a commit whose wait has just ended to be executed. */
const SETTLE_MS = 500;

export async function degrade(op: Operation): Promise<void> {
  const node = op.state.primary;
  const { acks, ackTimeoutMs } = op.declared.policy;
  // Begun before, by a predecessor or an operation that was given up: then it is done in any case.
  const begun = op.state.degraded !== undefined;
  const executed = await endingIn(op, async () => {
    const { hand, executed } = await op.step("check", async () => {
      const found = await primaryNow(op);
      if (found.clients >= acks && !begun)
        throw new Refusal("state-changed", `${found.clients} ackers are attached to ${node} again`);
      return {
        value: found,
        summary: `${found.clients} ackers are attached to ${node}, a write needs ${acks}`,
        detail: { executed: found.executed },
      };
    });
    await op.step("degrade", async () => {
      await op.change(degraded(op.state, executed, op.ports.nowUnixMs()));
      await letWritesGo(op, hand);
      await op.change(end(op.state, "completed", null, op.ports.nowUnixMs()));
      return {
        value: null,
        summary: `${node} answers writes without acks after ${ackTimeoutMs} ms`,
        detail: { executed },
      };
    });
    return executed;
  });
  if (executed === null) return;
  op.event({
    ...fact(node),
    type: "durability-degraded",
    summary: `${node} answers writes without waiting for acks: its death may lose what it writes beyond ${executed}`,
    next: `baton status ${op.cluster}`,
    detail: { executed, sinceUnixMs: op.state.degraded?.sinceUnixMs ?? 0 },
  });
  op.alert({
    severity: "critical",
    code: "durability-degraded",
    title: `${op.cluster}: ${node} answers writes without acks`,
    summary: op.intent.reason,
    action: `Bring replicas back: Baton restores the durability by itself. A failover meanwhile may lose up to ${op.declared.policy.loss.maxTransactions} transactions, more it refuses.`,
    node,
  });
}

export async function restore(op: Operation): Promise<void> {
  const node = op.state.primary;
  const { acks, deadlines } = op.declared.policy;
  const window = op.state.degraded;
  const executed = await endingIn(op, async () => {
    const { hand } = await op.step("check", async () => {
      const found = await primaryNow(op);
      if (found.clients < acks)
        throw new Refusal("state-changed", `${found.clients} ackers are attached to ${node}, not ${acks}`);
      return { value: found, summary: `${found.clients} ackers are attached to ${node}` };
    });
    return op.step("restore", async () => {
      await hand.run(hand.dialect.ackTimeout(null), deadlines.openMs);
      try {
        const set = await untilWritesWait(op, hand);
        await untilOthersHold(op, ackersOf(op.declared, node, notCounted(op.state)), set, acks);
        await op.change(end(restored(op.state), "completed", null, op.ports.nowUnixMs()));
        return {
          value: set.toString(),
          summary: `every write on ${node} waits for acks again, and ${acks} ackers hold all that was written without`,
          detail: { executed: set.toString() },
        };
      } catch (error) {
        // Else writes would wait for ever for ackers that are away again.
        if (error instanceof Refusal && !hand.closed) await letWritesGo(op, hand);
        throw error;
      }
    });
  });
  if (executed === null) return;
  const from = window?.executed ?? "";
  const sinceUnixMs = window?.sinceUnixMs ?? op.ports.nowUnixMs();
  const lastedMs = op.ports.nowUnixMs() - sinceUnixMs;
  op.event({
    ...fact(node),
    type: "durability-restored",
    summary: `${node}'s writes wait for acks again, after ${(lastedMs / 1_000).toFixed(1)} s without`,
    next: null,
    detail: {
      from,
      to: executed,
      written: GtidSet.parse(executed).subtract(GtidSet.parse(from)).toString(),
      sinceUnixMs,
      untilUnixMs: op.ports.nowUnixMs(),
    },
  });
  op.alert({
    severity: "info",
    code: "durability-restored",
    title: `${op.cluster}: ${node}'s writes wait for acks again`,
    summary: `They did not for ${(lastedMs / 1_000).toFixed(1)} s; what was written then is on ${acks} ackers now.`,
    action: "Nothing.",
    node,
  });
}

const fact = (node: string) => ({
  node,
  outcome: "completed" as const,
  code: null,
  primary: null,
  previous: null,
});

/** Runs it to its end; null when it was refused, and then that is how the operation has ended. */
async function endingIn<T>(op: Operation, run: () => Promise<T>): Promise<T | null> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    await op.change(end(op.state, "rolled-back", error.code, op.ports.nowUnixMs()));
    return null;
  }
}

async function primaryNow(op: Operation): Promise<{ hand: Hand; executed: string; clients: number }> {
  const node = op.state.primary;
  const { openMs } = op.declared.policy.deadlines;
  const hand = await op.hand(node, openMs).catch((error: unknown) => {
    if (error instanceof Error && error.name === "Superseded") throw error;
    throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
  });
  const status = await hand.status(openMs);
  const on =
    status.semiSync?.source === true || (op.state.degraded !== undefined && status.semiSync !== null);
  if (status.readOnly || status.serverUuid !== op.state.primaryUuid || !on)
    throw new Refusal("state-changed", `${node} is not the writable semi-sync primary that the state names`);
  return { hand, executed: status.executed, clients: status.semiSync?.clients ?? 0 };
}

/** From now on a write goes on without acks after a while; those that wait already, for ever, go on now. */
async function letWritesGo(op: Operation, hand: Hand): Promise<void> {
  const { ackTimeoutMs, deadlines } = op.declared.policy;
  const d = hand.dialect;
  await hand.run([d.ackTimeout(ackTimeoutMs), d.semiSyncSourceOff], deadlines.openMs);
  const untilMs = op.ports.now() + deadlines.openMs;
  while (((await hand.status(deadlines.openMs)).semiSync?.waiting ?? 0) > 0) {
    if (op.ports.now() > untilMs)
      throw new Refusal(
        "deadline-exceeded",
        `${hand.node}: writes still wait for acks though semi-sync is off`,
      );
    op.assertMine();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  await hand.run(d.semiSyncSourceOn, deadlines.openMs);
}

/**
 * Semi-sync comes back by itself when an acker has caught up. A commit that began under the short timeout may switch it off once more
 * when that passes, so it is looked at again after so long; what is executed by then is all that was written without acks.
 */
async function untilWritesWait(op: Operation, hand: Hand): Promise<GtidSet> {
  const { ackTimeoutMs, deadlines } = op.declared.policy;
  const untilMs = op.ports.now() + deadlines.catchUpMs;
  let activeSinceMs: number | null = null;
  for (;;) {
    const status = await hand.status(deadlines.openMs);
    const now = op.ports.now();
    if (status.semiSync?.sourceActive !== true) activeSinceMs = null;
    else activeSinceMs ??= now;
    if (activeSinceMs !== null && now - activeSinceMs > ackTimeoutMs + SETTLE_MS)
      return GtidSet.parse(status.executed);
    if (now > untilMs)
      throw new Refusal(
        "deadline-exceeded",
        `${hand.node}: semi-sync did not come back within ${deadlines.catchUpMs} ms`,
      );
    op.assertMine();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Durability is back only when k ackers hold all that was written without. @throws Refusal too-few-ackers-left */
async function untilOthersHold(op: Operation, others: readonly string[], set: GtidSet, acks: number) {
  const { catchUpMs, openMs } = op.declared.policy.deadlines;
  const untilMs = op.ports.now() + catchUpMs;
  for (;;) {
    const holders = await Promise.all(
      others.map((name) =>
        beside(op, name, async (h) => heldBy(await h.status(openMs)).contains(set)).catch(() => false),
      ),
    );
    if (holders.filter(Boolean).length >= acks) return;
    if (op.ports.now() > untilMs)
      throw new Refusal(
        "too-few-ackers-left",
        `fewer than ${acks} other replicas received within ${catchUpMs} ms what ${op.intent.node} holds`,
      );
    op.assertMine();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
