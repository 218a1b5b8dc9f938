/** Hosts and the way between them: delay, loss, and cuts in one direction or both. */
import type { Random } from "./random.ts";
import type { Actor, Timeline } from "./timeline.ts";

export interface NetworkOptions {
  /** The fastest one-way delay. */
  delayMs: number;
  /** How much slower a packet may be. */
  jitterMs: number;
  /** How often a packet is lost: a datagram for good, on a connection until it is sent again. */
  loss: number;
}

/** TCP sends again after so long, and ever more seldom. */
const RETRANSMIT_MS = 200;

export class Network {
  readonly timeline: Timeline;
  readonly random: Random;
  readonly #o: NetworkOptions;
  /** `from>to` → since when */
  readonly #cuts = new Map<string, number>();
  readonly #held = new Map<string, Set<Wire>>();
  /** Called at each cut. */
  onCut: (from: string, to: string) => void = () => undefined;

  constructor(timeline: Timeline, random: Random, o: NetworkOptions) {
    this.timeline = timeline;
    this.random = random;
    this.#o = o;
  }

  delayMs(): number {
    const { delayMs, jitterMs, loss } = this.#o;
    const slow = loss > 0 && this.random.chance(loss) ? RETRANSMIT_MS * this.random.between(1, 3) : 0;
    return delayMs + this.random.next() * jitterMs + slow;
  }

  lost(): boolean {
    return this.#o.loss > 0 && this.random.chance(this.#o.loss);
  }

  /** Since when nothing gets from one to the other; null while it does. */
  cutSince(from: string, to: string): number | null {
    return this.#cuts.size === 0 ? null : (this.#cuts.get(`${from}>${to}`) ?? null);
  }

  /** Both ways are open. */
  open(a: string, b: string): boolean {
    return this.cutSince(a, b) === null && this.cutSince(b, a) === null;
  }

  cut(from: string, to: string): void {
    if (from === to || this.#cuts.has(`${from}>${to}`)) return;
    this.#cuts.set(`${from}>${to}`, this.timeline.nowMs);
    this.onCut(from, to);
  }

  heal(from: string, to: string): void {
    const key = `${from}>${to}`;
    if (!this.#cuts.delete(key)) return;
    for (const wire of this.#held.get(key) ?? []) wire.flush();
    this.#held.delete(key);
  }

  healAll(): void {
    for (const key of [...this.#cuts.keys()]) {
      const [from = "", to = ""] = key.split(">");
      this.heal(from, to);
    }
  }

  hold(wire: Wire): void {
    const key = `${wire.from}>${wire.to}`;
    const held = this.#held.get(key) ?? new Set();
    held.add(wire);
    this.#held.set(key, held);
  }

  /** A datagram: may be lost, overtaken, and with a little loss also doubled. */
  datagram(from: string, to: string, actor: Actor | null, run: () => void): void {
    if (this.cutSince(from, to) !== null || this.lost()) return;
    this.timeline.after(this.delayMs(), actor, run);
    if (this.#o.loss > 0 && this.random.chance(this.#o.loss)) this.timeline.after(this.delayMs(), actor, run);
  }
}

/** One direction of a connection: in order, and what cannot get through waits until it can. */
export class Wire {
  readonly from: string;
  readonly to: string;
  readonly #network: Network;
  readonly #held: { actor: Actor | null; run: () => void }[] = [];
  #lastMs = 0;

  constructor(network: Network, from: string, to: string) {
    this.#network = network;
    this.from = from;
    this.to = to;
  }

  send(actor: Actor | null, run: () => void, extraMs = 0): void {
    if (this.#held.length > 0 || this.#network.cutSince(this.from, this.to) !== null) {
      if (this.#held.length === 0) this.#network.hold(this);
      this.#held.push({ actor, run });
      return;
    }
    this.#deliver(actor, run, this.#network.delayMs() + extraMs);
  }

  flush(): void {
    const delayMs = this.#network.random.between(0, 2 * RETRANSMIT_MS);
    for (const { actor, run } of this.#held.splice(0)) this.#deliver(actor, run, delayMs);
  }

  #deliver(actor: Actor | null, run: () => void, delayMs: number): void {
    const { timeline } = this.#network;
    this.#lastMs = Math.max(this.#lastMs, timeline.nowMs + delayMs);
    timeline.at(this.#lastMs, actor, run);
  }
}
