/**
 * Failover in lossless durability: SAFETY.md, steps 1 to 8, in that order. A crash before `commit` is rolled back or
 * run again from `fence`; after it, the operation is only ever carried forward. Every step may be run twice.
 */
import type { RefusalCode } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { ackersOf, choose, commit, contenderOf, end, heldBy } from "@baton/protocol";
import { failoverEnded, primaryChanged } from "./announcement.ts";
import { proveByCanary } from "./canary.ts";
import { shut } from "./fence-primary.ts";
import type { Hand } from "./hand.ts";
import { type Operation, within } from "./operation.ts";
import { type Fence, fence, type Stopped } from "./receivers.ts";
import { Refusal } from "./refusal.ts";
import { standStill } from "./stand-still.ts";

/** From the claimed state to the end. @throws Refusal before the commit point; Superseded at any time. */
export async function failover(op: Operation): Promise<void> {
  if (op.state.phase === "fencing") {
    try {
      await towardsCommit(op);
    } catch (error) {
      if (!(error instanceof Refusal) || op.state.phase !== "fencing") throw error;
      await rollBack(op, error.code, error.message);
      return;
    }
  }
  await carryForward(op);
}

/** Steps 1 to 5: shut out, read, choose, catch up, commit. */
async function towardsCommit(op: Operation): Promise<void> {
  const old = op.intent.node;
  const { quarantined } = op.state;
  const ackers = ackersOf(op.declared, old, quarantined);
  const { deadlines, acks } = op.declared.policy;

  const fenced = await op.step("fence", async () => {
    const value = await fence(op, ackers, old, (hand, deadlineMs) =>
      shut(hand, () => op.ports.openHelper(op.cluster, old, deadlineMs), deadlineMs),
    );
    const by =
      value.primary === null
        ? `${value.stopped.size} of ${ackers.length} receivers stopped`
        : `${old} confirmed read-only`;
    return {
      value,
      summary: `${old} can acknowledge nothing more: ${by}`,
      detail: {
        ackers,
        acks,
        needed: ackers.length - acks + 1,
        stopped: [...value.stopped.keys()],
        failed: Object.fromEntries(value.failed),
        primaryFenced: value.primary !== null,
      },
    };
  });

  const history = await op.step("read", () => readHistory(op, fenced, ackers.length - acks + 1));

  const choice = await op.step("choose", () => {
    const made = choose({
      contenders: [...fenced.stopped.values()].map((s) =>
        contenderOf(s.node, s.status, op.declared, quarantined),
      ),
      oldPrimaryRegion: op.declared.nodes[old]?.region ?? "",
      primaryExecuted: history.primaryExecuted,
      acks,
    });
    const detail = { union: made.union.toString(), notChosen: made.notChosen as unknown[] };
    if (!made.ok) throw new Refusal(made.refusal, made.reason, detail);
    const candidate = fenced.stopped.get(made.candidate) as Stopped;
    const lacking = history.required.subtract(heldBy(candidate.status));
    if (!lacking.isEmpty())
      throw new Refusal(
        "ackers-unreachable",
        `${made.candidate} lacks ${lacking}, which only the old primary is known to hold`,
        detail,
      );
    return {
      value: { candidate, union: made.union },
      summary: `${made.candidate} holds all that was acknowledged and is promoted`,
      detail: { ...detail, candidate: made.candidate, followers: made.followers },
    };
  });

  await op.step("catch-up", async () => {
    const { candidate } = choice;
    const waited = await applyReceived(
      candidate.hand,
      candidate.status.replica?.received ?? "",
      candidate.status.replica?.applier === "on",
      deadlines.catchUpMs,
    );
    return {
      value: waited,
      summary: `${candidate.node} has applied all that it had received`,
      detail: { received: candidate.status.replica?.received ?? "" },
    };
  });

  await op.step("commit", async () => {
    await op.change(commit(op.state, choice.candidate.node, choice.candidate.status.serverUuid));
    return {
      value: null,
      summary: `${choice.candidate.node} is the primary of epoch ${op.epoch}; from here there is no way back`,
    };
  });
}

