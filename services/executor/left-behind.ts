/**
 * Relay logs that a standing applier has been put behind. A server that boots with relay_log_recovery=ON begins a new relay log and keeps
 * the old ones; booted once more with OFF, it counts what they hold as received, asks its source for it no more, and never applies it
 * (measured on 9.7.4). Following `baton check` and setting it to OFF does just that.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { unappliedIn } from "@baton/protocol";
import type { Hand } from "./hand.ts";

/**
 * Sets the applier back to the first relay log where logs before its own hold what is not executed: what is executed it skips. Its channel
 * goes by file and position from then on (`autoPosition` false), until it is pointed anew. True when that was done.
 */
export async function takeUpLeftBehind(hand: Hand, status: NodeStatus, deadlineMs: number): Promise<boolean> {
  const { relayLogs } = hand.dialect;
  const r = status.replica;
  if (relayLogs === null || r === null || r.applier === "on" || !r.autoPosition) return false;
  const unapplied = unappliedIn(status);
  if (unapplied.isEmpty()) return false;
  const [place, logs] = await hand.run(relayLogs.place, deadlineMs);
  const own = String(place?.[0]?.Relay_Log_File ?? "");
  const first = String(logs?.[0]?.Log_name ?? "");
  if (own === "" || first === "" || own === first) return false;
  const [head] = await hand.run(relayLogs.head(own), deadlineMs);
  const previous = head?.find((event) => event.Event_type === "Previous_gtids");
  const before = GtidSet.parse(String(previous?.Info ?? ""));
  // One that begins with nothing does not say what the logs before it hold.
  if (!before.isEmpty() && before.intersect(unapplied).isEmpty()) return false;
  await hand.run(relayLogs.applyFrom(first), deadlineMs);
  return true;
}

/** Once all of it is executed. The receiver stands; the applier runs on. */
export async function goByAutoPosition(hand: Hand, deadlineMs: number): Promise<void> {
  const { relayLogs, stopReplication, startApplier } = hand.dialect;
  if (relayLogs !== null)
    await hand.run([stopReplication, relayLogs.byAutoPosition, startApplier], deadlineMs);
}
