/** Waits until a receiver is connected: MySQL tells nobody, so it is asked. */
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

const POLL_MS = 20;

/** @throws Refusal cannot-follow */
export async function untilReceiving(op: Operation, hand: Hand, deadlineMs: number): Promise<void> {
  const until = op.ports.now() + deadlineMs;
  for (;;) {
    const r = (await hand.status(deadlineMs)).replica;
    if (r?.receiver === "on") return;
    if (r !== null && r.receiver === "off" && r.receiverErrno !== 0)
      throw new Refusal("cannot-follow", `${hand.node}: ${r.receiverErrno} ${r.receiverError}`);
    if (op.ports.now() > until)
      throw new Refusal(
        "cannot-follow",
        `${hand.node}: not connected within ${deadlineMs} ms: ${r?.receiverErrno ?? 0} ${r?.receiverError ?? ""}`,
      );
    op.assertMine();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
