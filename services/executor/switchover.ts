/**
 * Planned switchover: the pen is passed on while its holder lives and helps (SAFETY.md, Switchover). No write is held
 * off before `freeze`; whatever fails before `commit` leaves the primary its pen or gives it back; after it there is only forward.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { ackersOf, commit, downtimesOf, forbidding, notCounted, planSwitchover } from "@baton/protocol";
import { carryForward, redirect } from "./carry-forward.ts";
import { closeAgain } from "./close-again.ts";
import { heedEpoch, statusWithEpoch } from "./epoch.ts";
import { freeze } from "./freeze.ts";
import { givePenBack } from "./give-pen-back.ts";
import type { Hand } from "./hand.ts";
import { assertHoldsMark } from "./open.ts";
import type { Operation } from "./operation.ts";
import { Refusal, Superseded } from "./refusal.ts";
import { applyBeforeStanding } from "./relay-logs.ts";
import { FROZEN_MOST_MS, Thaw } from "./thaw.ts";

/** The candidate is close enough when it applies in so long what the primary had a moment ago; each turn asks for less. */
const CLOSE_MS = 20;
/** How long writes may be held off for the candidate's last few transactions. */
const LAST_WAIT_MS = 1_000;

/** From the claimed state to the end. @throws Superseded at any time, Refusal after the commit point. */
export async function switchover(op: Operation): Promise<void> {
  const moved = new Set<string>();
  let held: GtidSet | null = null;
  if (op.state.phase === "fencing") {
    const touched: Touched = { frozen: op.takenOver, stopped: op.takenOver, moved };
    try {
      const made = await commitOrRefusal(op, touched);
      if (made instanceof Refusal) return await givePenBack(op, made, touched);
      held = made;
    } catch (error) {
      // Its sessions end with it, and nobody can say when it is gone on with.
      if (!(error instanceof Superseded)) await touched.thaw?.now();
      throw error;
    } finally {
      await touched.thaw?.settle();
    }
  }
  if (op.takenOver) await closeAgain(op);
  await carryForward(op, held, moved);
}

/** What the candidate holds, once the commit is written; else why it was not even tried. @throws what leaves that open */
async function commitOrRefusal(op: Operation, touched: Touched): Promise<GtidSet | Refusal> {
  if (op.takenOver)
    return new Refusal(
      "executor-lost",
      "the executor that began it died, or was cut off from NATS, before the point of no return",
    );
  try {
    return await towardsCommit(op, touched);
  } catch (error) {
    if (error instanceof Refusal && op.state.phase === "fencing") return error;
    throw error;
  }
}

/** What this operation has changed so far. */
export interface Touched {
  frozen: boolean;
  /** The candidate's receiver. */
  stopped: boolean;
  /** Replicas that were pointed at the candidate. */
  readonly moved: Set<string>;
  /** Lets the primary go on when NATS does not answer. */
  thaw?: Thaw;
}

/** What the candidate holds, when it is committed. */
async function towardsCommit(op: Operation, touched: Touched): Promise<GtidSet> {
  const { openMs } = op.declared.policy.deadlines;
  const { old, candidate, spare } = await op.step("preflight", () => preflight(op));
  const helper = await op.helper(old, openMs);
  await op.step("repoint", () => moveSpare(op, candidate, spare, touched.moved));
  await op.step("catch-up", () => comeClose(op, old, candidate));

  // Nothing is frozen while NATS is away already.
  await op.confirmMine();
  const thaw = new Thaw(op, old, candidate, touched.moved);
  touched.thaw = thaw;
  const frozen = await op
    .step("freeze", async () => {
      touched.frozen = true;
      const value = await freeze(old, helper);
      const cut = value.killed === 0 ? "" : `; cut off: ${value.killed}`;
      return { value, summary: `${old.node} takes no more writes, nobody waits for an ack${cut}` };
    })
    .finally(() => helper.destroy());

  const last = await op.step("read", () => ({
    value: frozen.status.executed,
    summary: `${old.node} has written its last transaction of this reign`,
    detail: { executed: frozen.status.executed },
  }));
  const status = await op.step("catch-up", () => holdExactly(candidate, last));

  const held = GtidSet.parse(status.executed);
  assertHoldsMark(op, candidate.node, held);
  await op.step("commit", async () => {
    if (thaw.due)
      throw new Refusal(
        "deadline-exceeded",
        `${old.node} was to be frozen for ${FROZEN_MOST_MS / 1_000} s at most, and this was over before its role could be passed on`,
      );
    thaw.sending();
    touched.stopped = true;
    // It has received all that there is; stopped while the state is written, it costs no client a moment.
    void candidate.run(candidate.dialect.stopReceiver, openMs).catch(() => undefined);
    const opening = { ...op.state, primaryStartedUnixS: status.startedUnixS };
    await op.change(commit(opening, candidate.node, status.serverUuid, op.ports.nowUnixMs()));
    if (await thaw.settle())
      throw new Error(
        `NATS took ${candidate.node} for the primary only after ${FROZEN_MOST_MS / 1_000} s; ${old.node} has been let go on meanwhile and is frozen anew`,
      );
    return {
      value: null,
      summary: `${candidate.node} is the primary of epoch ${op.epoch}; from here there is no way back`,
    };
  });
  return held;
}

