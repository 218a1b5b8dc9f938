/**
 * When nothing more can be acknowledged by the old primary.
 *
 * A write is acknowledged once k of the N ackers have it. With N−k+1 of them stopped, fewer than k are left,
 * so no further write can return OK; and every set of k that ever acknowledged one shares a member with the
 * stopped ones, so what they hold contains everything acknowledged (SAFETY.md, Failover 1).
 */

/** Ackers that must be stopped: N − k + 1. */
export function ackersToStop(ackers: number, acks: number): number {
  return ackers - acks + 1;
}

export interface FenceFacts {
  /** Declared replicas that may acknowledge: all but the primary and the quarantined. */
  ackers: number;
  /** k, `policy.acks`. */
  acks: number;
  /** Servers, each counted once, whose receiver is stopped by this operation and that can vouch for what they acknowledged. */
  stopped: number;
  /** The old primary itself has confirmed that it is read-only and has no waiter left. */
  primaryFenced: boolean;
}

/**
 * One server behind several addresses (a proxy, a second name) has one word. Of names with one server_uuid the first counts; the
 * old primary under another name never does. Keys: the names that do not count; values: under which name the server does.
 */
export function echoesOf(
  servers: Iterable<readonly [node: string, serverUuid: string]>,
  primary: string,
  primaryUuid: string,
): Map<string, string> {
  const counted = new Map([[primaryUuid, primary]]);
  const echoes = new Map<string, string>();
  for (const [node, serverUuid] of servers) {
    if (node === primary) continue;
    const as = counted.get(serverUuid);
    if (as === undefined) counted.set(serverUuid, node);
    else echoes.set(node, as);
  }
  return echoes;
}

/** Why a name does not count. */
export function sameServer(as: string): string {
  return `is the same server as ${as}, at another address: it counts once`;
}

export function isFenced(facts: FenceFacts): boolean {
  return facts.primaryFenced || facts.stopped >= ackersToStop(facts.ackers, facts.acks);
}
