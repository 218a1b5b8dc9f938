/**
 * One prober's eye on one node: a pulse session that is pinged, a status session that is read, both held open. What
 * happens to the sockets is told at once; what does not happen is told by a timer set to the very threshold.
 */
import type { MysqlAccess, NodeStatus, Outcome, Sample, SampleCause } from "@baton/contracts";
import { classify, openSession, readStatus, type Session, type Target } from "@baton/mysql";
import { Backoff, SilenceThreshold } from "@baton/resilience";
import { type Attempt, type Condition, note, unknown, type Where } from "./condition.ts";

export interface EyeOptions {
  where: Where;
  target: Target;
  access: MysqlAccess;
  suspectMs: number;
  floorMs: number;
  connectTimeoutMs: number;
  /** Replication delays known in this cluster now. */
  delaysMs(): number[];
  onSample(sample: Sample): void;
  /** Ask for the next look in so many milliseconds. */
  onNext(inMs: number): void;
}

/** A status that takes longer than this after the pulse answered is not waited for: the node is alive. */
const STATUS_GRACE_MS = 250;
/** While a killed server's sockets are being torn down, connections are reset rather than refused. */
const TEARDOWN_RETRY_MS = 3;
const TEARDOWN_TRIES = 60;
/** No answer is expected after so long; the session is given up. */
const PULSE_MOST_MS = 60_000;

export class Eye {
  readonly #o: EyeOptions;
  readonly #threshold: SilenceThreshold;
  readonly #backoff: Backoff;
  #condition: Condition = unknown;
  #pulse: Session | null = null;
  #status: Session | null = null;
  /** A ping that is not answered yet, and when it was sent. */
  #unanswered: { askedMs: number } | null = null;
  #looking: Promise<void> | null = null;
  #opening: Promise<Outcome> | null = null;
  #last: Sample | null = null;
  #ended = false;

  constructor(o: EyeOptions) {
    this.#o = o;
    this.#threshold = new SilenceThreshold(o.floorMs);
    this.#backoff = new Backoff(o.suspectMs);
  }

  get last(): Sample | null {
    return this.#last;
  }

  get condition(): Condition {
    return this.#condition;
  }

  /** Looks at the node, or joins the look that is under way. Resolves when a sample has been told. */
  look(cause: SampleCause): Promise<void> {
    if (this.#ended) return Promise.resolve();
    this.#looking ??= this.#look(cause).finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  end(): void {
    this.#ended = true;
    void this.#pulse?.end();
    void this.#status?.end();
  }

  async #look(cause: SampleCause): Promise<void> {
    const pulse = this.#pulse;
    if (pulse === null) {
      await this.#reconnect(cause);
      return;
    }
    if (this.#unanswered !== null) {
      // The first question still hangs: putting another behind it teaches nothing, a fresh connection may.
      this.#tellHung(cause);
      await this.#open(cause);
      return;
    }
    const askedMs = performance.now();
    const question = { askedMs };
    this.#unanswered = question;
    const status = this.#readStatus();
    const answered = pulse.ping(PULSE_MOST_MS).then(
      () => true,
      () => false,
    );
    const inTime = await this.#within(answered, this.#thresholdMs());
    if (inTime === null) {
      void answered.then((ok) => this.#answeredLate(question, ok));
      this.#tellHung(cause);
      await this.#open(cause);
      return;
    }
    if (this.#unanswered === question) this.#unanswered = null;
    // A closed session is told by its own event.
    if (!inTime) return;
    const rttMs = performance.now() - askedMs;
    this.#threshold.answered(rttMs, performance.now());
    this.#backoff.succeeded(rttMs);
    const read = await this.#within(status, STATUS_GRACE_MS);
    this.#tell({
      outcome: "ok",
      cause,
      askedMs: performance.now() - rttMs,
      status: read,
      errno: null,
      error: null,
    });
  }

