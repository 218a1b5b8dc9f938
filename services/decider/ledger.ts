/**
 * When the vouch ledger is written, and what. An entry is raised by a node that hears its primary. To be written at first, or for another start
 * of the server, a node must hold all that the primary had executed once that start was seen: what it acknowledged before is among
 * that, however little of it the ledger had seen. The primary has an entry too: it may be a replica tomorrow.
 */
import type { Vouch } from "@baton/contracts";
import type { GtidSet } from "@baton/mysql/gtid";
import { isCalm, isStartOf, mayLose, nextVouch } from "@baton/protocol";
import { type Picture, primaryExecuted } from "./picture.ts";
import { inDoubt, replicaVotes, type VoteSettings } from "./votes.ts";

const VOUCH_EVERY_MS = 2_000;
/** A write is under way so long; then it is made again. */
const VOUCH_AGAIN_MS = 500;

export interface DueVouch {
  vouch: Vouch;
  /** Of the entry that it replaces; 0: there is none. */
  revision: number;
}

/** A start that is new is looked at this often, for so long: until it has its entry the node's word does not count. */
const LOOK_EVERY_MS = 200;
const LOOK_FOR_MS = 3_000;

/** A start that has no entry yet. */
export interface NewStart {
  sinceMs: number;
  serverUuid: string;
  startedUnixS: number;
  /** What the primary had executed when it was read next; null until then. */
  required: GtidSet | null;
}

/** Called for each sample with a status. */
export function vouchesDue(
  before: Picture,
  node: string,
  now: number,
  s: VoteSettings,
): { picture: Picture; due: DueVouch[] } {
  let picture = noteStart(before, node, now);
  if (picture.state === null || !isCalm(picture.state.value)) return { picture, due: [] };
  const { primary } = picture.state.value;
  if (!isReadOpen(picture)) return { picture, due: [] };
  // Most samples need it not, and a set may be long.
  let parsed: GtidSet | null = null;
  const executed = () => {
    parsed ??= primaryExecuted(picture, primary);
    return parsed;
  };
  if (node === primary) picture = noteRequired(picture, executed);
  const due: DueVouch[] = [];
  for (const name of node === primary ? new Set([primary, ...picture.newStarts.keys()]) : [node]) {
    const found = dueFor(picture, name, executed, now, s);
    if (found === null) continue;
    picture = { ...picture, vouchedMs: new Map(picture.vouchedMs).set(name, now) };
    due.push({ vouch: found, revision: picture.vouchRevisions.get(name) ?? 0 });
  }
  return { picture, due };
}

/** Is it time to have all nodes looked at again, because of a start that is new? */
export function looksForLedger(picture: Picture, now: number, s: VoteSettings): boolean {
  if (picture.state === null || !isCalm(picture.state.value) || inDoubt(picture, now, s)) return false;
  if (now - picture.lookedMs < LOOK_EVERY_MS) return false;
  return [...picture.newStarts.values()].some((start) => now - start.sinceMs < LOOK_FOR_MS);
}

/** The primary that the state names was read in this reign, and was open. */
function isReadOpen(picture: Picture): boolean {
  const { value, sinceMs } = picture.state as NonNullable<Picture["state"]>;
  const known = picture.statuses.get(value.primary);
  if (known === undefined || known.atMs <= sinceMs) return false;
  return !known.status.readOnly && known.status.serverUuid === value.primaryUuid;
}

function noteStart(picture: Picture, node: string, now: number): Picture {
  const status = picture.statuses.get(node)?.status;
  if (status === undefined) return picture;
  const entry = picture.vouches.get(node);
  const noted = picture.newStarts.get(node);
  if (entry !== undefined && isStartOf(entry, status)) {
    if (noted === undefined) return picture;
    const newStarts = new Map(picture.newStarts);
    newStarts.delete(node);
    return { ...picture, newStarts };
  }
  if (noted !== undefined && isStartOf(noted, status)) return picture;
  const { serverUuid, startedUnixS } = status;
  const start: NewStart = { sinceMs: now, serverUuid, startedUnixS, required: null };
  return { ...picture, newStarts: new Map(picture.newStarts).set(node, start) };
}

function noteRequired(picture: Picture, executed: () => GtidSet): Picture {
  if ([...picture.newStarts.values()].every((start) => start.required !== null)) return picture;
  const newStarts = new Map(
    [...picture.newStarts].map(([node, start]) => [
      node,
      { ...start, required: start.required ?? executed() },
    ]),
  );
  return { ...picture, newStarts };
}

function dueFor(
  picture: Picture,
  node: string,
  executed: () => GtidSet,
  now: number,
  s: VoteSettings,
): Vouch | null {
  const { value, sinceMs } = picture.state as NonNullable<Picture["state"]>;
  const known = picture.statuses.get(node);
  if (known === undefined || known.atMs <= sinceMs || picture.declared?.nodes[node] === undefined)
    return null;
  const sinceLastMs = now - (picture.vouchedMs.get(node) ?? Number.NEGATIVE_INFINITY);
  if (sinceLastMs < VOUCH_AGAIN_MS) return null;
  const isPrimary = node === value.primary;
  // What it answers without an ack may be lost with it, and would bind it for ever.
  if (isPrimary && picture.declared !== null && mayLose(picture.declared, value)) return null;
  const entry = picture.vouches.get(node);
  const quarantined = value.quarantined.includes(node);
  const start = picture.newStarts.get(node);
  if (start !== undefined) {
    if (start.required === null) return null;
    return nextVouch(picture.cluster, node, known.status, executed(), entry, {
      required: start.required,
      quarantined,
    });
  }
  if (sinceLastMs < VOUCH_EVERY_MS || inDoubt(picture, now, s)) return null;
  const hears =
    isPrimary ||
    quarantined ||
    replicaVotes(picture, value.primary, now, s).some((v) => v.node === node && v.finds === "hears");
  return hears ? nextVouch(picture.cluster, node, known.status, executed(), entry, { quarantined }) : null;
}
