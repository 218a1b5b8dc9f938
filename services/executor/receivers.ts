/**
 * Fence and read, in one sweep over the ackers: each is asked to stop its receiver and to tell what it holds, all at
 * once; the sweep ends as soon as enough have answered that nothing more can be acknowledged.
 */
import type { EpochRow, NodeStatus } from "@baton/contracts";
import { GtidSet, MysqlFault } from "@baton/mysql";
import { canVouch, echoesOf, heldBy, isFenced, sameServer } from "@baton/protocol";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { keepReceived } from "./relay-logs.ts";

export interface Stopped {
  node: string;
  hand: Hand;
  /** Read after the receiver stopped. */
  status: NodeStatus;
  /** What its data say of themselves; asked for behind the status, and waited for only before the commit point. */
  epoch: Promise<EpochRow | null | undefined>;
  vouches: boolean;
  why: string;
}

export interface Fence {
  stopped: Map<string, Stopped>;
  failed: Map<string, string>;
  /** The old primary's own status, when it was fenced itself. */
  primary: { hand: Hand; status: NodeStatus } | null;
  /** Its host refused the connection: no mysqld runs there now, and one that starts is read-only. */
  primaryGone: boolean;
  /** Settles when every acker has answered or failed. */
  all: Promise<void>;
}

/** Where only the old primary itself could confirm: a silent one is waited for so long, beyond the replicas. */
const SILENT_PRIMARY_MS = 1_000;
/** Enough have answered, and enough to promote one and leave it k ackers: the rest get this much longer, to be candidates too. */
const STRAGGLER_MS = 20;

export async function fence(
  op: Operation,
  ackers: readonly string[],
  oldPrimary: string,
  /** Acks prove nothing: every replica in reach is asked, and what the old primary may still answer counts as lost. */
  loses: boolean,
  /** The high-water mark: while those that have answered lack some of it together, the others are waited for. */
  required: GtidSet,
  fencePrimary: (hand: Hand, deadlineMs: number) => Promise<NodeStatus>,
): Promise<Fence> {
  const { acks, deadlines } = op.declared.policy;
  const result: Fence = {
    stopped: new Map(),
    failed: new Map(),
    primary: null,
    primaryGone: false,
    all: Promise.resolve(),
  };
  const vouches = op.ports.vouches(op.cluster);
  // Known before to be one server: asked under each name, it would take its lock from itself.
  const known = ackers.flatMap((n) => {
    const status = op.intent.nodes[n];
    return status == null ? [] : [[n, status.serverUuid] as const];
  });
  for (const [node, as] of echoesOf(known, oldPrimary, op.state.primaryUuid))
    result.failed.set(node, `${node} ${sameServer(as)}`);
  const asked = ackers.filter((node) => !result.failed.has(node));

  // One that has lost history cannot say what it acknowledged, however closed it is.
  const forgetful = op.intent.diagnosis === "primary-lost-history";
  const fenced = () =>
    !loses &&
    isFenced({
      ackers: ackers.length,
      acks,
      stopped: [...result.stopped.values()].filter((s) => s.vouches).length,
      primaryFenced: result.primary !== null && !forgetful,
    });
  const found = () =>
    required.subtract(
      [...result.stopped.values()].reduce((all, s) => all.union(heldBy(s.status)), GtidSet.empty),
    );

  // A person goes on with whoever is reached, when all have been asked: that stands in the intent and in the archive.
  const accepted = op.intent.acceptLoss?.unproven === true;
  // Whoever answers later must not be touched: by then the operation may be putting things back.
  let over = false;
  await new Promise<void>((resolve) => {
    const deadline = setTimeout(resolve, deadlines.fenceMs);
    let straggler: NodeJS.Timeout | undefined;
    let pending = asked.length;
    const settle = () => {
      if (pending === 0 && (fenced() || primaryDone)) {
        clearTimeout(deadline);
        clearTimeout(straggler);
        resolve();
      } else if (fenced() && result.stopped.size > acks && found().isEmpty())
        straggler ??= setTimeout(resolve, STRAGGLER_MS);
      else if (loses && pending === 0) straggler ??= setTimeout(resolve, SILENT_PRIMARY_MS);
    };
    let primaryDone = false;
    const each = asked.map(async (node) => {
      try {
        const stopped = await stopReceiver(op, node, deadlines.fenceMs, () => over);
        const uuids = [...result.stopped].map(([n, s]) => [n, s.status.serverUuid] as const);
        const as = echoesOf(
          [...uuids, [node, stopped.status.serverUuid]],
          oldPrimary,
          op.state.primaryUuid,
        ).get(node);
        if (as !== undefined) throw new Refusal("state-changed", `${node} ${sameServer(as)}`);
        const finding = canVouch(stopped.status, vouches.get(node));
        result.stopped.set(node, { node, ...stopped, vouches: finding.canVouch, why: finding.reason });
      } catch (error) {
        result.failed.set(node, error instanceof Error ? error.message : String(error));
      }
      pending--;
      settle();
    });
    result.all = Promise.all(each).then(() => undefined);
    void op
      .hand(oldPrimary, deadlines.fenceMs)
      .then(async (hand) => {
        if (over) return;
        result.primary = { hand, status: await fencePrimary(hand, deadlines.fenceMs) };
      })
      .catch((error: unknown) => {
        result.primaryGone = error instanceof MysqlFault && error.outcome === "refused";
        result.failed.set(oldPrimary, error instanceof Error ? error.message : String(error));
      })
      .finally(() => {
        primaryDone = true;
        settle();
      });
  });

  over = true;
  if (fenced() || ((loses || accepted) && result.stopped.size > 0)) return result;
  if (loses)
    throw new Refusal("ackers-unreachable", "no replica could be reached", {
      failed: Object.fromEntries(result.failed),
    });
  const mute = [...result.stopped.values()].filter((s) => !s.vouches);
  const said = Object.fromEntries(result.failed);
  if (result.stopped.size >= ackers.length - acks + 1) {
    throw new Refusal("acker-cannot-vouch", mute.map((s) => `${s.node} ${s.why}`).join("; "), {
      failed: said,
    });
  }
  throw new Refusal(
    "ackers-unreachable",
    `${result.stopped.size} of ${ackers.length} ackers could be stopped, ${ackers.length - acks + 1} are needed, and ${oldPrimary} could not be fenced itself (${[...result.failed.values()].join("; ")})`,
    { stopped: [...result.stopped.keys()], failed: said },
  );
}

async function stopReceiver(
  op: Operation,
  node: string,
  deadlineMs: number,
  isOver: () => boolean,
): Promise<Pick<Stopped, "hand" | "status" | "epoch">> {
  const hand = await op.hand(node, deadlineMs);
  op.assertMine();
  await keepReceived(hand, deadlineMs);
  // Nobody waits for it any more, and who rolls back would not know that it was stopped.
  if (isOver()) throw new Refusal("deadline-exceeded", `${node} answered only after the fence had ended`);
  const { stopReceiver: stop, statusSql } = hand.dialect;
  const results = await hand.run([stop, statusSql], deadlineMs);
  const status = hand.dialect.parseStatus(results.slice(1));
  if (status.replica !== null && status.replica.receiver !== "off")
    throw new Refusal("node-lost", `${node}: its receiver is still ${status.replica.receiver} after STOP`);
  return { hand, status, epoch: hand.epoch(deadlineMs) };
}
