/**
 * Past the commit point, whatever led to it: the candidate is opened while the others are pointed at it, the change is
 * announced, a canary proves it (SAFETY.md, Failover 6 to 8). Every step may be run twice; there is no way back.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { ackersOf, end, heldBy, leaving, notCounted } from "@baton/protocol";
import { primaryChanged, reignEnded } from "./announcement.ts";
import { proveByCanary } from "./canary.ts";
import { forgetChannel, pointAt } from "./channel.ts";
import { heedEpoch, markEpoch, statusWithEpoch } from "./epoch.ts";
import type { Hand } from "./hand.ts";
import { goByAutoPosition, takeUpLeftBehind } from "./left-behind.ts";
import { openWrites } from "./open.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { applyBeforeStanding, assertNotStranded } from "./relay-logs.ts";

/** Waits until the node has executed what it had received at `status`. A standing applier is started first. */
export async function applyReceived(hand: Hand, status: NodeStatus, deadlineMs: number): Promise<void> {
  const { received = "", applier = "off" } = status.replica ?? {};
  if (received === "") return;
  assertNotStranded(hand.node, status);
  const applierOn = applier === "on";
  const leftBehind = await takeUpLeftBehind(hand, status, deadlineMs);
  const wait = hand.dialect.waitApplied(received, deadlineMs);
  const rows = await hand.run(applierOn ? [wait] : [hand.dialect.startApplier, wait], deadlineMs + 1_000);
  if (!hand.dialect.applied(rows.at(-1) ?? []))
    throw new Refusal("catch-up-timeout", `${hand.node} did not apply ${received} within ${deadlineMs} ms`);
  if (leftBehind) await goByAutoPosition(hand, deadlineMs);
}

/**
 * Opens and points the others at once, announces, proves. The candidate is the state's primary; `held` is what it was read to hold
 * before the commit point (null: another executor read it, it is asked again), `moved` are those that a switchover has pointed at it already.
 */
