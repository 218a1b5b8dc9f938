/**
 * A node's data are replaced by a copy of the primary's: for an errant former primary, a broken replica, an empty server
 * (SAFETY.md, Failover 9). What it holds alone is archived first. From the first byte dropped to the last caught up
 * it is quarantined and sends no acks; an executor that dies is followed by one that watches on, or starts over.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import {
  beginReplacing,
  chooseDonor,
  downtimesOf,
  end,
  healthyAckers,
  heldBy,
  leaving,
} from "@baton/protocol";
import { handOn } from "./ask-node.ts";
import { beside } from "./beside.ts";
import { type CloneState, clone, follow, readClone, teller } from "./clone.ts";
import type { DumpPrograms } from "./dump.ts";
import { killClients, shut } from "./fence-primary.ts";
import type { Hand } from "./hand.ts";
import { proveHandover } from "./handover.ts";
import { assertOurs } from "./identity.ts";
import { beginAcknowledging, followUnacknowledged } from "./leave-quarantine.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { executedOfPrimary } from "./rejoin.ts";
import { salvage } from "./salvage.ts";
import { standStill } from "./stand-still.ts";
import { hasClonePlugin, replaceByDump, wayToCopy } from "./way-to-copy.ts";

/** A wait in slices, so that an operation that was taken away notices. */
const APPLY_SLICE_MS = 2_000;

export async function rebuild(op: Operation): Promise<void> {
  const node = op.intent.node;
  const untilMs = op.ports.now() + op.declared.policy.deadlines.rebuildMs;
  const wasQuarantined = op.state.quarantined.includes(node);
  try {
    if (!(await carriedOn(op, node, untilMs))) {
      const { donor, programs } = await op.step("check", () => check(op, node));
      if (op.state.unbuilt?.[node] === undefined) await op.step("salvage", () => save(op, node));
      if (programs === null) await op.step("clone", () => copy(op, node, donor, untilMs));
      else await op.step("dump", () => copyDumped(op, node, donor, programs, untilMs));
    }
    await op.step("rejoin", () => comeHome(op, node, untilMs));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    await giveUp(op, node, wasQuarantined, error);
    return;
  }
  op.event({
    type: "node-rebuilt",
    node,
    outcome: "completed",
    code: null,
    summary: `${node} holds what ${op.state.primary} holds and follows it`,
    primary: null,
    previous: null,
    next: null,
    detail: {},
  });
  op.alert({
    severity: "info",
    code: "node-rebuilt",
    title: `${op.cluster}: ${node} is rebuilt`,
    summary: op.intent.reason,
    action: "Nothing.",
    node,
  });
}

/** An earlier run had begun to replace the data: is there a copy to watch, or to use? */
async function carriedOn(op: Operation, node: string, untilMs: number): Promise<boolean> {
  const sinceS = op.state.unbuilt?.[node];
  if (sinceS === undefined) return false;
  // Without the plugin there was no clone to watch: a dump ended with its executor.
  if (!(await beside(op, node, hasClonePlugin).catch(() => true))) return false;
  return op.step("check", async () => {
    const found = await follow(op, node, sinceS, untilMs);
    const made = found.state === "completed";
    return {
      value: made,
      summary: made
        ? `${node} was copied from ${found.source} already`
        : `the copy over ${node} is ${found.state}: it begins again`,
      detail: { ...found },
    };
  });
}

async function check(op: Operation, node: string) {
  const { deadlines } = op.declared.policy;
  const { primary, primaryUuid, quarantined } = op.state;
  if (node === primary) throw new Refusal("state-changed", `${node} is the primary`);
  const hand = await handOn(op, node);
  if (hand.dialect.flavour === "mariadb")
    throw new Refusal(
      "flavour-cannot",
      `${node} runs MariaDB, which has no clone plugin: rebuild it by hand (docs/operate/mariadb.md)`,
    );
  const ofPrimary = await beside(op, primary, (h) => h.status(deadlines.openMs)).catch(() => null);
  assertOurs(op, node, await hand.status(deadlines.openMs), ofPrimary);
  // Whatever it was, nobody writes to it any more; what it is compared by then stands.
  await shut(op, hand, deadlines.fenceMs);
  const statuses = new Map<string, NodeStatus>([[node, await hand.status(deadlines.openMs)]]);
  await Promise.all(
    Object.keys(op.declared.nodes)
      .filter((name) => name !== node)
      .map(async (name) => {
        const status = await beside(op, name, (h) => h.status(deadlines.openMs)).catch(() => null);
        if (status !== null) statuses.set(name, status);
      }),
  );
  const downtimes = downtimesOf(await op.ports.brakes(op.cluster), op.ports.nowUnixMs());
  const facts = { declared: op.declared, primary, primaryUuid, quarantined, node, statuses, downtimes };
  const choice = chooseDonor({ ...facts, named: op.intent.candidate });
  const notChosen = choice.notChosen as unknown[];
  if (!choice.ok) throw new Refusal("no-donor", choice.reason, { notChosen });
  const { donor } = choice;
  const programs = await wayToCopy(op, hand, donor);
  // Global privileges count for sessions that begin after them (8.2.13): one that was warm before sees a part of the databases, and drops that.
  if (programs !== null) await op.renewHand(node, deadlines.openMs);
  const others = healthyAckers(facts);
  const { acks } = op.declared.policy;
  const acksItself = statuses.get(node)?.replica?.receiver === "on" && !quarantined.includes(node);
  if (acksItself && others.length < acks)
    throw new Refusal(
      "too-few-ackers-left",
      `without ${node} ${others.length} ackers are left, and a write waits for ${acks}: writes would stop for as long as the copy takes`,
    );
  return {
    value: { donor, programs },
    summary: `${node} is to be copied from ${donor}${programs === null ? "" : " by a dump"}: ${choice.reason}`,
    detail: { donor, notChosen, by: programs === null ? "clone" : "dump" },
  };
}

