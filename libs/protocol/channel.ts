/**
 * May a node's channel be pointed at a source now, and how? A relay log may hold the only copy of an acknowledged write, and the server
 * deletes it with the channel's change or reset when both threads stand, whatever is changed (measured on 9.7.4). Pure: the one place where
 * that is judged; the executor's channel.ts is the one place where it is done.
 */
import type { NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";

/** What a channel says of its source; two that are equal need no change, whatever the password. */
export interface ChannelSettings {
  host: string;
  port: number;
  user: string;
  tls: boolean;
  autoPosition: boolean;
  heartbeatS: number;
  retryS: number;
  retries: number;
}

export type ChannelStep =
  /** It points there already: what it has received stays. */
  | { do: "start" }
  /** Only the receiver is pointed elsewhere while the applier runs: what it has received stays. */
  | { do: "redirect" }
  /** Both threads stand for it, and there is nothing to lose. */
  | { do: "change" }
  /** Its applier is to run first, or to come to the end of what was received. */
  | { do: "apply"; unapplied: GtidSet };

/** Received and not executed, of one whose receiver stands: nothing is added to it. */
export function unappliedIn(status: Pick<NodeStatus, "executed" | "replica">): GtidSet {
  const { replica } = status;
  if (replica === null) return GtidSet.empty;
  return GtidSet.parse(replica.received).subtract(GtidSet.parse(status.executed));
}

/** The next step for a MySQL server whose receiver stands. `now`: what its channel says, where that was asked. */
export function channelStep(
  status: Pick<NodeStatus, "executed" | "replica">,
  now: ChannelSettings | null,
  wanted: ChannelSettings,
): ChannelStep {
  const r = status.replica;
  if (r === null) return { do: "change" };
  if (now !== null && sameSettings(now, wanted)) return { do: "start" };
  const runs = r.autoPosition && r.applier === "on" && r.applierErrno === 0;
  if (runs) return { do: "redirect" };
  const unapplied = unappliedIn(status);
  return unapplied.isEmpty() ? { do: "change" } : { do: "apply", unapplied };
}

/** Nothing is left to be set. A channel that is encrypted although nobody asks for it stays so. */
export function sameSettings(now: ChannelSettings, wanted: ChannelSettings): boolean {
  return (
    now.host === wanted.host &&
    now.port === wanted.port &&
    now.user === wanted.user &&
    (now.tls || !wanted.tls) &&
    now.autoPosition === wanted.autoPosition &&
    now.heartbeatS === wanted.heartbeatS &&
    now.retryS === wanted.retryS &&
    now.retries === wanted.retries
  );
}
