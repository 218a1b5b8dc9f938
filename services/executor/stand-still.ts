/** Stops both replication threads without waiting for the rest of a transaction that will never come. */
import type { Hand } from "./hand.ts";

export async function standStill(hand: Hand, deadlineMs: number): Promise<void> {
  const d = hand.dialect;
  const [, half] = await hand.run([d.stopReceiver, d.halfReceived], deadlineMs);
  const coordinator = Number(half?.[0]?.coordinator ?? 0);
  // It may have ended by itself meanwhile; stopping it again does no harm.
  if (coordinator > 0) await hand.run(d.kill(coordinator), deadlineMs).catch(() => undefined);
  await hand.run(d.stopReplication, deadlineMs);
}
