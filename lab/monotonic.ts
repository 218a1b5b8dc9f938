/** Milliseconds of CLOCK_MONOTONIC: never jumps, and comparable between the processes of one machine. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