  /** The pulse's own answer, after it had been given up: the node lives. */
  #answeredLate(question: { askedMs: number }, ok: boolean): void {
    if (this.#unanswered === question) this.#unanswered = null;
    if (ok && !this.#ended) void this.look("confirm");
  }

  #tellHung(cause: SampleCause): void {
    const askedMs = this.#unanswered?.askedMs ?? performance.now();
    const waitedMs = Math.round(performance.now() - askedMs);
    this.#tell({
      outcome: "timeout-query",
      cause,
      askedMs,
      status: null,
      errno: null,
      error: `no answer for ${waitedMs} ms`,
    });
    this.#o.onNext(this.#o.suspectMs);
  }

  /** After a held session closed: what has become of the server? A refusal is confirmed at once. */
  async #reconnect(cause: SampleCause): Promise<void> {
    const beganMs = performance.now();
    let outcome: Outcome = "closed";
    for (let i = 0; i < TEARDOWN_TRIES && outcome === "closed" && !this.#ended; i++) {
      if (i > 0) await new Promise((resolve) => setTimeout(resolve, TEARDOWN_RETRY_MS));
      outcome = await this.#open(cause);
    }
    if (outcome === "refused" && this.#condition.attempts === 1) outcome = await this.#open("confirm");
    if (outcome === "ok" || this.#ended) return;
    this.#o.onNext(this.#backoff.failed(performance.now() - beganMs));
  }

  /** One attempt to open both sessions. Tells what it found; a success is followed by a full look. */
  #open(cause: SampleCause): Promise<Outcome> {
    this.#opening ??= this.#tryOpen(cause).finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  async #tryOpen(cause: SampleCause): Promise<Outcome> {
    const askedMs = performance.now();
    const o = { connectTimeoutMs: this.#o.connectTimeoutMs, name: `baton-prober ${this.#o.where.prober}` };
    const both = await Promise.allSettled([
      openSession(this.#o.target, this.#o.access, o),
      openSession(this.#o.target, this.#o.access, o),
    ]);
    const [pulse, status] = both;
    if (this.#ended || pulse.status === "rejected" || status.status === "rejected") {
      for (const b of both) if (b.status === "fulfilled") b.value.destroy();
      const failed = both.find((b) => b.status === "rejected");
      if (this.#ended || failed === undefined) return "error";
      const fault = classify(failed.reason, "connect");
      this.#tell({
        outcome: fault.outcome,
        cause,
        askedMs,
        status: null,
        errno: fault.errno,
        error: fault.message,
      });
      return fault.outcome;
    }
    this.#pulse?.destroy();
    this.#status?.destroy();
    this.#unanswered = null;
    this.#pulse = pulse.value;
    this.#status = status.value;
    for (const session of [pulse.value, status.value])
      session.onClosed((fault) => this.#closed(session, fault.message));
    const rttMs = performance.now() - askedMs;
    this.#backoff.succeeded(rttMs);
    const read = await this.#within(this.#readStatus(), STATUS_GRACE_MS);
    this.#tell({ outcome: "ok", cause, askedMs, status: read, errno: null, error: null });
    return "ok";
  }

  #closed(session: Session, why: string): void {
    if (this.#ended || (session !== this.#pulse && session !== this.#status)) return;
    this.#pulse?.destroy();
    this.#status?.destroy();
    this.#pulse = null;
    this.#status = null;
    this.#unanswered = null;
    this.#tell({
      outcome: "closed",
      cause: "closed",
      askedMs: performance.now(),
      status: null,
      errno: null,
      error: why,
    });
    // A look that was under way ends with its session; the next one reconnects.
    const next = () => void this.look("confirm");
    if (this.#looking === null) next();
    else void this.#looking.finally(next);
  }

  async #readStatus(): Promise<NodeStatus | null> {
    const session = this.#status;
    if (session === null || session.closed) return null;
    return readStatus(session, PULSE_MOST_MS).catch(() => null);
  }

  #thresholdMs(): number {
    return this.#threshold.valueMs(performance.now(), this.#o.delaysMs());
  }

  #tell(attempt: Attempt): void {
    if (this.#ended) return;
    const { condition, sample } = note(
      this.#condition,
      attempt,
      this.#thresholdMs(),
      performance.now(),
      this.#o.where,
    );
    this.#condition = condition;
    this.#last = sample;
    this.#o.onSample(sample);
  }

  async #within<T>(promise: Promise<T>, ms: number): Promise<T | null> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), ms);
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
