/**
 * How often a NATS server that is away is dialled. nats.js counts the pause since the last dial by the wall clock: where that is set back by an hour, it
 * would not dial again for an hour. Here the pause is counted by the monotonic clock, through what nats.js lets us decide.
 */
import type { ConnectionOptions } from "@nats-io/transport-node";

const PAUSE_MS = 100;
/** So that services that lost the same server do not come back in step. */
const JITTER_MS = 100;

export function dialPace(
  nowMs: () => number = () => performance.now(),
): Required<Pick<ConnectionOptions, "reconnectDelayHandler" | "reconnectToServer">> {
  const dialledMs = new Map<string, number>();
  return {
    // Its own pause is always over.
    reconnectDelayHandler: () => Number.NEGATIVE_INFINITY,
    reconnectToServer: ([server]) => {
      if (server === undefined) return null;
      const last = dialledMs.get(server.listen) ?? Number.NEGATIVE_INFINITY;
      const delay = Math.max(0, last + PAUSE_MS + Math.random() * JITTER_MS - nowMs());
      dialledMs.set(server.listen, nowMs() + delay);
      return { server, delay };
    },
  };
}
