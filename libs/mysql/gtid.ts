/**
 * GTID sets as MySQL 8.3+ writes them: `uuid:1-5:7:tag:1-3,uuid:9`, or as MariaDB does: `0-1-100,0-2-105` (gtid-domains.ts).
 * Pure; values are immutable. https://dev.mysql.com/doc/refman/9.7/en/replication-gtids-concepts.html
 *
 * Numbers are bigint because the server counts to 2^63-2, and a set that cannot be read exactly would
 * let an errant transaction pass unseen.
 */
import { isDomainText, ofServer, parseDomains, printDomains, sharedUpTo } from "./gtid-domains.ts";

/** A text that is no GTID set. `offset` is where, in characters from the start. */
export class GtidSyntaxError extends Error {
  readonly code = "E_GTID_SYNTAX";
  readonly offset: number;

  constructor(text: string, offset: number, expected: string) {
    const found = JSON.stringify(text.slice(offset, offset + 40));
    super(`GTID set: expected ${expected} at character ${offset}, found ${found}.`);
    this.name = "GtidSyntaxError";
    this.offset = offset;
  }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const TAG = /^[a-z_][a-z0-9_]{0,31}$/i;
const INTERVAL = /^(\d{1,19})(?:\s*-\s*(\d{1,19}))?$/;
const UUID_LENGTH = 36;
const MAX = 2n ** 63n - 2n;
/** Of a cluster's nodes, what is executed and received, with room for a few clusters. */
const MOST_READ = 64;
/** A set with more holes than this is read anew: 64 of them must not matter. */
const MOST_KEPT_CHARACTERS = 16_384;

/** Boundaries in ascending order: even places open an interval, odd ones close it (exclusive). */
export type Bounds = readonly bigint[];

/** One pass over both lists: a number belongs to the result when `keep(in a, in b)`. */
function sweep(a: Bounds, b: Bounds, keep: (inA: boolean, inB: boolean) => boolean): bigint[] {
  const out: bigint[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const nextA = a[i];
    const nextB = b[j];
    const at = nextB === undefined || (nextA !== undefined && nextA <= nextB) ? nextA! : nextB;
    if (nextA === at) i++;
    if (nextB === at) j++;
    const inside = keep(i % 2 === 1, j % 2 === 1);
    if (inside !== (out.length % 2 === 1)) out.push(at);
  }
  return out;
}

/** Intervals in any order, overlapping or not, as `[start, end exclusive]` pairs in one flat list. */
function normalise(flat: bigint[]): bigint[] {
  const out: bigint[] = [];
  let ordered = true;
  for (let i = 0; i < flat.length && ordered; i += 2) {
    const start = flat[i]!;
    const end = flat[i + 1]!;
    const last = out[out.length - 1];
    if (last === undefined || start > last) out.push(start, end);
    else if (start >= out[out.length - 2]!) {
      if (end > last) out[out.length - 1] = end;
    } else ordered = false;
  }
  if (ordered) return out;
  const pairs: [bigint, bigint][] = [];
  for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i]!, flat[i + 1]!]);
  pairs.sort((x, y) => (x[0] < y[0] ? -1 : x[0] > y[0] ? 1 : 0));
  return normalise(pairs.flat());
}

export class GtidSet {
  static readonly empty = new GtidSet(new Map());

  /** Key `uuid` or `uuid:tag`, lower-case; of MariaDB `domain-server`. No key has empty bounds. */
  readonly #byKey: ReadonlyMap<string, Bounds>;
  /** MariaDB's positions, each of which stands for all that came before it; not so for what is left of a subtraction. */
  readonly #positions: boolean;

  private constructor(byKey: ReadonlyMap<string, Bounds>, positions = false) {
    this.#byKey = byKey;
    this.#positions = positions;
  }

  /** The sets read last: a decider compares the same few texts thousands of times between two transactions. */
  static readonly #read = new Map<string, GtidSet>();

  /**
   * Reads what the server prints, and what it accepts of people: blanks, line ends, upper case, empty
   * items, repeated UUIDs, intervals in any order. `5-3` is empty, as on the server.
   * @throws GtidSyntaxError
   */
  static parse(text: string): GtidSet {
    if (text === "") return GtidSet.empty;
    const known = GtidSet.#read.get(text);
    if (known !== undefined) return known;
    const set = isDomainText(text) ? GtidSet.#ofDomains(text) : GtidSet.#parse(text);
    if (GtidSet.#read.size >= MOST_READ) GtidSet.#read.clear();
    if (text.length <= MOST_KEPT_CHARACTERS) GtidSet.#read.set(text, set);
    return set;
  }

  static #parse(text: string): GtidSet {
    const flat = new Map<string, bigint[]>();
    let itemAt = 0;
    for (const item of text.split(",")) {
      if (item.trim() !== "") parseItem(text, item, itemAt, flat);
      itemAt += item.length + 1;
    }
    const byKey = new Map<string, Bounds>();
    for (const [key, intervals] of flat) if (intervals.length > 0) byKey.set(key, normalise(intervals));
    return new GtidSet(byKey);
  }

