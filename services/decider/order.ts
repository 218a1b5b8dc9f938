/**
 * Gives an order once: the cluster's lock, then the intent, appended only behind the last intent this decider knows.
 * Every decider names the operation alike (`failover-shop-7-412`: the epoch it leads to and the revision of the
 * state it starts from), so the name is the message id and a second copy is dropped by the stream.
 */
import type { ClusterState, Intent, LockHolder, NodeStatus, OperationKind } from "@baton/contracts";
import { intentOfRunning, ORDER_VALID_MS } from "@baton/protocol";
import type { Order } from "./decide.ts";

/** What this file needs of the bus. */
export interface OrderPorts {
  lockCreate(cluster: string, holder: LockHolder): Promise<number | null>;
  lockGet(cluster: string): Promise<{ value: LockHolder; revision: number } | null>;
  lockUpdate(cluster: string, holder: LockHolder, revision: number): Promise<number | null>;
  lockRemove(cluster: string, revision: number): Promise<boolean>;
  append(
    intent: Intent,
    o: { msgId: string; expectLastSubjectSequence: number; deadlineMs: number },
  ): Promise<{ sequence: number }>;
  isConflict(error: unknown): boolean;
  lastSequence(cluster: string): Promise<number>;
  /** Monotonic milliseconds. */
  now(): number;
  /** Resolves true as soon as the cluster's state has left `stateRevision`, false after `withinMs`. */
  stateMoves(cluster: string, stateRevision: number, withinMs: number): Promise<boolean>;
  state(cluster: string): { value: ClusterState; revision: number } | null;
}

export type OrderResult = { ok: true; operation: string; by: "me" | "another" } | { ok: false; why: string };

/** Another decider that holds the lock has this long to append its intent; then we append the same one. */
const PEER_GRACE_MS = 250;
/**
 * What gives way to what. A node is led home in calm; a failover never waits for that. A rebuild may take hours and the server
 * goes on with the copy alone: it gives way to all that keeps the others well, and is carried on afterwards.
 */
const YIELDS: Partial<Record<OperationKind, ReadonlySet<OperationKind>>> = {
  rejoin: new Set(["failover"]),
  reopen: new Set(["failover"]),
  repair: new Set(["failover"]),
  degrade: new Set(["failover"]),
  restore: new Set(["failover"]),
  membership: new Set(["failover"]),
  rebuild: new Set([
    "failover",
    "reopen",
    "rejoin",
    "degrade",
    "restore",
    "repair",
    "membership",
    "split-brain",
  ]),
};

/** Nothing hangs on a moment: the operation has stood for seconds. */
const AGAIN_MS = 5_000;

/** What it still does is to prove itself by a canary: nobody waits for that, least of all a repair that would bring the canary its acker. */
function hasEnded(
  state: { value: ClusterState; revision: number } | null,
  operation: string,
  revision: number,
): boolean {
  return state?.revision === revision && state.value.operation === null && state.value.last?.id === operation;
}

export function operationName(cluster: string, order: Order): string {
  const about =
    order.kind === "failover"
      ? String(order.epoch + 1)
      : order.kind === "switchover"
        ? (order.candidate ?? order.node)
        : order.node;
  return `${order.kind}-${cluster}-${about}-${order.stateRevision}`;
}

