/**
 * `node --import clock-hook.ts`: this process's wall clock is off by as many milliseconds as the file in BATON_CHAOS_CLOCK says; without the file it is
 * right. Node reads the wall clock by Date alone, so this is as good as a step of the machine's, which namespaces cannot have for themselves. Timers
 * and `performance` go on as they are, as after a real step. Product code has no switch for it.
 */
import { readFileSync } from "node:fs";

/** So seldom is the file read: Date.now() is asked thousands of times a second. */
const lookMs = 100;
const file = process.env.BATON_CHAOS_CLOCK ?? "";
const RealDate = Date;
const realNow = Date.now;
let offsetMs = 0;
let lookedMs = Number.NEGATIVE_INFINITY;

function now(): number {
  if (performance.now() - lookedMs >= lookMs) {
    lookedMs = performance.now();
    offsetMs = offsetSaid();
  }
  return realNow() + offsetMs;
}

function offsetSaid(): number {
  try {
    return Number.parseInt(readFileSync(file, "utf8"), 10) || 0;
  } catch {
    return 0;
  }
}

if (file !== "") {
  RealDate.now = now;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
    apply: () => new RealDate(now()).toString(),
  });
}
