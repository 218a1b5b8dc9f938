/**
 * What happened in one takeover, from what was heard on the bus, each with the time it was heard at. Pure: times
 * come in as arguments and are monotonic milliseconds of one clock.
 */
import type { Diagnosis, Event, Intent, Sample, Step } from "@baton/contracts";
import { duration, plural } from "../view/amounts.ts";

export type Fault = "kill" | "hang";

export interface Moment {
  /** Since the fault. */
  atMs: number;
  /** Who or what: `fault`, `prober`, `diagnosis`, `intent`, a step's name, `event`, `client`. */
  what: string;
  text: string;
  /** Where the step itself says how long it took. */
  tookMs: number | null;
  bad: boolean;
}

export interface Figures {
  detectMs: number | null;
  decideMs: number | null;
  executeMs: number | null;
}

const STEPS_OF_OPENING = new Set(["open"]);

export class Timeline {
  readonly moments: Moment[] = [];
  readonly node: string;
  readonly faultMs: number;
  readonly #outcomes = new Set<string>();
  #diagnosedMs: number | null = null;
  #intendedMs: number | null = null;
  #openedMs: number | null = null;
  /** The operation that replaces the node. */
  #operation: string | null = null;
  #epoch: number | null = null;
  #changedTo: string | null = null;
  #ended: Event["outcome"] = null;

  constructor(fault: Fault, node: string, faultMs: number) {
    this.node = node;
    this.faultMs = faultMs;
    this.#add(faultMs, "fault", fault === "kill" ? `kill -9 of ${node}` : `SIGSTOP of ${node}`, {
      bad: true,
    });
  }

  get operation(): string | null {
    return this.#operation;
  }
  get epoch(): number | null {
    return this.#epoch;
  }
  get newPrimary(): string | null {
    return this.#changedTo;
  }
  get outcome(): Event["outcome"] {
    return this.#ended;
  }

  figures(): Figures {
    const between = (from: number | null, to: number | null) =>
      from === null || to === null ? null : Math.max(0, to - from);
    return {
      detectMs: between(this.faultMs, this.#diagnosedMs),
      decideMs: between(this.#diagnosedMs, this.#intendedMs),
      executeMs: between(this.#intendedMs, this.#openedMs),
    };
  }

  sample(s: Sample, atMs: number): void {
    if (s.node !== this.node || s.outcome === "ok" || this.#intendedMs !== null) return;
    const key = `${s.prober} ${s.outcome}`;
    if (this.#outcomes.has(key) || this.#outcomes.size >= 6) return;
    this.#outcomes.add(key);
    const what = {
      closed: "its connection closes",
      refused: "connection refused",
      "timeout-query": `no answer for ${duration(s.silentMs)}`,
      "timeout-connect": `no connection in ${duration(s.rttMs)}`,
    }[s.outcome as string];
    this.#add(atMs, "prober", `${what ?? s.outcome}, seen by ${s.prober}`);
  }

  diagnosis(d: Diagnosis, atMs: number): void {
    const dead = d.code.startsWith("primary-dead");
    if (this.#intendedMs !== null || d.code === "healthy") return;
    if (dead) this.#diagnosedMs ??= atMs;
    this.#add(atMs, "diagnosis", `${d.code}: ${witnesses(d)}`, { bad: d.severity === "critical" });
  }

  intent(i: Intent, atMs: number): void {
    if (i.kind !== "failover") return;
    if (this.#operation === null) {
      this.#operation = i.operation;
      this.#intendedMs = atMs;
    }
    this.#add(atMs, "intent", `fail over ${i.node}, from epoch ${i.epoch}`);
  }

  step(s: Step, atMs: number): void {
    if (s.kind !== "failover" || (this.#operation !== null && s.operation !== this.#operation)) return;
    if (STEPS_OF_OPENING.has(s.step) && s.outcome === "done") this.#openedMs ??= atMs;
    const done = s.outcome === "done";
    const text = done ? s.summary : `${s.code ?? s.outcome}: ${s.summary}`;
    this.#add(atMs, s.step, text, { tookMs: s.tookMs, bad: !done });
  }

  event(e: Event, atMs: number): void {
    if (e.type === "primary-changed") {
      this.#openedMs ??= atMs;
      this.#epoch = e.epoch;
      this.#changedTo = e.primary?.node ?? null;
      this.#add(
        atMs,
        "event",
        `primary-changed: ${e.previous ?? "?"} → ${e.primary?.node ?? "?"}, epoch ${e.epoch}`,
      );
    }
    if (e.type === "operation-ended" && e.operation === this.#operation) {
      this.#ended = e.outcome;
      if (e.outcome === "completed") return;
      this.#add(atMs, "event", `operation ${e.outcome}${e.code ? ` (${e.code})` : ""}: ${e.summary}`, {
        bad: true,
      });
      // A refused or rolled-back one is tried again: the next intent is the one that counts.
      this.#operation = null;
    }
  }

  /** The first write that was sent after the fault and acknowledged. */
  firstWrite(atMs: number, node: string | null): void {
    this.#add(atMs, "client", `first write acknowledged${node ? ` by ${node}` : ""}`);
  }

  #add(atMs: number, what: string, text: string, o: { tookMs?: number; bad?: boolean } = {}): void {
    const moment: Moment = {
      atMs: atMs - this.faultMs,
      what,
      text,
      tookMs: o.tookMs ?? null,
      bad: o.bad ?? false,
    };
    // News may come a little out of order: a client's acknowledgement before the step that allowed it.
    let place = this.moments.length;
    while (place > 0 && this.moments[place - 1]!.atMs > moment.atMs) place -= 1;
    this.moments.splice(place, 0, moment);
  }
}

/** `1 of 1 prober finds it dead, 2 of 2 replicas no longer hear it` */
function witnesses(d: Diagnosis): string {
  if (d.probers.length === 0) return d.summary;
  const dead = d.probers.filter((v) => v.finds === "dead").length;
  const deaf = d.replicas.filter((v) => v.finds === "lost" || v.finds === "silent").length;
  return [
    `${dead} of ${plural(d.probers.length, "prober")} ${dead === 1 ? "finds" : "find"} it dead`,
    `${deaf} of ${plural(d.replicas.length, "replica")} no longer ${deaf === 1 ? "hears" : "hear"} it`,
  ].join(", ");
}
