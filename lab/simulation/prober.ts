/**
 * Model probers: they see of a server what a real one sees (an answer, a refusal, a silence with its length) at a real one's
 * pace when it matters, and seldom when nothing does.
 */
import type { NodeStatus, Sample, SampleCause } from "@baton/contracts";
import { mysql84 } from "./dialect.ts";
import type { Mysqld } from "./mysqld.ts";
import { NATS_HOST } from "./nats.ts";
import type { Network } from "./network.ts";
import { rowsOf } from "./status-rows.ts";
import { Actor } from "./timeline.ts";

export interface ProberOptions {
  name: string;
  region: string;
  host: string;
  cluster: string;
  network: Network;
  servers: readonly Mysqld[];
  publish(sample: Sample): void;
}

const CALM_MS = 1_000;
const SUSPECT_MS = 100;
/** While anything is suspect; a real prober stays at it for longer, which only adds samples of the same. */
const HOT_MS = 1_500;
const THRESHOLD_MS = 300;
const PULSE_MS = 250;
/** A look that was asked for again so soon is the same. */
const SAME_LOOK_MS = 10;

interface Watched {
  server: Mysqld;
  seq: number;
  outcome: Sample["outcome"];
  attempts: number;
  silentSinceMs: number | null;
  /** A question is under way since. */
  askedMs: number | null;
  lookedMs: number;
}

export class Prober {
  readonly actor: Actor;
  readonly o: ProberOptions;
  readonly #watched: Watched[];
  #hotUntilMs = 0;

  constructor(o: ProberOptions) {
    this.o = o;
    this.actor = new Actor(o.name, o.network.timeline);
    this.#watched = o.servers.map((server) => ({
      server,
      seq: 0,
      outcome: "ok" as const,
      attempts: 0,
      silentSinceMs: null,
      askedMs: null,
      lookedMs: Number.NEGATIVE_INFINITY,
    }));
    const { random } = o.network;
    for (const w of this.#watched) this.#later(random.between(1, CALM_MS), () => this.#tick(w));
  }

  get #nowMs(): number {
    return this.o.network.timeline.nowMs;
  }

  #later(ms: number, run: () => void): void {
    this.o.network.timeline.after(ms, this.actor, run);
  }

  /** A primary is pinged more often than it is sampled: its hang must be seen soon. */
  #tick(w: Watched): void {
    const hot = this.#nowMs < this.#hotUntilMs;
    this.#look(w, "tick");
    const everyMs = hot ? SUSPECT_MS : w.outcome === "ok" ? CALM_MS : CALM_MS / 2;
    this.#later(everyMs, () => this.#tick(w));
    if (!hot && w.server.writable)
      for (let ms = PULSE_MS; ms < everyMs; ms += PULSE_MS) this.#later(ms, () => this.#pulse(w));
  }

  #pulse(w: Watched): void {
    if (w.outcome === "ok" && w.askedMs === null && !this.#answers(w)) this.#look(w, "tick");
  }

  lookNow(): void {
    for (const w of this.#watched) if (this.#nowMs - w.lookedMs >= SAME_LOOK_MS) this.#look(w, "look-now");
  }

  /** A server's sockets closed: it is tried again at once. */
  hangUp(server: Mysqld): void {
    const w = this.#watched.find((x) => x.server === server);
    if (w === undefined || w.outcome !== "ok" || !this.o.network.open(this.o.host, server.host)) return;
    this.#later(this.o.network.delayMs(), () => {
      w.outcome = "closed";
      w.silentSinceMs ??= this.#nowMs;
      this.#publish(w, "closed", "closed", null);
      this.#suspect(w);
      this.#later(1, () => this.#look(w, "confirm"));
    });
  }

  #suspect(about: Watched): void {
    const news = this.#nowMs >= this.#hotUntilMs;
    this.#hotUntilMs = this.#nowMs + HOT_MS;
    if (!news) return;
    for (const w of this.#watched) {
      if (w !== about) this.#look(w, "confirm");
      // The slow tick that is under way is not waited for.
      this.#later(SUSPECT_MS, () => this.#look(w, "tick"));
      this.#later(3 * SUSPECT_MS, () => this.#look(w, "tick"));
      this.#later(5 * SUSPECT_MS, () => this.#look(w, "tick"));
    }
  }

  #answers(w: Watched): boolean {
    return w.server.responsive && this.o.network.open(this.o.host, w.server.host);
  }

  #look(w: Watched, cause: SampleCause): void {
    const { network } = this.o;
    w.lookedMs = this.#nowMs;
    if (this.#answers(w)) {
      w.askedMs = null;
      const { server } = w;
      const there = network.delayMs();
      network.timeline.after(there, server.life, () => {
        const status = statusOf(server);
        const life = server.life;
        this.#later(network.delayMs(), () => {
          if (life !== server.life || life.down) return;
          const was = w.outcome;
          w.outcome = "ok";
          w.attempts = 0;
          w.silentSinceMs = null;
          this.#publish(w, cause, "ok", status);
          if (was !== "ok") this.#suspect(w);
          else if (status.replica !== null && isNews(status)) this.#heat();
        });
      });
      return;
    }
    const cut = !network.open(this.o.host, w.server.host);
    if (!cut && !w.server.alive) {
      this.#later(2 * network.delayMs(), () => this.#failed(w, cause, "refused"));
      return;
    }
    // Nothing comes back: a silence counts once it is longer than the threshold.
    if (w.askedMs !== null) {
      if (this.#nowMs - w.askedMs >= THRESHOLD_MS) this.#failed(w, cause, "timeout-query");
      return;
    }
    w.askedMs = this.#nowMs;
    this.#later(THRESHOLD_MS, () => {
      if (w.askedMs === null || this.#answers(w)) return;
      w.silentSinceMs ??= w.askedMs;
      this.#failed(w, cause, w.server.alive ? "timeout-query" : "timeout-connect");
    });
  }

  #failed(w: Watched, cause: SampleCause, outcome: Sample["outcome"]): void {
    const was = w.outcome;
    w.outcome = outcome;
    w.attempts++;
    w.silentSinceMs ??= this.#nowMs;
    this.#publish(w, cause, outcome, null);
    if (was === "ok") this.#suspect(w);
    if (outcome === "refused" && w.attempts === 1) this.#later(1, () => this.#look(w, "confirm"));
  }

  #heat(): void {
    this.#hotUntilMs = Math.max(this.#hotUntilMs, this.#nowMs + SUSPECT_MS);
  }

  #publish(w: Watched, cause: SampleCause, outcome: Sample["outcome"], status: NodeStatus | null): void {
    const { o } = this;
    const sample: Sample = {
      cluster: o.cluster,
      node: w.server.name,
      region: o.region,
      prober: o.name,
      seq: w.seq++,
      cause,
      outcome,
      rttMs: 1,
      attempts: w.attempts,
      silentMs: w.silentSinceMs === null ? 0 : this.#nowMs - w.silentSinceMs,
      thresholdMs: THRESHOLD_MS,
      errno: null,
      error: null,
      status,
    };
    o.network.datagram(o.host, NATS_HOST, null, () => o.publish(sample));
  }
}

function isNews(status: NodeStatus): boolean {
  return status.replica?.receiver === "connecting";
}

/** What a status read of it says now. */
export function statusOf(server: Mysqld): NodeStatus {
  return { ...mysql84.parseStatus([rowsOf(server, "status")]), epoch: server.row };
}
