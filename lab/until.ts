import { setTimeout as pause } from "node:timers/promises";
import { monotonicMs } from "./monotonic.ts";

/**
 * Asks again and again until the answer is neither undefined, null nor false; returns that answer.
 * `onTimeout` makes the error when the deadline passes; it gets the last error that `ask` threw, if any.
 */
export async function until<T>(
  ask: () => Promise<T | undefined | null | false>,
  options: {
    timeoutMs: number;
    everyMs?: number;
    signal?: AbortSignal | undefined;
    /** True for an error of `ask` that no further asking can mend: it is thrown at once. */
    giveUp?: (error: unknown) => boolean;
    onTimeout: (last: unknown) => Error;
  },
): Promise<T> {
  const deadline = monotonicMs() + options.timeoutMs;
  let last: unknown;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== null && answer !== false) return answer;
      last = undefined;
    } catch (error) {
      if (options.giveUp?.(error)) throw error;
      last = error;
    }
    if (monotonicMs() >= deadline) throw options.onTimeout(last);
    await pause(options.everyMs ?? 20);
  }
}