/** Step 2: what is known to exist, and what the candidate must hold. */
function readHistory(op: Operation, fenced: Fence, needed: number) {
  const old = op.intent.node;
  const lastKnown = op.intent.nodes[old];
  const primaryExecuted = GtidSet.parse(fenced.primary?.status.executed ?? lastKnown?.executed ?? "");
  const vouching = [...fenced.stopped.values()].filter((s) => s.vouches).length;
  // With N−k+1 voices, everything acknowledged is among them. With fewer, only the fenced primary itself knows.
  const required = vouching >= needed || fenced.primary === null ? GtidSet.empty : primaryExecuted;
  const sets = Object.fromEntries(
    [...fenced.stopped.values()].map((s) => [
      s.node,
      {
        executed: s.status.executed,
        received: s.status.replica?.received ?? "",
        vouches: s.vouches,
        why: s.why,
      },
    ]),
  );
  return {
    value: { primaryExecuted, required },
    summary: `${fenced.stopped.size} replicas read while stopped, ${vouching} can vouch`,
    detail: { sets, lastKnownOfPrimary: primaryExecuted.toString(), required: required.toString() },
  };
}

/** Waits until the node has executed what it has received. A standing applier is started first. */
async function applyReceived(
  hand: Hand,
  received: string,
  applierOn: boolean,
  deadlineMs: number,
): Promise<void> {
  if (received === "") return;
  const wait = hand.dialect.waitApplied(received, deadlineMs);
  const rows = await hand.run(applierOn ? [wait] : [hand.dialect.startApplier, wait], deadlineMs + 1_000);
  if (!hand.dialect.applied(rows.at(-1) ?? []))
    throw new Refusal("catch-up-timeout", `${hand.node} did not apply ${received} within ${deadlineMs} ms`);
}

/** Steps 6 to 8: open and point the others at once, announce, prove. The candidate is the state's primary. */
async function carryForward(op: Operation): Promise<void> {
  const candidate = op.state.primary;
  const old = op.intent.node;
  const { acks, deadlines } = op.declared.policy;
  const others = ackersOf(op.declared, old, op.state.quarantined).filter((n) => n !== candidate);

  const opening = op.step("open", async () => {
    const hand = await op.hand(candidate, deadlines.openMs);
    if (op.takenOver) await applyAll(op, hand);
    await hand.run(hand.dialect.openPrimary({ acks }), deadlines.openMs);
    return { value: hand, summary: `${candidate} accepts writes` };
  });
  const repointing = op.step("repoint", () => repoint(op, candidate, others));
  repointing.catch(() => undefined);

  const hand = await opening.catch(async (error: unknown) => {
    if (!(error instanceof Refusal) || !isOverdue(op)) throw error;
    await block(op, error);
    return null;
  });
  if (hand === null) return;
  op.event(primaryChanged(op.intent, op.state, op.declared));

  await op.step("announce", async () => {
    const repointed = await repointing;
    // The old channel goes only now: it costs file work that no client should wait for, and stopped it is inert.
    await standStill(hand, deadlines.openMs);
    await hand.run(hand.dialect.resetReplication, deadlines.openMs);
    const short = repointed.length < acks;
    await op.change(
      end(
        op.state,
        short ? "blocked" : "completed",
        short ? "too-few-ackers-left" : null,
        op.ports.nowUnixMs(),
      ),
    );
    return {
      value: null,
      summary: `epoch ${op.epoch} is steady with ${candidate}; ${repointed.length} of ${others.length} replicas follow it`,
    };
  });
  const told = failoverEnded(op.intent, op.state);
  op.event(told.event);
  op.alert(told.alert);

  await op
    .step("prove", () => proveByCanary(op, hand, others))
    .catch((error: unknown) => {
      if (!(error instanceof Refusal)) throw error;
    });
}

/** After the commit point the operation is taken up again and again, but not for ever. */
const FORWARD_MOST_MS = 60_000;

function isOverdue(op: Operation): boolean {
  const startedUnixMs = op.state.operation?.startedUnixMs ?? 0;
  return op.ports.nowUnixMs() - startedUnixMs > FORWARD_MOST_MS;
}

/** The candidate was lost after the commit point and did not come back: a person must decide. */
async function block(op: Operation, why: Refusal): Promise<void> {
  await op.change(end(op.state, "blocked", why.code, op.ports.nowUnixMs()));
  const told = failoverEnded(op.intent, op.state);
  op.event({ ...told.event, summary: `${told.event.summary}: ${why.message}` });
  op.alert({
    ...told.alert,
    summary: why.message,
    action: `Bring ${op.state.primary} back: it holds the last history. Nothing accepts writes until then.`,
  });
}

