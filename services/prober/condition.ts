/**
 * What one prober knows of one node, as a value: attempts in a row that failed, since when it is silent, the last
 * outcome. Pure: each attempt's result gives the next condition and the sample that tells of it.
 */
import {
  type NodeStatus,
  OUTCOMES_OF_DEATH,
  type Outcome,
  type Sample,
  type SampleCause,
} from "@baton/contracts";

export interface Condition {
  readonly seq: number;
  readonly outcome: Outcome | null;
  readonly attempts: number;
  /** When the first question that was not answered was put; null while it answers. */
  readonly silentSinceMs: number | null;
  /** When the outcome changed last. */
  readonly changedMs: number;
}

export const unknown: Condition = { seq: 0, outcome: null, attempts: 0, silentSinceMs: null, changedMs: 0 };

export interface Attempt {
  outcome: Outcome;
  cause: SampleCause;
  /** When the question was put. */
  askedMs: number;
  status: NodeStatus | null;
  errno: number | null;
  error: string | null;
}

export interface Where {
  cluster: string;
  node: string;
  region: string;
  prober: string;
}

const ERROR_MOST = 500;

/** Folds an attempt in. A held connection that closed is no attempt: it only begins the silence. */
export function note(
  before: Condition,
  attempt: Attempt,
  thresholdMs: number,
  now: number,
  where: Where,
): { condition: Condition; sample: Sample } {
  const ok = attempt.outcome === "ok";
  const silent = attempt.outcome === "closed" || OUTCOMES_OF_DEATH.has(attempt.outcome);
  const condition: Condition = {
    seq: before.seq + 1,
    outcome: attempt.outcome,
    attempts: ok ? 0 : attempt.outcome === "closed" ? before.attempts : before.attempts + 1,
    silentSinceMs: silent ? (before.silentSinceMs ?? attempt.askedMs) : null,
    changedMs: attempt.outcome === before.outcome ? before.changedMs : now,
  };
  return {
    condition,
    sample: {
      ...where,
      seq: condition.seq,
      cause: attempt.cause,
      outcome: attempt.outcome,
      rttMs: Math.max(0, now - attempt.askedMs),
      attempts: condition.attempts,
      silentMs: condition.silentSinceMs === null ? 0 : Math.max(0, now - condition.silentSinceMs),
      thresholdMs,
      errno: attempt.errno,
      error: attempt.error === null ? null : attempt.error.slice(0, ERROR_MOST),
      status: attempt.status,
    },
  };
}

/** A receiver that has heard nothing for so long makes its cluster suspect. */
export const SUSPECT_HEARD_MS = 500;

/** Does this sample call for a closer look at the whole cluster? */
export function isSuspect(sample: Sample): boolean {
  if (sample.outcome !== "ok") return true;
  const r = sample.status?.replica;
  return r != null && (r.receiver !== "on" || (r.heardAgeMs ?? 0) > SUSPECT_HEARD_MS);
}
