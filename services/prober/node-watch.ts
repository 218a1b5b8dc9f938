/**
 * One node as this prober sees it: two held links, the question under way on each, and what the answers or their
 * absence mean. No I/O and no clock: inputs come with `now`, what is to be done goes out as effects.
 *
 * The `pulse` link carries COM_PING only, so that it never waits behind a lock; the `status` link carries status
 * reads. A `fresh` link is a trial connection that tells a hung server from a broken pulse.
 */
import {
  type NodeStatus,
  OUTCOMES_OF_DEATH,
  type Outcome,
  type Sample,
  type SampleCause,
} from "@baton/contracts";
import { BACKOFF_MAX_MS, Backoff, SilenceThreshold } from "@baton/resilience";

export type LinkName = "pulse" | "status" | "fresh";

/** What a link said or how it failed. */
export interface Fault {
  outcome: Outcome;
  errno: number | null;
  message: string;
}

export type NodeEffect =
  | { type: "open"; link: LinkName }
  | { type: "close"; link: LinkName }
  /** The fresh link takes the pulse's place; the old pulse is closed. */
  | { type: "adopt" }
  | { type: "ping" }
  | { type: "read" }
  | { type: "publish"; sample: Sample }
  /** A new suspicion: the cluster's other nodes are to be looked at now. */
  | { type: "suspect" };

export interface Settings {
  prober: string;
  region: string;
  calmMs: number;
  suspectMs: number;
  floorMs: number;
}

/**
 * Between two pings of a node that accepts writes: a hang is then seen after half of it plus the threshold. A
 * replica's hang can wait for the tick.
 */
const PULSE_MS = 250;
/** A sample waits so long for a status read that is slower than the ping; then it goes without. */
const PATIENCE_MS = 100;
/** While a killed server's sockets are being torn down, connections are dropped rather than refused. */
const TEARDOWN_RETRY_MS = 3;
const TEARDOWN_SLOWER_MS = 20;
const TEARDOWN_QUICK_TRIES = 60;
const TEARDOWN_TRIES = 100;
const MAX_ERROR = 500;

const STRENGTH: Record<SampleCause, number> = { tick: 0, closed: 1, confirm: 2, "look-now": 3 };

export class NodeWatch {
  readonly name: string;
  readonly #cluster: string;
  readonly #s: Settings;
  readonly #threshold: SilenceThreshold;
  readonly #delaysMs: () => number[];

  #seq = 0;
  #links: Record<LinkName, "none" | "opening" | "open"> = { pulse: "none", status: "none", fresh: "none" };
  #pingAt: number | null = null;
  #readAt: number | null = null;
  /** A sample is owed for this cause as soon as the answers are in. */
  #owed: SampleCause | null = null;
  #attempts = 0;
  #rttMs = 0;
  #silentSince: number | null = null;
  /** What a trial connection heard from a server whose pulse is silent: it lives. */
  #trialSays: Fault | null = null;
  readonly #backoff: Backoff;
  #dropped = 0;
  #last: Sample | null = null;
  #status: NodeStatus | null = null;

  #tickAt: number;
  #pulseAt = Number.POSITIVE_INFINITY;
  #growAt = 0;
  #graceUntil = 0;
  #patienceAt = Number.POSITIVE_INFINITY;
  #retryAt: number;
  #statusRetryAt = Number.POSITIVE_INFINITY;

  /** `delaysMs` gives the replication delays known in the cluster. The first look is due at `firstLookAt`, then the ticks begin. */
  constructor(
    cluster: string,
    name: string,
    s: Settings,
    delaysMs: () => number[],
    firstLookAt: number,
    firstTickAt: number,
  ) {
    this.#cluster = cluster;
    this.name = name;
    this.#s = s;
    this.#threshold = new SilenceThreshold(s.floorMs);
    // Never looked at more rarely than a node that is well: its witnesses must stay fresh.
    this.#backoff = new Backoff(s.suspectMs, Math.min(BACKOFF_MAX_MS, s.calmMs));
    this.#delaysMs = delaysMs;
    this.#tickAt = firstTickAt;
    this.#retryAt = firstLookAt;
  }

  /** The last sample, null before the first. */
  get last(): Sample | null {
    return this.#last;
  }

  /** The last status that was read, whatever has happened since. */
  get status(): NodeStatus | null {
    return this.#status;
  }

  /** Makes the next tick come at `at`, if that is sooner. */
  hasten(at: number): void {
    this.#tickAt = Math.min(this.#tickAt, at);
  }