async function applyAll(op: Operation, hand: Hand): Promise<void> {
  const { deadlines } = op.declared.policy;
  const status = await hand.status(deadlines.openMs);
  const r = status.replica;
  if (r === null || GtidSet.parse(status.executed).contains(GtidSet.parse(r.received))) return;
  await applyReceived(hand, r.received, r.applier === "on", deadlines.catchUpMs);
}

/**
 * Points every other acker at the candidate, all at once; one that fails is left to a later rejoin. Only the stopped
 * receiver is redirected: the applier runs on and its relay logs stay, so nobody waits for it (docs/decisions/0004).
 */
async function repoint(op: Operation, candidate: string, others: readonly string[]) {
  const { deadlines } = op.declared.policy;
  const failed: Record<string, string> = {};
  const done: string[] = [];
  await Promise.all(
    others.map(async (node) => {
      try {
        const hand = await op.hand(node, deadlines.openMs);
        const d = hand.dialect;
        const { target, account, tls } = sourceOf(op, candidate);
        op.assertMine();
        await hand.run(
          [
            d.stopReceiver,
            ...d.becomeReplica,
            d.redirectReceiver(target, account, { tls }),
            d.startReplication,
          ],
          deadlines.openMs,
        );
        done.push(node);
      } catch (error) {
        failed[node] = error instanceof Error ? error.message : String(error);
      }
    }),
  );
  op.assertMine();
  const all = done.length === others.length;
  return {
    value: done,
    summary: all
      ? `${done.join(", ") || "no replica"} follow${done.length === 1 ? "s" : ""} ${candidate}`
      : `could not be pointed at ${candidate}: ${Object.keys(failed).join(", ")}`,
    detail: { repointed: done, failed },
  };
}

function sourceOf(op: Operation, primary: string) {
  const declared = op.declared.nodes[primary];
  const access = op.ports.access(op.cluster);
  return {
    target: { host: declared?.host ?? "", port: declared?.port ?? 0 },
    account: access.replication ?? access,
    tls: access.tls !== undefined,
  };
}

/** The statements that make a clean node that stands still, whatever it was, an acker of the primary. */
export function followPrimary(op: Operation, hand: Hand, primary: string): string[] {
  const { target, account, tls } = sourceOf(op, primary);
  const d = hand.dialect;
  return [...d.becomeReplica, d.follow(target, account, { tls }), d.startReplication];
}

/** Before the commit point: puts back what was changed, gives the epoch back, says why. */
async function rollBack(op: Operation, code: RefusalCode, why: string): Promise<void> {
  const { deadlines } = op.declared.policy;
  const { before } = op.state.operation as NonNullable<typeof op.state.operation>;
  const notRestored: Record<string, string> = {};
  await op.confirmMine();
  await op.step("roll-back", async () => {
    await Promise.all(
      [...before.receiverOn, ...before.writable].map(async (node) => {
        try {
          // A node that could not be reached until now was not changed either.
          const hand = await within(op.hand(node, 0), 0).catch(() => null);
          if (hand === null) return;
          op.assertMine();
          if (before.writable.includes(node))
            await hand.run(hand.dialect.openPrimary({ acks: op.declared.policy.acks }), deadlines.openMs);
          else await hand.run(hand.dialect.startReceiver, deadlines.openMs);
        } catch (error) {
          notRestored[node] = error instanceof Error ? error.message : String(error);
        }
      }),
    );
    await op.change(end(op.state, "rolled-back", code, op.ports.nowUnixMs()));
    return { value: null, summary: `as it was before: ${why}`, detail: { restored: before, notRestored } };
  });
  op.event({
    type: "operation-ended",
    node: op.intent.node,
    outcome: "rolled-back",
    code,
    summary: `failover of ${op.cluster} refused: ${why}`,
    primary: null,
    previous: null,
    next: `baton history ${op.intent.operation}`,
    detail: { notRestored },
  });
  op.alert({
    severity: "critical",
    code,
    title: `${op.cluster}: failover refused (${code})`,
    summary: why,
    action:
      "Nothing was lost or promoted. Bring back a replica or the old primary; Baton tries again by itself.",
    node: op.intent.node,
  });
}
