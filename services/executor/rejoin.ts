/**
 * A node is led home: a former primary that came back, a replica that follows the wrong server or stands still after a
 * restart. Shut first, then compared: what it holds and the primary has not is errant, and then it is
 * quarantined (SAFETY.md, Failover 9). The primary is only read.
 */
import type { NodeStatus, RefusalCode } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { end, follows, heldBy, ownTransactions } from "@baton/protocol";
import { beside } from "./beside.ts";
import { pointAt } from "./channel.ts";
import { shut } from "./fence-primary.ts";
import type { Hand } from "./hand.ts";
import { proveHandover, stopAcknowledging } from "./handover.ts";
import { assertOurs } from "./identity.ts";
import { joinAsAcker } from "./join.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

export async function rejoin(op: Operation): Promise<void> {
  const node = op.intent.node;
  const { primary } = op.state;
  try {
    const checked = await op.step("check", async () => {
      const value = await check(op, node, primary);
      return {
        value,
        summary: value.errant.isEmpty()
          ? `${node} holds nothing that ${primary} has not`
          : `${node} holds ${value.errant.count()} transactions that ${primary} has not`,
        detail: {
          errant: value.errant.toString(),
          held: value.held.toString(),
          primaryExecuted: value.primaryExecuted.toString(),
        },
      };
    });
    if (checked.errant.isEmpty()) await leadHome(op, checked.hand, node, primary);
    else await quarantine(op, checked.hand, checked.status, checked.errant);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    await giveUp(op, node, error.code, error.message);
  }
}

async function check(op: Operation, node: string, primary: string) {
  const { deadlines } = op.declared.policy;
  const hand = await op.hand(node, deadlines.openMs).catch((error: unknown) => {
    throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
  });
  // Only looked at: the last operation's canary may still hold the primary's lock, and is not to be killed for this.
  const ofPrimary = await glance(op, primary);
  if (ofPrimary !== null && ofPrimary.flavour !== hand.dialect.flavour)
    throw new Refusal(
      "mixed-flavours",
      `${node} runs ${hand.dialect.flavour} and ${primary} ${ofPrimary.flavour}`,
    );
  assertOurs(op, node, await hand.status(deadlines.openMs), ofPrimary);
  await assertNoRival(op, hand, primary);
  const status: NodeStatus = await shut(op, hand, deadlines.fenceMs);
  // Read after the node was shut: nothing can be added to it any more, and the primary only grows.
  const primaryExecuted = await executedOfPrimary(op, primary);
  const held = heldBy(status);
  return { hand, status, held, primaryExecuted, errant: held.subtract(primaryExecuted) };
}

/**
 * One that writes a history of its own, or follows one that does, may hold what clients were told is safe: whose it is, is settled as a
 * split brain. The decider may not have seen the first such write when it gave the order. @throws Refusal state-changed
 */
async function assertNoRival(op: Operation, hand: Hand, primary: string): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const status = await hand.status(openMs);
  if (status.flavour !== "mysql") return;
  const source = Object.entries(op.declared.nodes).find(
    ([name, at]) =>
      name !== primary &&
      name !== hand.node &&
      at.host === status.replica?.sourceHost &&
      at.port === status.replica.sourcePort,
  )?.[0];
  const other = source === undefined ? null : await glance(op, source);
  if (other?.readOnly === false)
    throw new Refusal("state-changed", `${hand.node} follows ${source}, which accepts writes: a split brain`);
  if (status.readOnly) return;
  const own = ownTransactions(status, await executedOfPrimary(op, primary), op.state.primaryUuid);
  if (!own.isEmpty())
    throw new Refusal("state-changed", `${hand.node} accepts writes and has written ${own}: a split brain`, {
      own: own.toString(),
    });
}

/** For a server that is well; a silent one is not waited for. */
const GLANCE_MS = 500;

async function glance(op: Operation, node: string): Promise<NodeStatus | null> {
  const look = await op.ports.openLook(op.cluster, node, GLANCE_MS).catch(() => null);
  const status = (await look?.status(GLANCE_MS).catch(() => null)) ?? null;
  look?.destroy();
  return status;
}

/** All that is in the cluster's history now. @throws Refusal when the primary is not the server that the state names */
export async function executedOfPrimary(op: Operation, primary: string): Promise<GtidSet> {
  const { deadlines } = op.declared.policy;
  // Not by a hand: the last operation's canary may hold the primary's lock until somebody acknowledges again, this very node perhaps.
  const [of, owned] = await beside(op, primary, async (look) => {
    const d = look.dialect;
    const [rows, ...sets] = await look.run([d.ownedSql, d.statusSql], deadlines.openMs);
    return [d.parseStatus(sets), d.owned(rows ?? [])];
  });
  if (of.readOnly || of.serverUuid !== op.state.primaryUuid)
    throw new Refusal("state-changed", `${primary} is not the writable server that the state names`);
  // A write that waits for this very node's ack is in its relay log and on the primary not executed yet.
  return GtidSet.parse(of.executed).union(GtidSet.parse(owned));
}