  /** This prober slept itself: no silence counts before `until`. */
  grant(until: number): void {
    this.#graceUntil = until;
  }

  /** When `wake` must be called next. */
  wakeAt(now: number): number {
    const pulseAt = this.#links.pulse === "open" ? this.#pulseAt : Number.POSITIVE_INFINITY;
    return Math.min(
      this.#tickAt,
      this.#retryAt,
      this.#statusRetryAt,
      this.#patienceAt,
      this.#pingAt === null ? pulseAt : this.#overdueAt(now),
    );
  }

  wake(now: number, intervalMs: number): NodeEffect[] {
    const out: NodeEffect[] = [];
    if (this.#pingAt !== null && now >= this.#overdueAt(now)) this.#silent(now, intervalMs, out);
    if (now >= this.#patienceAt) this.#publishOk(this.#owed ?? "tick", null, null, now, out);
    if (now >= this.#retryAt) this.#open("pulse", out);
    if (now >= this.#statusRetryAt) this.#open("status", out);
    if (now >= this.#tickAt) {
      this.#tickAt = this.#nextTickAt(now, intervalMs);
      // A pulse that is down has its own schedule.
      if (this.#links.pulse === "open") this.look("tick", now, out);
    }
    if (now >= this.#pulseAt) this.#ping(now, out);
    return out;
  }

  /**
   * In calm all nodes are looked at in one moment: one waking instead of three, which is what most of a look costs, and a picture
   * of the cluster from one time. While anything is suspect the looks are spread.
   */
  #nextTickAt(now: number, intervalMs: number): number {
    return intervalMs < this.#s.calmMs ? now + intervalMs : (Math.floor(now / intervalMs) + 1) * intervalMs;
  }

  /** Asks now, or joins the questions under way. */
  look(cause: SampleCause, now: number, out: NodeEffect[] = []): NodeEffect[] {
    if (this.#owed === null || STRENGTH[cause] > STRENGTH[this.#owed]) this.#owed = cause;
    if (this.#links.pulse === "none") this.#open("pulse", out);
    if (this.#links.pulse !== "open") return out;
    if (this.#pingAt !== null && now >= this.#pingAt + this.#thresholdMs(now)) {
      // Its silence is the answer. A tick leaves that to the schedule of a growing silence.
      if (cause === "look-now" && now >= this.#graceUntil) this.#silent(now, this.#s.suspectMs, out);
      return out;
    }
    this.#ping(now, out);
    this.#read(now, out);
    return out;
  }

  opened(link: LinkName, fault: Fault | null, tookMs: number, now: number): NodeEffect[] {
    const out: NodeEffect[] = [];
    if (this.#links[link] !== "opening") return out;
    this.#links[link] = fault === null ? "open" : "none";
    if (link === "fresh") this.#tried(fault, tookMs, now, out);
    else if (link === "status") this.#statusOpened(fault, now, out);
    else if (fault === null) this.#pulseOpened(tookMs, now, out);
    else this.#pulseFailed(fault, tookMs, now, out);
    return out;
  }

  /** A held link ended that nobody asked to end. */
  closed(link: LinkName, fault: Fault, now: number): NodeEffect[] {
    const out: NodeEffect[] = [];
    if (this.#links[link] !== "open") return out;
    this.#links[link] = "none";
    if (link === "fresh") return out;
    if (link === "pulse") this.#pingAt = null;
    else this.#readAt = null;
    this.#patienceAt = Number.POSITIVE_INFINITY;
    if (this.#last?.outcome === "ok") {
      this.#silentSince = now;
      const outcome = fault.outcome === "shutting-down" ? fault.outcome : "closed";
      this.#publish("closed", { ...fault, outcome }, 0, null, now, out);
      out.push({ type: "suspect" });
    }
    this.#owed = "confirm";
    if (this.#links.pulse === "none") this.#open("pulse", out);
    else if (this.#links.pulse === "open") this.look("confirm", now, out);
    return out;
  }

  /** The ping's answer; a fault other than a closed link. */
  ponged(fault: Fault | null, tookMs: number, now: number): NodeEffect[] {
    const out: NodeEffect[] = [];
    if (this.#pingAt === null) return out;
    this.#pingAt = null;
    if (fault !== null) {
      this.#failed(this.#owed ?? "tick", fault, tookMs, now, out);
      return out;
    }
    // A hang that has passed must not raise the threshold by its length; a network that became slow may, by and by.
    this.#threshold.answered(Math.min(tookMs, this.#thresholdMs(now)), now);
    this.#rttMs = tookMs;
    const wasFailing = this.#last !== null && this.#last.outcome !== "ok";
    this.#succeeded();
    if (wasFailing) {
      this.#publishOk(this.#owed ?? "tick", null, null, now, out);
      this.look("confirm", now, out);
    } else if (this.#owed !== null) {
      if (this.#readAt === null && this.#links.status !== "opening")
        this.#publishOk(this.#owed, null, null, now, out);
      else this.#patienceAt = now + PATIENCE_MS;
    }
    return out;
  }

  /** The status read's answer; a fault other than a closed link. */
  answered(answer: NodeStatus | Fault, now: number): NodeEffect[] {
    const out: NodeEffect[] = [];
    if (this.#readAt === null) return out;
    this.#readAt = null;
    if (isFault(answer)) {
      // A read that fails or never ends is not a death: the pulse tells.
      if (this.#pingAt === null && this.#owed !== null) this.#publishOk(this.#owed, null, answer, now, out);
      if (answer.outcome === "timeout-query") {
        this.#links.status = "none";
        this.#statusRetryAt = now + this.#s.calmMs;
        out.push({ type: "close", link: "status" });
      }
      return out;
    }
    this.#status = answer;
    if (this.#pingAt !== null && now >= this.#pingAt + this.#thresholdMs(now)) {
      // It answers here and not there: the pulse's connection is broken.
      this.#pingAt = null;
      this.#links.pulse = "none";
      out.push({ type: "close", link: "pulse" });
      this.#open("pulse", out);
    }
    this.#succeeded();
    // Late or not: a status that was asked for is told.
    this.#publishOk(this.#owed ?? "tick", answer, null, now, out);
    return out;
  }

  #pulseOpened(tookMs: number, now: number, out: NodeEffect[]): void {
    const first = this.#last === null;
    this.#retryAt = Number.POSITIVE_INFINITY;
    this.#pulseAt = now + this.#pulseMs();
    this.#backoff.succeeded(tookMs);
    this.#dropped = 0;
    this.#rttMs = tookMs;
    this.#succeeded();
    if (!first) this.#publishOk(this.#owed ?? "tick", null, null, now, out);
    this.#owed = first ? "tick" : "confirm";
    this.#read(now, out);
    this.#patienceAt = now + PATIENCE_MS;
  }

  #pulseFailed(fault: Fault, tookMs: number, now: number, out: NodeEffect[]): void {
    if (fault.outcome === "closed" && ++this.#dropped <= TEARDOWN_TRIES) {
      this.#silentSince ??= now - tookMs;
      this.#retryAt = now + (this.#dropped <= TEARDOWN_QUICK_TRIES ? TEARDOWN_RETRY_MS : TEARDOWN_SLOWER_MS);
      return;
    }
    this.#failed(this.#owed ?? "tick", fault, tookMs, now, out);
    const waitMs = this.#backoff.failed(tookMs);
    if (fault.outcome === "refused" && this.#attempts === 1) {
      this.#owed = "confirm";
      this.#open("pulse", out);
    } else this.#retryAt = now + waitMs;
  }

  #statusOpened(fault: Fault | null, now: number, out: NodeEffect[]): void {
    if (fault === null) {
      this.#statusRetryAt = Number.POSITIVE_INFINITY;
      this.#read(now, out);
      return;
    }
    if (this.#links.pulse !== "open") return;
    this.#statusRetryAt = now + this.#s.calmMs;
    if (this.#owed !== null && this.#pingAt === null) this.#publishOk(this.#owed, null, fault, now, out);
  }

  #tried(fault: Fault | null, tookMs: number, now: number, out: NodeEffect[]): void {
    const overdue = this.#pingAt !== null && now >= this.#pingAt + this.#thresholdMs(now);
    if (fault === null) {
      this.#links.fresh = "none";
      if (!overdue) {
        out.push({ type: "close", link: "fresh" });
        return;
      }
      out.push({ type: "adopt" });
      this.#pingAt = null;
      if (this.#links.status !== "none") out.push({ type: "close", link: "status" });
      this.#links.status = "none";
      this.#readAt = null;
      this.#owed = "confirm";
      this.#pulseOpened(tookMs, now, out);
      return;
    }
    if (!overdue || fault.outcome === "timeout-connect") return;
    if (OUTCOMES_OF_DEATH.has(fault.outcome)) {
      // The held connections only have not heard of it yet.
      for (const link of ["pulse", "status"] as const) {
        if (this.#links[link] !== "none") out.push({ type: "close", link });
        this.#links[link] = "none";
      }
      this.#pingAt = null;
      this.#readAt = null;
      this.#owed = "confirm";
      this.#pulseFailed(fault, tookMs, now, out);
      return;
    }
    if (fault.outcome === "closed" || fault.outcome === "error") return;
    this.#trialSays = fault;
    this.#failed("confirm", fault, tookMs, now, out);
  }

  /** The pulse is silent beyond the threshold: said now, and again as the silence grows. */
  #silent(now: number, intervalMs: number, out: NodeEffect[]): void {
    const asked = this.#pingAt ?? now;
    this.#silentSince ??= asked;
    const silence: Fault = {
      outcome: "timeout-query",
      errno: null,
      message: `no answer to a ping for ${Math.round(now - asked)} ms`,
    };
    this.#growAt = now + (this.#last?.outcome === "ok" ? this.#s.suspectMs : intervalMs);
    this.#failed(this.#owed ?? "confirm", this.#trialSays ?? silence, now - asked, now, out);
    this.#open("fresh", out);
  }

  #failed(cause: SampleCause, fault: Fault, tookMs: number, now: number, out: NodeEffect[]): void {
    const news = this.#last === null || this.#last.outcome === "ok";
    // A connection that was dropped says nothing yet: a refusal after it is the first.
    if (fault.outcome !== "closed") this.#attempts++;
    this.#silentSince ??= now - tookMs;
    this.#patienceAt = Number.POSITIVE_INFINITY;
    this.#publish(cause, fault, tookMs, null, now, out);
    if (news) out.push({ type: "suspect" });
  }

  #succeeded(): void {
    this.#attempts = 0;
    this.#silentSince = null;
    this.#trialSays = null;
    this.#growAt = 0;
  }

  #publishOk(
    cause: SampleCause,
    status: NodeStatus | null,
    why: Fault | null,
    now: number,
    out: NodeEffect[],
  ): void {
    this.#patienceAt = Number.POSITIVE_INFINITY;
    const said: Fault = { outcome: "ok", errno: why?.errno ?? null, message: why?.message ?? "" };
    this.#publish(cause, said, this.#rttMs, status, now, out);
  }

  #publish(
    cause: SampleCause,
    fault: Fault,
    rttMs: number,
    status: NodeStatus | null,
    now: number,
    out: NodeEffect[],
  ): void {
    this.#owed = null;
    this.#last = {
      cluster: this.#cluster,
      node: this.name,
      region: this.#s.region,
      prober: this.#s.prober,
      seq: this.#seq++,
      cause,
      outcome: fault.outcome,
      rttMs: Math.max(0, rttMs),
      attempts: this.#attempts,
      silentMs: this.#silentSince === null ? 0 : Math.max(0, now - this.#silentSince),
      thresholdMs: this.#thresholdMs(now),
      errno: fault.errno,
      error: fault.message === "" ? null : fault.message.slice(0, MAX_ERROR),
      status,
    };
    out.push({ type: "publish", sample: this.#last });
  }

  #open(link: LinkName, out: NodeEffect[]): void {
    if (link === "pulse") this.#retryAt = Number.POSITIVE_INFINITY;
    if (link === "status") this.#statusRetryAt = Number.POSITIVE_INFINITY;
    if (this.#links[link] !== "none") return;
    this.#links[link] = "opening";
    out.push({ type: "open", link });
  }

  #ping(now: number, out: NodeEffect[]): void {
    if (this.#links.pulse !== "open" || this.#pingAt !== null) return;
    this.#pingAt = now;
    this.#pulseAt = now + this.#pulseMs();
    out.push({ type: "ping" });
  }

  #read(now: number, out: NodeEffect[]): void {
    if (this.#links.status === "none") this.#open("status", out);
    if (this.#links.status !== "open" || this.#readAt !== null) return;
    this.#readAt = now;
    out.push({ type: "read" });
  }

  #pulseMs(): number {
    return this.#status?.readOnly ? Number.POSITIVE_INFINITY : PULSE_MS;
  }

  #overdueAt(now: number): number {
    return Math.max((this.#pingAt ?? now) + this.#thresholdMs(now), this.#growAt, this.#graceUntil);
  }

  #thresholdMs(now: number): number {
    return this.#threshold.valueMs(now, this.#delaysMs);
  }
}

function isFault(answer: NodeStatus | Fault): answer is Fault {
  return "outcome" in answer;
}