/** Everything is looked at again, by the same rules as for the plan, and hands are taken on every node before time counts. */
async function preflight(op: Operation) {
  const { fenceMs } = op.declared.policy.deadlines;
  const hands = new Map<string, Hand>();
  const statuses = new Map<string, NodeStatus>();
  await Promise.all(
    Object.keys(op.declared.nodes).map(async (node) => {
      try {
        const hand = await op.hand(node, fenceMs);
        statuses.set(node, await statusWithEpoch(hand, fenceMs));
        hands.set(node, hand);
      } catch {
        // One that cannot be reached is missing in the plan, which says what follows from that.
      }
    }),
  );
  heedEpoch(op, statuses);
  const primary = op.intent.node;
  const old = hands.get(primary);
  const [rows] = (await old?.run(old.dialect.obstacles, fenceMs)) ?? [];
  const plan = planSwitchover({
    declared: op.declared,
    primary,
    primaryUuid: op.state.primaryUuid,
    quarantined: op.state.quarantined,
    statuses,
    named: op.intent.candidate,
    downtimes: downtimesOf(await op.ports.brakes(op.cluster), op.ports.nowUnixMs()),
    oldestTransactionMs: rows === undefined ? null : Number(rows[0]?.oldestMs ?? 0),
    readLocked: rows === undefined || rows[0]?.locked === null ? null : Number(rows[0]?.locked) === 1,
  });
  const detail = { ...plan };
  const against = forbidding(plan.checks, op.intent.force === true);
  if (against.length > 0) throw new Refusal("not-ready", against.map((c) => c.found).join("; "), detail);
  const candidate = hands.get(plan.candidate ?? "");
  if (candidate === undefined || old === undefined)
    throw new Refusal("no-candidate", plan.notChosen.map((n) => `${n.node}: ${n.reason}`).join("; "), detail);
  // Of the ackers k stay with the old primary, the candidate among them, until it is frozen.
  const spare = ackersOf(op.declared, primary, notCounted(op.state))
    .filter((n) => n !== candidate.node)
    .flatMap((n) => {
      const r = statuses.get(n)?.replica;
      const runs = r?.sourceUuid === op.state.primaryUuid && r.receiver === "on" && r.applier === "on";
      return runs ? [hands.get(n) as Hand] : [];
    })
    .slice(op.declared.policy.acks - 1);
  return {
    value: { old, candidate, spare },
    summary: `${candidate.node} can take over from ${primary}: ${plan.checks.length} checks passed`,
    detail,
  };
}

/**
 * Those that the old primary can spare follow the candidate from now on: then they acknowledge its first write without having
 * to connect first, which is most of what clients would wait for. One that cannot be moved ends the switchover: nothing is frozen yet.
 */
async function moveSpare(op: Operation, candidate: Hand, spare: readonly Hand[], moved: Set<string>) {
  const { catchUpMs, openMs } = op.declared.policy.deadlines;
  await Promise.all(
    spare.map(async (hand) => {
      moved.add(hand.node);
      if (!hand.dialect.keepsRelayLogs) {
        // MariaDB sends nothing to a replica that is ahead of it (error 1236).
        await applyBeforeStanding(hand, catchUpMs);
        await untilApplied(candidate, (await hand.status(openMs)).executed, catchUpMs);
      }
      await redirect(op, hand, candidate.node);
    }),
  );
  return {
    value: null,
    summary: `${[...moved].join(", ") || "nobody"} can be spared and follows ${candidate.node}`,
  };
}

/** Before anything is frozen: as long as the candidate is behind, clients need not wait for it. */
async function comeClose(op: Operation, old: Hand, candidate: Hand) {
  const { catchUpMs, openMs } = op.declared.policy.deadlines;
  const { now } = op.ports;
  const until = now() + catchUpMs;
  for (let turn = 1; ; turn++) {
    const { executed } = await old.status(openMs);
    const beganMs = now();
    await untilApplied(candidate, executed, Math.max(1, until - beganMs));
    if (now() - beganMs <= CLOSE_MS * turn)
      return { value: null, summary: `${candidate.node} follows ${old.node} closely`, detail: { turn } };
    op.assertMine();
  }
}

/** The point of the whole: the candidate has applied the last transaction of the old reign, and holds no other. */
async function holdExactly(candidate: Hand, last: string) {
  // One round trip: clients wait for it.
  const { dialect: d } = candidate;
  const [rows, ...sets] = await candidate.run(
    [d.waitApplied(last, LAST_WAIT_MS), d.statusSql],
    LAST_WAIT_MS + 1_000,
  );
  if (!d.applied(rows ?? [])) throw notApplied(candidate, last, LAST_WAIT_MS);
  const status = d.parseStatus(sets);
  const extra = GtidSet.parse(status.executed).subtract(GtidSet.parse(last));
  if (!extra.isEmpty())
    throw new Refusal("not-clean", `${candidate.node} holds ${extra}, which the primary has not`);
  return {
    value: status,
    summary: `${candidate.node} has applied all of it and holds nothing else`,
    detail: { executed: status.executed },
  };
}

async function untilApplied(hand: Hand, set: string, withinMs: number): Promise<void> {
  const [rows] = await hand.run(hand.dialect.waitApplied(set, withinMs), withinMs + 1_000);
  if (!hand.dialect.applied(rows ?? [])) throw notApplied(hand, set, withinMs);
}

function notApplied(hand: Hand, set: string, withinMs: number): Refusal {
  return new Refusal(
    "catch-up-timeout",
    `${hand.node} did not apply ${set} within ${Math.round(withinMs)} ms`,
  );
}
