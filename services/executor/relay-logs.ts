/**
 * MariaDB throws relay logs away when replication starts with both threads standing, and pointing a receiver elsewhere needs them
 * to stand (measured, docs/operate/mariadb.md). What a node has received and acknowledged is therefore applied before
 * its threads stand; where it cannot be, they are not started again by Baton.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { strandedIn } from "@baton/protocol";
import type { Hand } from "./hand.ts";
import { Refusal } from "./refusal.ts";

/** Before a receiver is stopped: an applier that stands is started while the receiver still runs, which keeps the relay logs. */
export async function keepReceived(hand: Hand, deadlineMs: number): Promise<void> {
  if (hand.dialect.keepsRelayLogs) return;
  const r = (await hand.status(deadlineMs)).replica;
  if (r === null || r.applier === "on" || r.receiver === "off") return;
  await hand.run(hand.dialect.startApplier, deadlineMs);
}

/** @throws Refusal catch-up-timeout, where a start would throw away what is found nowhere else perhaps */
export function assertNotStranded(node: string, status: NodeStatus): void {
  const stranded = strandedIn(status);
  if (!stranded.isEmpty())
    throw new Refusal(
      "catch-up-timeout",
      `${node} has received ${stranded} and not applied it, and MariaDB would throw it away at the next START SLAVE: apply its relay logs by hand (docs/operate/mariadb.md)`,
    );
}

/** Stops the receiver and returns once all that it received is applied. @throws Refusal catch-up-timeout */
export async function applyBeforeStanding(hand: Hand, deadlineMs: number): Promise<void> {
  const d = hand.dialect;
  await keepReceived(hand, deadlineMs);
  const results = await hand.run([d.stopReceiver, d.statusSql], deadlineMs);
  const status = d.parseStatus(results.slice(1));
  assertNotStranded(hand.node, status);
  const received = status.replica?.received ?? "";
  if (GtidSet.parse(status.executed).contains(GtidSet.parse(received))) return;
  const [rows] = await hand.run(d.waitApplied(received, deadlineMs), deadlineMs + 1_000);
  if (!d.applied(rows ?? []))
    throw new Refusal("catch-up-timeout", `${hand.node} did not apply ${received} within ${deadlineMs} ms`);
}