/** Nothing is destroyed before what only this node holds is stored elsewhere. */
async function save(op: Operation, node: string) {
  const { deadlines } = op.declared.policy;
  const hand = await handOn(op, node);
  await standStill(hand, deadlines.openMs);
  const held = heldBy(await hand.status(deadlines.openMs));
  const executed = await executedOfPrimary(op, op.state.primary);
  const errant = held.subtract(executed);
  // One that has left handed it over then; a person may know that whoever got it is gone for good. The primary has it.
  const left = op.state.quarantined.includes(node) && op.intent.byPerson === true;
  if (!left) await proveHandover(op, node, held.intersect(executed), deadlines.catchUpMs);
  if (errant.isEmpty())
    return { value: null, summary: `${node} holds nothing that ${op.state.primary} has not` };
  const target = targetOf(op, node);
  const { cluster } = op;
  const { operation } = op.intent;
  const access = op.ports.access(cluster);
  const saved = await salvage(hand, errant, target, access, deadlines.openMs, (part, packed, last) => {
    op.assertMine();
    const parts = last ? part + 1 : null;
    const gzip = packed.toString("base64");
    return op.ports.keepSalvage({ cluster, node, operation, part, parts, gzip });
  });
  op.assertMine();
  if (saved.lacking !== null && op.intent.byPerson !== true)
    throw new Refusal(
      "errant-unsaved",
      `${node} alone holds ${errant}, and not all of it could be kept elsewhere: ${saved.lacking}`,
      { errant: errant.toString() },
    );
  await op.archive({
    type: "errant-salvaged",
    node,
    outcome: null,
    code: null,
    summary: `${node}: ${errant.count()} transactions that are not in the history are archived before its data go${saved.lacking === null ? "" : `; ${saved.lacking}`}`,
    primary: null,
    previous: null,
    next: null,
    detail: { errant: errant.toString(), ...saved },
  });
  return {
    value: null,
    summary: `${errant.count()} errant transactions are archived${saved.lacking === null ? ", with their rows" : `; ${saved.lacking}`}`,
    detail: {
      errant: errant.toString(),
      truncated: saved.truncated,
      parts: saved.parts,
      lacking: saved.lacking,
    },
  };
}

/** Nobody uses the node any more, and the state says that its data go. Returns when, by the node's clock. */
async function giveUpData(op: Operation, hand: Hand): Promise<number> {
  const { openMs } = op.declared.policy.deadlines;
  await standStill(hand, openMs);
  const [, , , clock] = await hand.run([...hand.dialect.isolate, hand.dialect.clock], openMs);
  const sinceS = Number(clock?.[0]?.nowS);
  await beside(op, hand.node, (h) => killClients(h, openMs));
  await op.change(beginReplacing(op.state, hand.node, sinceS));
  return sinceS;
}

async function copy(op: Operation, node: string, donor: string, untilMs: number) {
  const hand = await handOn(op, node);
  const sinceS = await giveUpData(op, hand);
  const beganMs = op.ports.now();
  let found: CloneState;
  try {
    found = await clone(op, hand, targetOf(op, donor), sinceS, untilMs);
  } catch (error) {
    throw await withTouch(op, node, sinceS, error);
  }
  if (found.state !== "completed")
    throw new Refusal("clone-failed", `${node}: ${found.error || "the copy ended without a word"}`, {
      touched: true,
    });
  const tookMs = op.ports.now() - beganMs;
  return {
    value: null,
    summary: `${found.copiedBytes} bytes copied from ${donor}, and ${node} is back`,
    detail: { donor, bytes: found.copiedBytes, bytesPerS: Math.round((found.copiedBytes * 1_000) / tookMs) },
  };
}

async function copyDumped(
  op: Operation,
  node: string,
  donor: string,
  programs: DumpPrograms,
  untilMs: number,
) {
  const hand = await handOn(op, node);
  const beganMs = op.ports.now();
  const { bytes, executed } = await replaceByDump(
    op,
    hand,
    programs,
    { name: donor, target: targetOf(op, donor) },
    targetOf(op, node),
    untilMs,
    () => giveUpData(op, hand).then(() => undefined),
  );
  const tookMs = op.ports.now() - beganMs;
  return {
    value: null,
    summary: `${bytes} bytes dumped from ${donor} and loaded into ${node}`,
    detail: { donor, bytes, bytesPerS: Math.round((bytes * 1_000) / tookMs), executed },
  };
}