export async function giveOrder(
  cluster: string,
  order: Order,
  decider: string,
  statuses: ReadonlyMap<string, NodeStatus>,
  nodes: readonly string[],
  /** The high-water mark as this decider knows it. */
  mark: string,
  lastSequence: number,
  nowUnixMs: number,
  ports: OrderPorts,
): Promise<OrderResult> {
  const operation = operationName(cluster, order);
  const holder: LockHolder = { operation, kind: order.kind, holder: decider, sinceUnixMs: nowUnixMs };
  const decidedMs = ports.now();
  let lockRevision = await ports.lockCreate(cluster, holder);
  if (lockRevision === null) {
    const found = await ports.lockGet(cluster);
    if (found === null) return { ok: false, why: "the cluster's lock expired just now" };
    if (found.value.operation === operation) {
      if (await ports.stateMoves(cluster, order.stateRevision, PEER_GRACE_MS))
        return { ok: true, operation, by: "another" };
      lockRevision = found.revision;
    } else if (
      YIELDS[found.value.kind]?.has(order.kind) === true ||
      hasEnded(ports.state(cluster), found.value.operation, order.stateRevision)
    ) {
      lockRevision = await ports.lockUpdate(cluster, holder, found.revision);
      if (lockRevision === null) return { ok: false, why: "the cluster's lock moved on just now" };
    } else {
      return { ok: false, why: `the cluster is locked by ${found.value.operation} (${found.value.holder})` };
    }
  }
  const tookMs = ports.now() - decidedMs;
  if (tookMs > ORDER_VALID_MS) {
    await ports.lockRemove(cluster, lockRevision).catch(() => false);
    return { ok: false, why: `the lock was had only after ${Math.round(tookMs)} ms; it is judged anew` };
  }
  const intent: Intent = {
    operation,
    cluster,
    kind: order.kind,
    node: order.node,
    epoch: order.epoch,
    stateRevision: order.stateRevision,
    lockRevision,
    diagnosis: order.diagnosis,
    reason: order.reason,
    decider,
    candidate: order.candidate ?? null,
    ...(order.force === true ? { force: true } : {}),
    ...(order.byPerson === true ? { byPerson: true } : {}),
    ...(order.repair === undefined ? {} : { repair: order.repair }),
    ...(order.inject === true ? { inject: true } : {}),
    ...(order.unseen === undefined ? {} : { unseen: order.unseen }),
    ...(mark === "" ? {} : { mark }),
    ...(order.acceptLoss === undefined ? {} : { acceptLoss: order.acceptLoss }),
    nodes: Object.fromEntries(nodes.map((n) => [n, statuses.get(n) ?? null])),
  };
  let expected = lastSequence;
  for (let attempt = 0; ; attempt++) {
    try {
      await ports.append(intent, {
        msgId: operation,
        expectLastSubjectSequence: expected,
        deadlineMs: ORDER_VALID_MS,
      });
      return { ok: true, operation, by: "me" };
    } catch (error) {
      if (!ports.isConflict(error)) {
        // Nobody shall wait for the lease of an order that was not given.
        await ports.lockRemove(cluster, lockRevision).catch(() => false);
        throw error;
      }
      // Somebody appended since we looked. If the state still stands, it was an order that came to nothing.
      if (attempt === 2 || (ports.state(cluster)?.revision ?? 0) !== order.stateRevision) {
        // An order that comes too late, as of a decider that slept, may have taken the lock from who runs now: it is theirs again.
        await ports.lockRemove(cluster, lockRevision).catch(() => false);
        return { ok: true, operation, by: "another" };
      }
      expected = await ports.lastSequence(cluster);
    }
  }
}

/**
 * Gives the intent of the running operation again when nobody holds its lock: NATS has lost the first, or whoever had it. Null: somebody runs
 * it, or it was given again from this revision already.
 */
export async function giveAgain(
  state: ClusterState,
  revision: number,
  decider: string,
  nodes: Intent["nodes"],
  nowUnixMs: number,
  ports: Pick<OrderPorts, "lockCreate" | "lockRemove" | "append" | "isConflict" | "lastSequence">,
): Promise<string | null> {
  const { operation, cluster } = state;
  if (operation === null) return null;
  const holder = { operation: operation.id, kind: operation.kind, holder: decider, sinceUnixMs: nowUnixMs };
  const lockRevision = await ports.lockCreate(cluster, holder);
  if (lockRevision === null) return null;
  try {
    const intent = intentOfRunning(state, { lockRevision, decider, nodes }) as Intent;
    await ports.append(intent, {
      // Another name than the first had: the stream would take it for a copy.
      msgId: `${operation.id}.again.${revision}`,
      expectLastSubjectSequence: await ports.lastSequence(cluster),
      deadlineMs: AGAIN_MS,
    });
    return operation.id;
  } catch (error) {
    await ports.lockRemove(cluster, lockRevision).catch(() => false);
    if (ports.isConflict(error)) return null;
    throw error;
  }
}
