/** When a server started, by its own clock, as a Unix time in seconds. */

/**
 * The server counts its uptime by its wall clock. Set back to before its start, that wraps below zero: 18446744073709548043
 * is −3573 (measured on 9.7.4, test/clock.test.ts).
 */
export function startedUnixS(nowS: unknown, uptimeS: unknown): number {
  const uptime = /^\d+$/.test(String(uptimeS)) ? BigInt.asIntN(64, BigInt(String(uptimeS))) : 0n;
  return Number(nowS) - Number(uptime);
}