/** Had the server begun to drop the node's data when it gave up? Unless it says no, yes. */
async function withTouch(op: Operation, node: string, sinceS: number, error: unknown): Promise<unknown> {
  if (!(error instanceof Refusal) || error.code !== "clone-failed") return error;
  const { openMs } = op.declared.policy.deadlines;
  const found = await beside(op, node, (h) => readClone(h, sinceS, openMs)).catch(() => null);
  const touched = found === null || found.state !== "none";
  return new Refusal(error.code, error.message, { ...error.detail, touched });
}

/** The copy follows the primary without acknowledging anything; once it has caught up it is an acker, and then acks. */
async function comeHome(op: Operation, node: string, untilMs: number) {
  const { deadlines } = op.declared.policy;
  const { primary } = op.state;
  const hand = await op.renewHand(node, deadlines.openMs).catch((error: unknown) => {
    if (error instanceof Error && error.name === "Superseded") throw error;
    throw new Refusal("node-lost", `${node}: ${error instanceof Error ? error.message : error}`);
  });
  if (op.state.quarantined.includes(node)) {
    const status = await shut(op, hand, deadlines.fenceMs);
    const errant = GtidSet.parse(status.executed).subtract(await executedOfPrimary(op, primary));
    if (!errant.isEmpty())
      throw new Refusal("not-clean", `${node}, copied, holds ${errant}, which ${primary} has not`, {
        errant: errant.toString(),
      });
    await standStill(hand, deadlines.openMs);
    await followUnacknowledged(op, hand, primary);
    await untilApplied(op, hand, (await executedOfPrimary(op, primary)).toString(), untilMs);
  }
  await beginAcknowledging(op, hand);
  await op.change(end(op.state, "completed", null, op.ports.nowUnixMs()));
  return { value: null, summary: `${node} has caught up with ${primary}, follows it and acknowledges` };
}

async function untilApplied(op: Operation, hand: Hand, set: string, untilMs: number): Promise<void> {
  if (set === "") return;
  const tell = teller(op, hand.node);
  for (;;) {
    const rows = await hand.run(hand.dialect.waitApplied(set, APPLY_SLICE_MS), APPLY_SLICE_MS + 5_000);
    if (hand.dialect.applied(rows.at(-1) ?? [])) return;
    op.assertMine();
    tell({ source: op.state.primary, copiedBytes: 0, totalBytes: 0, stage: "catch-up" });
    const r = (await hand.status(APPLY_SLICE_MS)).replica;
    if (r !== null && (r.applierErrno !== 0 || r.receiverErrno !== 0))
      throw new Refusal(
        "cannot-follow",
        `${hand.node}: ${r.applierErrno || r.receiverErrno} ${r.applierError || r.receiverError}`,
      );
    if (op.ports.now() > untilMs)
      throw new Refusal("catch-up-timeout", `${hand.node} did not catch up with ${op.state.primary} in time`);
  }
}

async function giveUp(op: Operation, node: string, wasQuarantined: boolean, why: Refusal): Promise<void> {
  const begun = op.state.unbuilt?.[node] !== undefined;
  const intact = !begun || why.detail.touched === false;
  const unrestored: string[] = [];
  if (intact && !wasQuarantined) await putBack(op, node).catch(() => unrestored.push(node));
  const { [node]: _, ...unbuilt } = op.state.unbuilt ?? {};
  const kept = op.state.quarantined.filter((n) => n !== node || wasQuarantined || !intact);
  await op.change(
    end(
      leaving(intact ? { ...op.state, unbuilt } : op.state, unrestored),
      "blocked",
      why.code,
      op.ports.nowUnixMs(),
      kept,
    ),
  );
  const next = `baton rebuild ${op.cluster} ${node}`;
  const state = intact
    ? "its data were not touched"
    : "its data are gone: it stays quarantined until it is rebuilt";
  op.event({
    type: "operation-ended",
    node,
    outcome: "blocked",
    code: why.code,
    summary: `${node} could not be rebuilt: ${why.message}; ${state}`,
    primary: null,
    previous: null,
    next,
    detail: {},
  });
  op.alert({
    severity: "warning",
    code: why.code,
    title: `${op.cluster}: ${node} could not be rebuilt (${why.code})`,
    summary: `${why.message}; ${state}`,
    action: intact ? `Remove the reason, then: ${next}` : `Baton tries again every minute, or: ${next}`,
    node,
  });
}

/** A replica that followed before it was stopped for this follows again. */
async function putBack(op: Operation, node: string): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  if (op.intent.nodes[node]?.replica?.receiver === "off") return;
  const hand = await op.hand(node, openMs);
  const channel = (await hand.status(openMs)).replica;
  if (channel !== null)
    await hand.run([...hand.dialect.becomeReplica, hand.dialect.startReplication], openMs);
}

function targetOf(op: Operation, node: string) {
  const { host, port } = op.declared.nodes[node] ?? { host: "", port: 0 };
  return { host, port };
}