  static #ofDomains(text: string): GtidSet {
    const { byKey, positions, badAt } = parseDomains(text);
    if (badAt !== null) throw new GtidSyntaxError(text, badAt, "domain-server-sequence");
    return new GtidSet(byKey, positions);
  }

  union(other: GtidSet): GtidSet {
    return this.#combine(other, (a, b) => a || b, true);
  }

  /** What is in this set and not in the other. */
  subtract(other: GtidSet): GtidSet {
    const known = this.#positions && other.#positions ? other.#withHistoryOf(this) : other;
    return this.#combine(known, (a, b) => a && !b, false);
  }

  intersect(other: GtidSet): GtidSet {
    return this.#combine(other, (a, b) => a && b, true);
  }

  contains(other: GtidSet): boolean {
    return other.subtract(this).isEmpty();
  }

  equals(other: GtidSet): boolean {
    return this.toString() === other.toString();
  }

  /** The transactions that one server committed first, tagged ones included. */
  onlyFrom(serverUuid: string): GtidSet {
    const uuid = serverUuid.toLowerCase();
    return new GtidSet(
      new Map([...this.#byKey].filter(([key]) => key.startsWith(uuid) || ofServer(key, uuid))),
    );
  }

  isEmpty(): boolean {
    return this.#byKey.size === 0;
  }

  /** Each transaction's own GTID, `uuid[:tag]:number`. There may be very many: see `count`. */
  *gtids(): Generator<string> {
    for (const [key, bounds] of this.#byKey)
      for (let i = 0; i < bounds.length; i += 2)
        for (let n = bounds[i]!; n < bounds[i + 1]!; n++)
          yield `${key}${key.length < UUID_LENGTH ? "-" : ":"}${n}`;
  }

  /** How many transactions; exact up to 2^53. */
  count(): number {
    let n = 0n;
    for (const bounds of this.#byKey.values())
      for (let i = 0; i < bounds.length; i += 2) n += bounds[i + 1]! - bounds[i]!;
    return Number(n);
  }

  /** As MySQL prints it, without its line ends: UUIDs in order, each with its untagged intervals, then its tags. */
  toString(): string {
    const [first = ""] = this.#byKey.keys();
    if (first !== "" && first.length < UUID_LENGTH) return printDomains(this.#byKey);
    let out = "";
    let uuidNow = "";
    for (const key of [...this.#byKey.keys()].sort()) {
      const uuid = key.slice(0, 36);
      if (uuid !== uuidNow) {
        if (uuidNow !== "") out += ",";
        out += uuid;
        uuidNow = uuid;
      }
      out += key.slice(36);
      const bounds = this.#byKey.get(key)!;
      for (let i = 0; i < bounds.length; i += 2) {
        const start = bounds[i]!;
        const last = bounds[i + 1]! - 1n;
        out += start === last ? `:${start}` : `:${start}-${last}`;
      }
    }
    return out;
  }

  /** This set with all of the other's that came before the newest transaction that both hold. */
  #withHistoryOf(other: GtidSet): GtidSet {
    const byKey = new Map(this.#byKey);
    for (const [key, upTo] of sharedUpTo(this.#byKey, other.#byKey))
      byKey.set(
        key,
        sweep(byKey.get(key) ?? [], [1n, upTo + 1n], (a, b) => a || b),
      );
    return new GtidSet(byKey);
  }

  /** `whole`: the result of two sets of positions is one again. */
  #combine(other: GtidSet, keep: (inThis: boolean, inOther: boolean) => boolean, whole: boolean): GtidSet {
    if (other.#byKey.size === 0 && keep(true, false)) return this;
    const byKey = new Map<string, Bounds>();
    const none: Bounds = [];
    for (const [key, bounds] of this.#byKey) {
      const result = sweep(bounds, other.#byKey.get(key) ?? none, keep);
      if (result.length > 0) byKey.set(key, result);
    }
    if (keep(false, true))
      for (const [key, bounds] of other.#byKey) if (!this.#byKey.has(key)) byKey.set(key, bounds);
    const positions = (set: GtidSet) => set.#positions || set.#byKey.size === 0;
    return new GtidSet(byKey, whole && positions(this) && positions(other));
  }
}

/** One `uuid[:tag][:interval…]…` into `into`; a tag holds for the intervals after it. */
function parseItem(text: string, item: string, itemAt: number, into: Map<string, bigint[]>): void {
  const parts = item.split(":");
  const uuid = parts[0]!.trim().toLowerCase();
  if (!UUID.test(uuid)) throw new GtidSyntaxError(text, itemAt, "a UUID");
  let key = uuid;
  let tagNeedsInterval = false;
  let at = itemAt + parts[0]!.length + 1;
  for (const raw of parts.slice(1)) {
    const part = raw.trim();
    const match = INTERVAL.exec(part);
    if (match) {
      const start = BigInt(match[1]!);
      const end = match[2] === undefined ? start : BigInt(match[2]);
      if (start === 0n || start > MAX || end > MAX)
        throw new GtidSyntaxError(text, at, "a number from 1 to 2^63-2");
      const intervals = into.get(key) ?? [];
      into.set(key, intervals);
      if (end >= start) intervals.push(start, end + 1n);
      tagNeedsInterval = false;
    } else if (TAG.test(part) && !tagNeedsInterval) {
      key = `${uuid}:${part.toLowerCase()}`;
      tagNeedsInterval = true;
    } else {
      throw new GtidSyntaxError(text, at, tagNeedsInterval ? "an interval" : "an interval or a tag");
    }
    at += raw.length + 1;
  }
  if (parts.length === 1 || tagNeedsInterval) throw new GtidSyntaxError(text, at - 1, "`:` and an interval");
}
