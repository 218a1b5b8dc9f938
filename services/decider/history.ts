/**
 * What a decider keeps of the primary's history, and how it grows: by what it sees itself (mark.ts), and by what another decider wrote.
 * Pure.
 */
import type { Mark } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";

/** A replica's sample that came at the same time as the primary's may have been read before it. */
export const SKEW_MS = 200;
const REMEMBERED = 8;

export interface History {
  /** The mark: a union of all that was seen, here or by others. */
  readonly executed: string;
  /** When the mark had which value, newest first: a replica's older sample is compared with an older mark. */
  readonly remembered: readonly { readonly atMs: number; readonly executed: string }[];
  /** Null: nobody has seen anything yet, and no evidence is no proof. */
  readonly durability: Mark["durability"] | null;
  /** What the primary had when writes began to wait for acks: once k members hold it, all that was acknowledged is held by k. */
  readonly proving: string | null;
  readonly provingSinceMs: number;
  /** When the probers were asked to look for that. */
  readonly askedMs: number;
  /** How often this start of this server has stopped waiting for acks: it may have done so between two samples. */
  readonly timesOff: { readonly startedUnixS: number; readonly count: number } | null;
  readonly undeclaredSinceMs: number | null;
  readonly lost: Lost | null;
  readonly writtenMs: number;
}

export interface Lost {
  readonly missing: string;
  /** Who has it; empty: only the mark says it. */
  readonly holders: readonly string[];
  readonly sinceMs: number;
  /** The last sample that lacked it. */
  readonly untilMs: number;
  /** What the primary had then. */
  readonly executed: string;
}

export const NO_HISTORY: History = {
  executed: "",
  remembered: [],
  durability: null,
  proving: null,
  provingSinceMs: 0,
  askedMs: Number.NEGATIVE_INFINITY,
  timesOff: null,
  undeclaredSinceMs: null,
  lost: null,
  writtenMs: Number.NEGATIVE_INFINITY,
};

/** What another decider wrote, or this one before it started anew. */
export function learnMark(history: History, mark: Mark | null, decider: string): History {
  if (mark === null) return history;
  const executed = joined(history.executed, mark.executed);
  const told = mark.durability;
  // What this decider judges itself is newer than its own echo; of another's words only the doubt counts.
  const doubted = mark.decider !== decider && history.durability?.proven === true && !told.proven;
  return {
    ...history,
    executed,
    durability: history.durability === null || doubted ? told : history.durability,
    proving: doubted ? null : history.proving,
  };
}

/** An operation has run: counters of before say nothing, and what is missing is looked for anew. */
export function afterChange(history: History): History {
  return { ...history, proving: null, timesOff: null, undeclaredSinceMs: null, lost: null };
}

function joined(a: string, b: string): string {
  if (a === b || b === "") return a;
  return a === "" ? b : GtidSet.parse(a).union(GtidSet.parse(b)).toString();
}

/** The mark with what was seen now. A union: it never falls. */
export function raise(history: History, seen: string, now: number): History {
  const [last] = history.remembered;
  if (last?.executed === seen || history.executed === seen) return history;
  const executed = joined(history.executed, seen);
  if (executed === history.executed) return history;
  const remembered =
    last === undefined || now - last.atMs >= SKEW_MS
      ? [{ atMs: now, executed }, ...history.remembered].slice(0, REMEMBERED)
      : history.remembered;
  return { ...history, executed, remembered };
}
