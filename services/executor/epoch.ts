/**
 * The epoch in the data: nothing is opened while a node carries a later one than the state, or another installation's; and whoever was
 * opened is told whose it is, by the first transaction of its epoch.
 */
import { createHash } from "node:crypto";
import type { ClusterState, EpochRow, NodeStatus } from "@baton/contracts";
import { isMissingTable } from "@baton/mysql";
import { type Carriers, carriedRows, epochFault, isSameRow, rowOf } from "@baton/protocol";
import { beside } from "./beside.ts";
import type { Hand } from "./hand.ts";
import { type Operation, within } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/** Where an operation of another executor is gone on with, every node is asked first; one that answers later is taken as away. */
const LOOK_MS = 300;

/** @throws Refusal state-went-back, foreign-installation */
export function heedEpoch(op: Operation, carriers: Carriers): void {
  const fault = epochFault(op.cluster, op.stateOrNull, carriers);
  if (fault !== null) throw new Refusal(fault.code, fault.why);
}

/** What the decider read of the nodes just before its order. */
export function carriersOf(nodes: Readonly<Record<string, NodeStatus | null>>): Map<string, NodeStatus> {
  return new Map(Object.entries(nodes).flatMap(([node, s]) => (s === null ? [] : [[node, s] as const])));
}

/** The status and the row of the epoch, in one go. */
export async function statusWithEpoch(hand: Hand, deadlineMs: number): Promise<NodeStatus> {
  const [status, epoch] = await Promise.all([hand.status(deadlineMs), hand.epoch(deadlineMs)]);
  return epoch === undefined ? status : { ...status, epoch };
}

/** What every node that answers within a moment carries. */
export async function lookForEpochs(op: Operation): Promise<Map<string, NodeStatus>> {
  const found = carriersOf(op.intent.nodes);
  await within(
    Promise.all(
      Object.keys(op.declared.nodes).map((node) =>
        beside(op, node, async (look) => {
          found.set(node, await statusWithEpoch(look, LOOK_MS));
        }).catch(() => undefined),
      ),
    ),
    LOOK_MS,
  );
  return found;
}

/** A state that names no installation gets the one that the data name, or one of its own. */
export function withInstallation(op: Operation, state: ClusterState): ClusterState {
  if (state.installation !== undefined) return state;
  const carried = carriedRows(carriersOf(op.intent.nodes)).find(({ row }) => row.cluster === op.cluster);
  return { ...state, installation: carried?.row.installation ?? newInstallation(op, state) };
}

function newInstallation(op: Operation, state: ClusterState): string {
  const { executor, nowUnixMs } = op.ports;
  const parts = [op.cluster, state.primaryUuid, executor, op.intent.decider, nowUnixMs()];
  return createHash("sha256").update(parts.join(" ")).digest("hex").slice(0, 16);
}

/**
 * Writes the row of the state's epoch on its primary, unless it is there. Returns when the write was acknowledged: nobody who is waited
 * for may wait for it. Over a session without a lock, like the canary: one that waits for its ack for ever keeps what it holds, killed or not.
 * A server that was replaced meanwhile refuses it, and the row of a later epoch stays. @throws Refusal node-lost
 */
export async function markEpoch(
  op: Operation,
  node: string,
  deadlineMs: number,
  carried?: EpochRow | null,
): Promise<void> {
  const row = rowOf(op.state);
  if (row === null || isSameRow(row, carried)) return;
  await beside(op, node, async (look) => {
    const d = look.dialect;
    op.assertMine();
    try {
      await look.run(d.writeEpoch(row), deadlineMs);
    } catch (error) {
      if (!(error instanceof Refusal) || !isMissingTable(error.detail.errno)) throw error;
      await look.run([...d.createEpoch, d.writeEpoch(row)], deadlineMs);
    }
  });
}
