/**
 * All of one prober's eyes on one cluster: the pace (calm or suspect), the stagger, and the rule that trouble with one
 * node makes every other be looked at in the same moment, so that the decider need not ask.
 */
import type { DeclaredCluster, DeclaredNode, MysqlAccess, Sample, SampleCause } from "@baton/contracts";
import { isSuspect } from "./condition.ts";
import { Eye } from "./eye.ts";

export interface LookoutOptions {
  cluster: string;
  region: string;
  prober: string;
  access: MysqlAccess;
  calmMs: number;
  suspectMs: number;
  floorMs: number;
  connectTimeoutMs: number;
  publish(sample: Sample, traceparent: string | null): void;
  newTrace(): string;
  note(text: string, sample: Sample): void;
}

/** Trouble that has not changed for so long is no news: the pace is calm again. */
const SETTLED_MS = 10_000;
/** Somebody who asks to look now will want to know more in the next seconds. */
const ASKED_MS = 5_000;

interface Watched {
  declared: DeclaredNode;
  eye: Eye;
  timer: NodeJS.Timeout | null;
  /** The incident that this node's trouble belongs to. */
  sample: Sample | null;
}

export class Lookout {
  readonly #o: LookoutOptions;
  readonly #nodes = new Map<string, Watched>();
  #suspectUntilMs = 0;
  #trace: string | null = null;

  constructor(o: LookoutOptions) {
    this.#o = o;
  }

  /** Follows the declaration: new and moved nodes get a new eye, removed ones are let go. */
  declare(declared: DeclaredCluster): void {
    for (const [node, watched] of this.#nodes) {
      const now = declared.nodes[node];
      if (now !== undefined && now.host === watched.declared.host && now.port === watched.declared.port)
        continue;
      this.#let(node, watched);
    }
    const names = Object.keys(declared.nodes);
    for (const [i, node] of names.entries()) {
      if (this.#nodes.has(node)) continue;
      const watched: Watched = {
        declared: declared.nodes[node] as DeclaredNode,
        eye: this.#eyeOn(node, declared.nodes[node] as DeclaredNode),
        timer: null,
        sample: null,
      };
      this.#nodes.set(node, watched);
      void watched.eye.look("tick");
      // Nodes take turns within the interval: some node is looked at every calmMs / n.
      this.#next(watched, (this.#o.calmMs * (i + 1)) / names.length);
    }
  }

  /** Looks at the named nodes (all, when none is named) at once and gives their samples. */
  async lookNow(nodes: readonly string[]): Promise<Sample[]> {
    this.#suspectUntilMs = Math.max(this.#suspectUntilMs, performance.now() + ASKED_MS);
    const asked = [...this.#nodes].filter(([node]) => nodes.length === 0 || nodes.includes(node));
    await Promise.all(asked.map(([, watched]) => watched.eye.look("look-now")));
    return asked.flatMap(([, watched]) => (watched.eye.last === null ? [] : [watched.eye.last]));
  }

  end(): void {
    for (const [node, watched] of this.#nodes) this.#let(node, watched);
  }

  #let(node: string, watched: Watched): void {
    this.#nodes.delete(node);
    if (watched.timer !== null) clearTimeout(watched.timer);
    watched.eye.end();
  }

  #eyeOn(node: string, declared: DeclaredNode): Eye {
    const { cluster, region, prober, access, suspectMs, floorMs, connectTimeoutMs } = this.#o;
    return new Eye({
      where: { cluster, node, region, prober },
      target: { host: declared.host, port: declared.port },
      access,
      suspectMs,
      floorMs,
      connectTimeoutMs,
      delaysMs: () =>
        [...this.#nodes.values()].flatMap((w) =>
          w.sample?.status?.replica?.delayMs == null ? [] : [w.sample.status.replica.delayMs],
        ),
      onSample: (sample) => this.#onSample(node, sample),
      onNext: (inMs) => {
        const watched = this.#nodes.get(node);
        if (watched !== undefined) this.#next(watched, inMs);
      },
    });
  }

  #onSample(node: string, sample: Sample): void {
    const watched = this.#nodes.get(node);
    if (watched === undefined) return;
    const before = watched.sample;
    watched.sample = sample;
    const suspect = isSuspect(sample);
    const news = suspect && (before === null || before.outcome !== sample.outcome || !isSuspect(before));
    if (news) {
      this.#suspectUntilMs = performance.now() + SETTLED_MS;
      this.#trace ??= this.#o.newTrace();
    }
    this.#o.publish(sample, suspect || this.#troubled() ? this.#trace : null);
    if (!this.#troubled()) this.#trace = null;
    if (before?.outcome !== sample.outcome && (before !== null || suspect))
      this.#o.note(describe(sample), sample);
    if (news) this.#lookAround(node, sample.outcome === "closed" ? "closed" : "confirm");
    if (sample.outcome === "ok") this.#next(watched, this.#paceMs());
  }

  /** Trouble with one node: the others' words are wanted in the same moment. */
  #lookAround(node: string, cause: SampleCause): void {
    for (const [other, watched] of this.#nodes) if (other !== node) void watched.eye.look(cause);
  }

  #troubled(): boolean {
    return [...this.#nodes.values()].some((w) => w.sample !== null && isSuspect(w.sample));
  }

  #paceMs(): number {
    const suspect = performance.now() < this.#suspectUntilMs;
    return suspect ? this.#o.suspectMs : this.#o.calmMs;
  }

  #next(watched: Watched, inMs: number): void {
    if (watched.timer !== null) clearTimeout(watched.timer);
    watched.timer = setTimeout(() => void watched.eye.look("tick"), inMs);
  }
}

function describe(sample: Sample): string {
  const where = `${sample.cluster}.${sample.node}`;
  if (sample.outcome === "ok") return `${where} answers`;
  if (sample.outcome === "closed") return `${where}: the held connection closed (${sample.error})`;
  return `${where}: ${sample.outcome}: ${sample.error}`;
}
