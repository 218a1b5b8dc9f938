/**
 * One cluster as this prober sees it: its nodes' schedules spread over the interval, the suspicion that
 * they share, and who asked to look now. No I/O and no clock.
 */
import type { DeclaredCluster, NodeStatus, Sample } from "@baton/contracts";
import { type Fault, type LinkName, type NodeEffect, NodeWatch, type Settings } from "./node-watch.ts";
import { Suspicion } from "./suspicion.ts";

export type Input =
  | { type: "declared"; declared: DeclaredCluster | null }
  | { type: "wake"; plannedAt: number }
  | { type: "look-now"; nodes: readonly string[]; ask: number | null }
  | { type: "opened"; node: string; link: LinkName; fault: Fault | null; tookMs: number }
  | { type: "closed"; node: string; link: LinkName; fault: Fault }
  | { type: "ponged"; node: string; fault: Fault | null; tookMs: number }
  | { type: "answered"; node: string; answer: NodeStatus | Fault };

export type Effect =
  | (Exclude<NodeEffect, { type: "publish" } | { type: "suspect" }> & { node: string })
  /** `incident`: of a situation that is news and gets a trace of its own. */
  | { type: "publish"; node: string; sample: Sample; incident: boolean }
  | { type: "add"; node: string; host: string; port: number }
  | { type: "remove"; node: string }
  | { type: "reply"; ask: number; samples: Sample[] };

/** A timer that comes so late means that this process slept: then no silence is the node's fault. */
const SLEPT_MS = 150;
/** An answer to "look now" waits no longer than this for the slowest node. */
const REPLY_MS = 500;
/** A sample younger than this is an answer to "look now": many askers cause one look. */
const NOW_MS = 10;
/** Askers that wait at a time; whoever comes on top gets what is known. */
const MAX_ASKS = 1_000;

interface Ask {
  ask: number;
  waiting: Set<string>;
  samples: Sample[];
  until: number;
}

export class ClusterWatch {
  readonly #cluster: string;
  readonly #s: Settings;
  readonly #nodes = new Map<string, NodeWatch>();
  readonly #addresses = new Map<string, string>();
  readonly #suspicion = new Suspicion();
  readonly #publishedAt = new Map<string, number>();
  #asks: Ask[] = [];
  #hot = false;

  constructor(cluster: string, s: Settings) {
    this.#cluster = cluster;
    this.#s = s;
  }

  get hot(): boolean {
    return this.#hot;
  }