async function leadHome(op: Operation, hand: Hand, node: string, primary: string): Promise<void> {
  try {
    await op.step("rejoin", async () => {
      await joinAsAcker(op, hand, primary);
      await op.change(end(op.state, "completed", null, op.ports.nowUnixMs()));
      return { value: null, summary: `${node} follows ${primary}` };
    });
  } catch (error) {
    if (!(error instanceof Refusal) || error.code !== "not-whole") throw error;
    await quarantineHollow(op, hand, error);
    return;
  }
  op.event({
    type: "node-rejoined",
    node,
    outcome: "completed",
    code: null,
    summary: `${node} follows ${primary} again`,
    primary: null,
    previous: null,
    next: null,
    detail: {},
  });
  op.alert({
    severity: "info",
    code: "node-rejoined",
    title: `${op.cluster}: ${node} is back as a replica`,
    summary: op.intent.reason,
    action: "Nothing.",
    node,
  });
}

/** @throws Refusal handover-unproven, with the node as it was: one that followed follows on and acknowledges */
async function quarantine(op: Operation, hand: Hand, before: NodeStatus, errant: GtidSet): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const { node } = hand;
  await op
    .step("quarantine", async () => {
      await leave(op, hand, before, errant);
      await op.change(
        end(op.state, "completed", "not-clean", op.ports.nowUnixMs(), [
          ...new Set([...op.state.quarantined, node]),
        ]),
      );
      return {
        value: null,
        summary: `${node} is read-only, follows nobody and will not be promoted`,
        detail: { errant: errant.toString() },
      };
    })
    .catch(async (error: unknown) => {
      if (!(error instanceof Refusal) || error.code !== "handover-unproven") throw error;
      if (follows(before, op.state.primaryUuid, op.declared.nodes[op.state.primary]))
        await pointAt(op, hand, op.state.primary, {
          roles: hand.dialect.becomeReplica,
          start: "replication",
        });
      else await stopAcknowledging(hand, openMs);
      throw error;
    });
  tellQuarantined(op, node, errant);
}

/** Its acknowledging ends, and k others hold all of the history that it holds. One that has left before has nothing to hand over. */
async function leave(op: Operation, hand: Hand, before: NodeStatus, errant: GtidSet): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const history = (status: NodeStatus) => heldBy(status).subtract(errant);
  const left = op.state.quarantined.includes(hand.node);
  // Asked first, so that no write is held up for nothing.
  if (!left) await proveHandover(op, hand.node, history(before), openMs);
  const status = await stopAcknowledging(hand, openMs);
  if (!left) await proveHandover(op, hand.node, history(status), openMs);
}

/** It lacks for good what the others have: it takes no part until it is rebuilt. @throws Refusal handover-unproven, and it stands still */
async function quarantineHollow(op: Operation, hand: Hand, why: Refusal): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  const { node } = hand;
  const lacking = String(why.detail.lacking ?? "");
  await op.step("quarantine", async () => {
    await leave(op, hand, await hand.status(openMs), GtidSet.empty);
    const hollow = { ...op.state.hollow, [node]: (await hand.status(openMs)).serverId };
    await op.change(
      end({ ...op.state, hollow }, "blocked", "not-whole", op.ports.nowUnixMs(), [
        ...new Set([...op.state.quarantined, node]),
      ]),
    );
    return {
      value: null,
      summary: `${node} is not whole: it is read-only, follows nobody and will not be promoted`,
      detail: { lacking },
    };
  });
  op.event({
    type: "node-quarantined",
    node,
    outcome: "blocked",
    code: "not-whole",
    summary: why.message,
    primary: null,
    previous: null,
    next: nextFor(op, node),
    detail: { lacking },
  });
  op.alert({
    severity: "warning",
    code: "not-whole",
    title: `${op.cluster}: ${node} is quarantined, it is not whole`,
    summary: why.message,
    action: `Find out who emptied it. Then: ${nextFor(op, node)}.`,
    node,
  });
}

export function tellQuarantined(op: Operation, node: string, errant: GtidSet): void {
  op.event({
    type: "node-quarantined",
    node,
    outcome: "completed",
    code: "not-clean",
    summary: `${node} holds ${errant.count()} transactions that are not in the history: ${errant}`,
    primary: null,
    previous: null,
    next: nextFor(op, node),
    detail: { errant: errant.toString() },
  });
  op.alert({
    severity: "warning",
    code: "node-quarantined",
    title: `${op.cluster}: ${node} is quarantined`,
    summary: `It holds ${errant.count()} transactions that no client was told OK for, or that were written behind the primary's back: ${errant}`,
    action: `Look at them with mysqlbinlog on ${node} if they matter. Then: ${nextFor(op, node)}.`,
    node,
  });
}

function nextFor(op: Operation, node: string): string {
  const { rebuild } = op.declared.policy;
  if (rebuild === "auto") return `nothing: Baton archives them and rebuilds ${node} by itself`;
  return `baton rebuild ${op.cluster} ${node}`;
}

async function giveUp(op: Operation, node: string, code: RefusalCode, why: string): Promise<void> {
  await op.change(end(op.state, "blocked", code, op.ports.nowUnixMs()));
  op.event({
    type: "operation-ended",
    node,
    outcome: "blocked",
    code,
    summary: `${node} could not be led home: ${why}`,
    primary: null,
    previous: null,
    next: `baton history ${op.intent.operation}`,
    detail: {},
  });
  op.alert({
    severity: "warning",
    code,
    title: `${op.cluster}: ${node} could not rejoin (${code})`,
    summary: why,
    action:
      code === "handover-unproven" || code === "relay-log-unapplied"
        ? `Start the members that are named, or let them catch up; Baton tries again by itself. It goes on counting ${node}.`
        : "Baton tries again by itself; when the error stays, rebuild the node.",
    node,
  });
}
