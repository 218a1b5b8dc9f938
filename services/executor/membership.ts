/**
 * Who counts among the members (SAFETY.md, "Parked members"). One whose process is gone, and that boots without replicating by itself, or of
 * which a person says that it will not come back, is waited for no more: once k others are read to hold all that it may have acknowledged.
 * It counts again before any operation has a hand on it (operation.ts), and so before its receiver can start.
 */
import { MysqlFault } from "@baton/mysql";
import { ackersOf, ackersToStop, counted, end, notCounted, park } from "@baton/protocol";
import { proveHandover } from "./handover.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { executedOfPrimary } from "./rejoin.ts";

/** For a server that is well. */
const ANSWER_MS = 1_000;

export async function membership(op: Operation): Promise<void> {
  const { node } = op.intent;
  try {
    await op.step("park", async () => {
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
