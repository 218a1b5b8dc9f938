import { setTimeout as pause } from "node:timers/promises";
import { monotonicMs } from "@baton/lab";

const EVERY_MS = 25;

/** True as soon as `met` is, false when the time is over first. Rejects when the signal is aborted. */
export async function until(
  met: () => boolean | Promise<boolean>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadline = monotonicMs() + timeoutMs;
  for (;;) {
    if (await met()) return true;
    if (monotonicMs() >= deadline) return false;
    await pause(Math.min(EVERY_MS, Math.max(1, deadline - monotonicMs())), undefined, { signal });
  }
}
