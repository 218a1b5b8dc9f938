/**
 * MariaDB's GTIDs, `domain-server-sequence`, as sets. Pure. https://mariadb.com/kb/en/gtid/
 *
 * A position such as `0-1-100,0-2-105` (gtid_binlog_state: the last of each server in each domain) is kept as "all of server 1
 * up to 100, all of server 2 up to 105". In gtid_strict_mode sequence numbers only grow within a domain's binlog, and a
 * replica logs a domain in its source's order: so two nodes that both hold one transaction hold the same before it. That is
 * what `sharedUpTo` rests on, and why a position that names the newest server only (gtid_slave_pos, Gtid_IO_Pos) still
 * stands for the older ones'.
 *
 * What such a set cannot say: which of a server's numbers are missing below its last one. A node that lost transactions
 * and wrote others under the same server_id and the same numbers looks clean (docs/operate/mariadb.md).
 */
import type { Bounds } from "./gtid.ts";

const ITEM = /^(\d{1,10})-(\d{1,10})-(\d{1,19})(?:\.\.(\d{1,19}))?$/;

/** Every MySQL set has a colon, no MariaDB one does. */
export function isDomainText(text: string): boolean {
  return !text.includes(":") && /^[\s,]*\d+-\d+-\d/.test(text);
}

/** `positions`: each item stands for all before it; not so when one names a range, `0-1-14..15`, as `printDomains` does. */
export function parseDomains(text: string): {
  byKey: Map<string, Bounds>;
  positions: boolean;
  badAt: number | null;
} {
  const byKey = new Map<string, Bounds>();
  let positions = true;
  let at = 0;
  for (const raw of text.split(",")) {
    const item = raw.trim();
    if (item !== "") {
      const match = ITEM.exec(item);
      if (match === null) return { byKey, positions, badAt: at };
      const [, domain, server, first = "0", last] = match;
      const key = `${Number(domain)}-${Number(server)}`;
      const to = BigInt(last ?? first);
      if (last !== undefined) positions = false;
      const from = last === undefined ? 1n : BigInt(first);
      const before = byKey.get(key);
      if (to >= from && (before === undefined || to >= (before.at(-1) ?? 0n)))
        byKey.set(key, [from, to + 1n]);
    }
    at += raw.length + 1;
  }
  return { byKey, positions, badAt: null };
}

/** As MariaDB prints a position, in order; what does not begin at 1 as `0-1-14..15`. */
export function printDomains(byKey: ReadonlyMap<string, Bounds>): string {
  const items: string[] = [];
  for (const [key, bounds] of [...byKey].sort(([a], [b]) => inOrder(a, b))) {
    for (let i = 0; i < bounds.length; i += 2) {
      const first = bounds[i]!;
      const last = bounds[i + 1]! - 1n;
      items.push(first === 1n ? `${key}-${last}` : `${key}-${first}..${last}`);
    }
  }
  return items.join(",");
}

function inOrder(a: string, b: string): number {
  const [d1 = 0, s1 = 0] = a.split("-").map(Number);
  const [d2 = 0, s2 = 0] = b.split("-").map(Number);
  return d1 - d2 || s1 - s2;
}

/**
 * For each key of `wanted`: up to which number it came before the newest transaction of its domain that both sets hold.
 * Where they diverged after that, the server id tells whose a number is.
 */
export function sharedUpTo(
  known: ReadonlyMap<string, Bounds>,
  wanted: ReadonlyMap<string, Bounds>,
): Map<string, bigint> {
  const newest = new Map<string, bigint>();
  for (const [key, bounds] of wanted) {
    const both = min(last(bounds), last(known.get(key) ?? []));
    const domain = domainOf(key);
    if (both > (newest.get(domain) ?? 0n)) newest.set(domain, both);
  }
  const out = new Map<string, bigint>();
  for (const key of wanted.keys()) {
    const upTo = newest.get(domainOf(key)) ?? 0n;
    if (upTo > 0n) out.set(key, upTo);
  }
  return out;
}

/** MariaDB's servers have no uuid that their replicas know: the server_id is all that names one. */
export function serverName(serverId: number): string {
  return `server-id-${serverId}`;
}

export function ofServer(key: string, server: string): boolean {
  return server.startsWith("server-id-") && key.endsWith(server.slice("server-id".length));
}

/** Per domain the highest number, whoever wrote it: what MASTER_GTID_WAIT takes (it refuses a domain named twice). */
export function waitable(position: string): string {
  const newest = new Map<string, { key: string; to: bigint }>();
  for (const [key, bounds] of parseDomains(position).byKey) {
    const to = last(bounds);
    if (to > (newest.get(domainOf(key))?.to ?? 0n)) newest.set(domainOf(key), { key, to });
  }
  return [...newest.values()].map(({ key, to }) => `${key}-${to}`).join(",");
}

function domainOf(key: string): string {
  return key.slice(0, key.indexOf("-"));
}

function last(bounds: Bounds): bigint {
  return (bounds.at(-1) ?? 1n) - 1n;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
