/** The nodes as the picture shows them: what the probers last saw, and what the demo did to them. Pure. */
import type { Event, Sample } from "@baton/contracts";
import { duration } from "../view/amounts.ts";

export type Mood = "good" | "waiting" | "bad";

export interface NodeLine {
  node: string;
  address: string;
  role: string;
  state: string;
  mood: Mood;
}

interface Seen {
  address: string;
  sample: Sample | null;
  /** Done by the demo itself, and not yet undone. */
  fate: "killed" | "hung" | "starting" | null;
  quarantined: boolean;
}

export class Cast {
  readonly #nodes = new Map<string, Seen>();
  #primary: string | null;

  constructor(nodes: Record<string, { host: string; port: number }>, primary: string | null) {
    for (const [name, { host, port }] of Object.entries(nodes)) {
      this.#nodes.set(name, { address: `${host}:${port}`, sample: null, fate: null, quarantined: false });
    }
    this.#primary = primary;
  }

  get primary(): string | null {
    return this.#primary;
  }

  sample(s: Sample): void {
    const seen = this.#nodes.get(s.node);
    if (!seen) return;
    seen.sample = s;
    if (seen.fate === "starting" && s.outcome === "ok") seen.fate = null;
  }

  event(e: Event): void {
    if (e.type === "primary-changed" || e.type === "cluster-adopted")
      this.#primary = e.primary?.node ?? this.#primary;
    const seen = e.node === null ? undefined : this.#nodes.get(e.node);
    if (!seen) return;
    if (e.type === "node-quarantined") seen.quarantined = true;
    if (e.type === "node-rejoined") seen.quarantined = false;
  }

  fate(node: string, fate: Seen["fate"]): void {
    const seen = this.#nodes.get(node);
    if (seen) seen.fate = fate;
  }

  lines(): NodeLine[] {
    return [...this.#nodes].map(([node, seen]) => ({
      node,
      address: seen.address,
      role: node === this.#primary ? "primary" : "replica",
      ...this.#state(node, seen),
    }));
  }

  #state(node: string, { fate, sample, quarantined }: Seen): { state: string; mood: Mood } {
    if (fate === "killed") return { state: "killed", mood: "bad" };
    if (fate === "hung") return { state: "hangs (SIGSTOP)", mood: "bad" };
    if (fate === "starting") return { state: "is starting", mood: "waiting" };
    if (quarantined) return { state: "quarantined: it has transactions of its own", mood: "bad" };
    if (!sample) return { state: "not seen yet", mood: "waiting" };
    if (sample.outcome !== "ok") return { state: sample.outcome, mood: "bad" };
    const { status } = sample;
    if (!status) return { state: "answers", mood: "good" };
    if (!status.readOnly) {
      if (node !== this.#primary) return { state: "writable, and not the primary", mood: "bad" };
      const ackers = status.semiSync?.clients ?? 0;
      return { state: `writable, ${ackers} ${ackers === 1 ? "acker" : "ackers"} attached`, mood: "good" };
    }
    if (!status.replica) return { state: "read-only, follows nobody", mood: "waiting" };
    const { receiver, applier, delayMs, sourceHost, sourcePort } = status.replica;
    const source = this.#nameOf(`${sourceHost}:${sourcePort}`);
    if (receiver !== "on") {
      const word = receiver === "off" ? "its receiver is stopped" : `looks for ${source}`;
      return { state: word, mood: "waiting" };
    }
    if (applier !== "on") return { state: `receives from ${source}, applies nothing`, mood: "bad" };
    const lag = delayMs === null || delayMs < 1 ? "in step" : `${duration(delayMs)} behind`;
    return { state: `follows ${source}, ${lag}`, mood: "good" };
  }

  #nameOf(address: string): string {
    for (const [name, seen] of this.#nodes) if (seen.address === address) return name;
    return address;
  }
}