export async function carryForward(
  op: Operation,
  held: GtidSet | null,
  moved: ReadonlySet<string> = new Set(),
): Promise<void> {
  const candidate = op.state.primary;
  const planned = op.intent.kind === "switchover";
  const { acks, deadlines, durability } = op.declared.policy;
  // After a failover the old primary is led home later, if it is clean; after a switchover it is known to be.
  const others = ackersOf(op.declared, candidate, notCounted(op.state)).filter(
    (n) => planned || n !== op.intent.node,
  );

  const opening = op.step("open", async () => {
    const hand = await op.hand(candidate, deadlines.openMs);
    if (op.takenOver) {
      heedEpoch(op, new Map([[candidate, await statusWithEpoch(hand, deadlines.openMs)]]));
      await applyAll(op, hand);
    }
    const d = hand.dialect;
    // A failover has stopped its receiver long since.
    const holds = held ?? heldBy(await hand.status(deadlines.openMs));
    await openWrites(op, hand, holds, planned ? [d.stopReceiver] : []);
    return { value: hand, summary: `${candidate} accepts writes` };
  });
  const repointing = op.step("repoint", () => repoint(op, candidate, others, moved));
  repointing.catch(() => undefined);

  const hand = await opening.catch(async (error: unknown) => {
    // This ends the run and its sessions: no replica shall be left half-way between two sources.
    await repointing.catch(() => undefined);
    throw error;
  });
  op.event(primaryChanged(op.intent, op.state, op.declared));
  // It is acknowledged by those that follow: begun sooner it would only wait. Nobody waits for it.
  const marking = repointing.then(() => markEpoch(op, candidate, deadlines.proveMs));
  marking.catch(() => undefined);

  await op.step("announce", async () => {
    const repointed = await repointing;
    // The old channel goes only now: it costs file work that no client should wait for, and stopped it is inert.
    await forgetChannel(op, hand);
    // Where writes need not wait for acks, they do not wait for followers either.
    const short = durability === "lossless" && repointed.length < acks;
    const astray = others.filter((node) => !repointed.includes(node));
    await op.change(
      end(
        leaving(op.state, astray, repointed),
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
  const told = reignEnded(op.intent, op.state);
  op.event(told.event);
  op.alert(told.alert);

  await op
    .step("prove", async () => {
      const proof = await proveByCanary(op, hand, others);
      await marking.catch(() => markEpoch(op, candidate, deadlines.proveMs));
      return proof;
    })
    .catch((error: unknown) => {
      if (!(error instanceof Refusal)) throw error;
    });
}

/** For a node that nobody has watched applying what it received. */
export async function applyAll(op: Operation, hand: Hand): Promise<void> {
  const { deadlines } = op.declared.policy;
  const status = await hand.status(deadlines.openMs);
  const r = status.replica;
  if (r === null || GtidSet.parse(status.executed).contains(GtidSet.parse(r.received))) return;
  await applyReceived(hand, status, deadlines.catchUpMs);
}

/**
 * Points every other acker at the candidate, all at once; one that fails is left to a later rejoin. Only the stopped
 * receiver is redirected: the applier runs on and its relay logs stay, so nobody waits for it (docs/decisions/0004).
 */
async function repoint(
  op: Operation,
  candidate: string,
  others: readonly string[],
  moved: ReadonlySet<string>,
) {
  const { deadlines } = op.declared.policy;
  const failed: Record<string, string> = {};
  const done: string[] = [];
  await Promise.all(
    others.map(async (node) => {
      try {
        const hand = await op.hand(node, deadlines.openMs);
        op.assertMine();
        if (node === op.intent.node) await stepDown(op, hand, candidate);
        else if (!moved.has(node)) await redirect(op, hand, candidate);
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

/**
 * Points a running replica at another source: by its receiver alone, or having applied all where that needs both threads to
 * stand. @throws Refusal state-changed when it is no replica
 */
export async function redirect(op: Operation, hand: Hand, candidate: string): Promise<void> {
  const d = hand.dialect;
  const { openMs, catchUpMs } = op.declared.policy.deadlines;
  if (!d.keepsRelayLogs) await applyBeforeStanding(hand, catchUpMs);
  const [, ...sets] = await hand.run(
    [d.keepsRelayLogs ? d.stopReceiver : d.stopReplication, d.statusSql],
    openMs,
  );
  const known = d.parseStatus(sets);
  const { superReadOnly, semiSync } = known;
  // A former primary of an earlier reign may have come back just now, with somebody waiting for an ack: semi-sync switched
  // off would answer OK. It is led home by `rejoin`, which shuts it first.
  if (!superReadOnly || semiSync?.source === true)
    throw new Refusal("state-changed", `${hand.node} is no replica: it was a primary and has not been shut`);
  await pointAt(op, hand, candidate, { roles: d.becomeReplica, start: "replication", known, running: true });
}

/** The old primary of a switchover becomes a replica. It is frozen, and the candidate holds all that it does. */
async function stepDown(op: Operation, hand: Hand, candidate: string): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const d = hand.dialect;
  const [writers, ...sets] = await hand.run([d.openWriters, d.statusSql], openMs);
  const status = d.parseStatus(sets);
  if (!status.superReadOnly) throw new Refusal("state-changed", `${hand.node} accepts writes again`);
  if (op.takenOver) {
    // It may have restarted meanwhile, or somebody may have had it open.
    const of = await (await op.hand(candidate, openMs)).status(openMs);
    const extra = GtidSet.parse(status.executed).subtract(GtidSet.parse(of.executed));
    if (!extra.isEmpty()) throw new Refusal("not-clean", `${hand.node} holds ${extra}, ${candidate} has not`);
  }
  // They can commit nothing any more, and their row locks would block the applier. One that has gone makes KILL fail.
  for (const row of writers ?? []) await hand.run(d.kill(Number(row.id)), openMs).catch(() => undefined);
  // It acknowledges at once. Switching the source role off takes the server up to a second (its ack thread sleeps so
  // long), which the applier must wait for and no client.
  await pointAt(op, hand, candidate, {
    roles: [d.semiSyncReplicaOn],
    start: "receiver",
    ...(status.replica === null ? { known: status } : {}),
  });
  await hand.run([...d.becomeReplica, d.startApplier], openMs);
}
