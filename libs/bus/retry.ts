/** Asking JetStream again until it answers or a deadline passes. */
import { setTimeout as sleep } from "node:timers/promises";
import { BatonError } from "@baton/contracts";
import { JetStreamApiCodes, JetStreamApiError } from "@nats-io/jetstream";
import { errors } from "@nats-io/transport-node";

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 250;

/**
 * JetStream errors that a later attempt may not meet: too few servers yet, no leader, not the leader, stream
 * offline, a message with the same id or subject still being agreed on.
 */
const PASSING_ERRORS = new Set([10005, 10008, 10009, 10118, 10158, 10164]);

/** Whether the request may yet succeed. Its outcome is unknown: it may have been carried out. */
export function isPassing(error: unknown): boolean {
  if (error instanceof errors.PermissionViolationError) return false;
  if (error instanceof JetStreamApiError) return PASSING_ERRORS.has(error.code) || error.status === 503;
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof errors.PermissionViolationError) return false;
  return (
    error instanceof errors.TimeoutError ||
    error instanceof errors.RequestError ||
    cause instanceof errors.RequestError
  );
}

export function isStreamMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound;
}

/**
 * Calls `attempt` until it resolves, throws something that will not pass, or `deadlineMs` is over: then throws
 * BatonError E_NATS_UNREACHABLE, and the outcome is unknown. `onRetry` is called before each further attempt.
 */
export async function underDeadline<T>(
  what: string,
  deadlineMs: number,
  attempt: () => Promise<T>,
  onRetry: (error: unknown) => void,
): Promise<T> {
  const endMs = performance.now() + deadlineMs;
  let pauseMs = FIRST_PAUSE_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isPassing(error)) throw error;
      if (performance.now() + pauseMs >= endMs) {
        throw new BatonError("E_NATS_UNREACHABLE", {
          place: what,
          message: `JetStream has not done it within ${Math.round(deadlineMs)} ms (${describe(error)}).`,
          remedy: "Check that the NATS servers run and reach each other.",
          cause: error,
        });
      }
      onRetry(error);
    }
    await sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

/** Waits; returns early, without throwing, when `signal` aborts. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, signal ? { signal } : {});
  } catch {}
}

/** An error's message for a log line; never empty. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || error.name;
}