  /** When the next `wake` is due; infinity when never. */
  wakeAt(now: number): number {
    const nodes = [...this.#nodes.values()].map((n) => n.wakeAt(now));
    return Math.min(Number.POSITIVE_INFINITY, ...nodes, ...this.#asks.map((a) => a.until));
  }

  on(input: Input, now: number): Effect[] {
    const out: Effect[] = [];
    switch (input.type) {
      case "declared":
        this.#declare(input.declared, now, out);
        break;
      case "wake":
        this.#wake(input.plannedAt, now, out);
        break;
      case "look-now":
        this.#lookNow(input.nodes, input.ask, now, out);
        break;
      default: {
        const node = this.#nodes.get(input.node);
        if (node) this.#carry(node, this.#tell(node, input, now), now, out);
      }
    }
    this.#setPace(now);
    return out;
  }

  #tell(node: NodeWatch, input: Input, now: number): NodeEffect[] {
    switch (input.type) {
      case "opened":
        return node.opened(input.link, input.fault, input.tookMs, now);
      case "closed":
        return node.closed(input.link, input.fault, now);
      case "ponged":
        return node.ponged(input.fault, input.tookMs, now);
      case "answered":
        return node.answered(input.answer, now);
      default:
        return [];
    }
  }

  #declare(declared: DeclaredCluster | null, now: number, out: Effect[]): void {
    const names = Object.keys(declared?.nodes ?? {});
    for (const [name, address] of this.#addresses) {
      const d = declared?.nodes[name];
      if (d && address === `${d.host}:${d.port}`) continue;
      this.#nodes.delete(name);
      this.#addresses.delete(name);
      this.#publishedAt.delete(name);
      this.#suspicion.forget(name);
      for (const ask of this.#asks) ask.waiting.delete(name);
      out.push({ type: "remove", node: name });
    }
    for (const [i, name] of names.entries()) {
      const d = declared?.nodes[name];
      if (!d || this.#nodes.has(name)) continue;
      const firstLookAt = now + (this.#s.suspectMs * i) / names.length;
      const firstTickAt = now + (this.#interval() * (i + 1)) / names.length;
      this.#nodes.set(
        name,
        new NodeWatch(this.#cluster, name, this.#s, () => this.#delaysMs(), firstLookAt, firstTickAt),
      );
      this.#addresses.set(name, `${d.host}:${d.port}`);
      out.push({ type: "add", node: name, host: d.host, port: d.port });
    }
  }

  #wake(plannedAt: number, now: number, out: Effect[]): void {
    if (now - plannedAt > SLEPT_MS)
      for (const node of this.#nodes.values()) node.grant(now + this.#s.floorMs);
    for (const node of this.#nodes.values()) this.#carry(node, node.wake(now, this.#interval()), now, out);
    for (const ask of this.#asks.filter((a) => now >= a.until)) this.#reply(ask, out);
  }

  #lookNow(names: readonly string[], ask: number | null, now: number, out: Effect[]): void {
    this.#suspicion.asked(now);
    const nodes = [...this.#nodes.values()].filter((n) => names.length === 0 || names.includes(n.name));
    const isNow = (n: NodeWatch) =>
      now - (this.#publishedAt.get(n.name) ?? Number.NEGATIVE_INFINITY) < NOW_MS;
    const stale = nodes.filter((n) => !isNow(n));
    if (this.#asks.length >= MAX_ASKS && ask !== null) {
      out.push({ type: "reply", ask, samples: nodes.flatMap((n) => n.last ?? []) });
    } else if (ask !== null) {
      const samples = nodes.filter(isNow).map((n) => n.last as Sample);
      const waiting = new Set(stale.map((n) => n.name));
      this.#asks.push({ ask, waiting, samples, until: now + REPLY_MS });
    }
    for (const node of stale) this.#carry(node, node.look("look-now", now), now, out);
    for (const each of this.#asks.filter((a) => a.waiting.size === 0)) this.#reply(each, out);
  }

  #carry(node: NodeWatch, effects: readonly NodeEffect[], now: number, out: Effect[]): void {
    for (const effect of effects) {
      if (effect.type === "publish") this.#publish(effect.sample, now, out);
      else if (effect.type === "suspect") {
        for (const other of this.#nodes.values())
          if (other !== node) this.#carry(other, other.look("confirm", now), now, out);
      } else out.push({ ...effect, node: node.name });
    }
  }

  #publish(sample: Sample, now: number, out: Effect[]): void {
    this.#suspicion.take(sample, now);
    this.#publishedAt.set(sample.node, now);
    out.push({ type: "publish", node: sample.node, sample, incident: this.#suspicion.hot(now) });
    if (sample.outcome === "closed") return;
    for (const ask of this.#asks) if (ask.waiting.delete(sample.node)) ask.samples.push(sample);
    for (const ask of this.#asks.filter((a) => a.waiting.size === 0)) this.#reply(ask, out);
  }

  #reply(ask: Ask, out: Effect[]): void {
    this.#asks = this.#asks.filter((a) => a !== ask);
    out.push({ type: "reply", ask: ask.ask, samples: ask.samples });
  }

  /** Turning hot, every node's next look comes soon, spread over the short interval. */
  #setPace(now: number): void {
    const hot = this.#suspicion.hot(now);
    if (hot && !this.#hot) {
      let i = 0;
      for (const node of this.#nodes.values())
        node.hasten(now + (this.#s.suspectMs * ++i) / this.#nodes.size);
    }
    this.#hot = hot;
  }

  #interval(): number {
    return this.#hot ? this.#s.suspectMs : this.#s.calmMs;
  }

  #delaysMs(): number[] {
    return [...this.#nodes.values()].flatMap((n) => n.status?.replica?.delayMs ?? []);
  }
}
