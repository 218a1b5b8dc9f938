/** Stops both replication threads without waiting for the rest of a transaction that will never come. */
import type { Hand } from "./hand.ts";

const LOOK_MS = 5;

export async function standStill(hand: Hand, deadlineMs: number): Promise<void> {
  const d = hand.dialect;
  const [, half] = await hand.run([d.stopReceiver, d.halfReceived], deadlineMs);
  const coordinator = Number(half?.[0]?.coordinator ?? 0);
  if (coordinator > 0) {
    // It may have ended by itself meanwhile; stopping it again does no harm.
    await hand.run(d.kill(coordinator), deadlineMs).catch(() => undefined);
    await untilGone(hand, coordinator, deadlineMs);
  }
  await hand.run(d.stopReplication, deadlineMs);
}

/** One that hears of STOP before it has noticed the KILL waits 60 s for the rest all the same (measured, one run in four). */
async function untilGone(hand: Hand, coordinator: number, withinMs: number): Promise<void> {
  const untilMs = performance.now() + withinMs;
  while (performance.now() < untilMs) {
    const [row] = (await hand.run([hand.dialect.halfReceived], withinMs))[0] ?? [];
    if (Number(row?.coordinator ?? 0) !== coordinator) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
