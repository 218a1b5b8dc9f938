/**
 * Who counts among the members (SAFETY.md, "Parked members"). One whose process is gone, and that boots without replicating by itself, or of
 * which a person says that it will not come back, is waited for no more: once k others are read to hold all that it may have acknowledged.
 * It counts again before any operation has a hand on it (operation.ts), and so before its receiver can start.
 */
import type { NodeStatus, StepName } from "@baton/contracts";
import { MysqlFault } from "@baton/mysql";
import { ackersOf, ackersToStop, counted, end, heldBy, notCounted, park } from "@baton/protocol";
import type { Hand } from "./hand.ts";
import { proveHandover, stopAcknowledging } from "./handover.ts";
import { assertOurs } from "./identity.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { executedOfPrimary } from "./rejoin.ts";

/** For a server that is well. */
const ANSWER_MS = 1_000;

export async function membership(op: Operation): Promise<void> {
  const { node } = op.intent;
  const leaves = op.declared.leaving?.includes(node) === true;
  const step: StepName = leaves ? "leave" : "park";
  try {
    await op.step(step, async () => {
      if (leaves) return leave(op, node);
      if (op.state.parked?.[node] !== undefined) return countAgain(op, node);
      const holders = await parkMember(op, node);
      const { needed, members } = reckon(op);
      return {
        value: null,
        summary: `${node} does not count while it is away; ${holders.join(", ") || "nobody"} hold what it may have acknowledged, and a failover needs ${needed} of ${members.join(", ")}`,
        detail: { holders, members, needed },
      };
    });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    await op.change(end(op.state, "rolled-back", error.code, op.ports.nowUnixMs()));
  }
}

/**
 * It was taken out of the declaration and runs: it stops acknowledging, k others are read to hold all that it holds, and it counts no more.
 * Then it replicates on as before, without acks: what becomes of it is its owner's to say.
 */
async function leave(op: Operation, node: string) {
  const { openMs, catchUpMs } = op.declared.policy.deadlines;
  const hand = await op.hand(node, openMs).catch((error: unknown) => {
    throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
  });
  const before = await hand.status(openMs);
  assertOurs(op, node, before, null);
  // A successor finds it as its predecessor left it.
  const was = op.intent.nodes[node] ?? before;
  const history = await executedOfPrimary(op, op.state.primary);
  // What it holds beyond the primary was acknowledged to nobody.
  const ofHistory = (status: NodeStatus) => heldBy(status).intersect(history);
  // Asked first, so that no write is held up for nothing.
  await proveHandover(op, node, ofHistory(before), catchUpMs, others(op, node));
  const left = await stopAcknowledging(hand, openMs);
  const holders = await proveHandover(
    op,
    node,
    heldBy(left).intersect(await executedOfPrimary(op, op.state.primary)),
    openMs,
    others(op, node),
  ).catch(async (error: unknown) => {
    await replicateOn(hand, was, openMs, hand.dialect.becomeReplica);
    throw error;
  });
  const member = {
    serverUuid: before.serverUuid,
    startedUnixS: before.startedUnixS,
    sinceUnixMs: op.ports.nowUnixMs(),
    byPerson: true,
    why: "taken out of the declaration",
    left: true as const,
  };
  await op.change(end(park(op.state, node, member), "completed", null, op.ports.nowUnixMs()));
  const { members, needed } = reckon(op);
  const summary = `${node} acknowledges nothing any more and is no member of ${op.cluster}`;
  op.event({ ...fact(node), type: "member-left", summary, next: null, detail: { members, needed, holders } });
  // The state says already that it does not count: whether its receiver starts again changes nothing that is promised.
  await replicateOn(hand, was, openMs, []).catch(() => undefined);
  return {
    value: null,
    summary: `${summary}; ${holders.join(", ") || "nobody"} hold what it holds, and a failover needs ${needed} of ${members.join(", ")}`,
    detail: { holders, members, needed },
  };
}

/** Those that are to leave as well: what they hold goes with them. */
const others = (op: Operation, node: string) => (op.declared.leaving ?? []).filter((name) => name !== node);

async function replicateOn(hand: Hand, { replica }: NodeStatus, openMs: number, roles: readonly string[]) {
  if (replica === null) return;
  const d = hand.dialect;
  const starts = [
    ...(replica.receiver === "off" ? [] : [d.startReceiver]),
    ...(replica.applier === "off" ? [] : [d.startApplier]),
  ];
  await hand.run([...roles, ...starts], openMs);
}

async function countAgain(op: Operation, node: string) {
  await op.change(end(counted(op.state, node), "completed", null, op.ports.nowUnixMs()));
  const summary = `${node} counts among the members of ${op.cluster} again`;
  op.event({ ...fact(node), type: "member-counted", summary, next: null, detail: reckon(op) });
  return { value: null, summary };
}

async function parkMember(op: Operation, node: string): Promise<string[]> {
  const { intent, declared, ports } = op;
  const byPerson = intent.byPerson === true;
  const known = intent.nodes[node] ?? null;
  const serverUuid = known?.serverUuid ?? op.state.servers?.[node] ?? "";
  await assertAway(op, node, byPerson);
  // Read after its end, so that all is in it which its ack may have let pass.
  const history = await executedOfPrimary(op, op.state.primary);
  const holders = await proveHandover(op, node, history, declared.policy.deadlines.catchUpMs);
  // It may have come back while others were waited for.
  await assertAway(op, node, byPerson);
  const member = {
    serverUuid,
    startedUnixS: known?.startedUnixS ?? null,
    sinceUnixMs: ports.nowUnixMs(),
    byPerson,
    why: intent.reason.slice(0, 500),
  };
  await op.change(end(park(op.state, node, member), "completed", null, ports.nowUnixMs()));
  op.event({
    ...fact(node),
    type: "member-parked",
    summary: `${node} does not count among the members of ${op.cluster} until it is led home`,
    next: `baton members ${op.cluster}`,
    detail: { ...reckon(op), holders, byPerson },
  });
  return holders;
}

/** @throws Refusal state-changed: a server answers there, or nobody can say whether one runs. */
async function assertAway(op: Operation, node: string, byPerson: boolean): Promise<void> {
  try {
    const look = await op.ports.openLook(op.cluster, node, ANSWER_MS);
    // The session may have been opened long ago: only an answer shows that somebody is there.
    await look.status(ANSWER_MS).finally(() => look.destroy());
  } catch (error) {
    if (byPerson || (error instanceof MysqlFault && error.outcome === "refused")) return;
    throw new Refusal(
      "state-changed",
      `whether ${node}'s process is gone cannot be told: ${error instanceof Error ? error.message : error}`,
    );
  }
  throw new Refusal("state-changed", `${node} answers: it goes on counting as a member`);
}

function reckon(op: Operation): { members: string[]; needed: number } {
  const members = ackersOf(op.declared, op.state.primary, notCounted(op.state));
  return { members, needed: ackersToStop(members.length, op.declared.policy.acks) };
}

const fact = (node: string) => ({
  node,
  outcome: "completed" as const,
  code: null,
  primary: null,
  previous: null,
});
