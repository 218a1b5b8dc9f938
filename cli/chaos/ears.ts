/** What is said on the bus in a chaos run, with this process's monotonic time. */
import type { Bus } from "@baton/bus";
import {
  type Diagnosis,
  type Event,
  type Intent,
  type Loss,
  MESSAGES,
  type RefusalCode,
  type Step,
} from "@baton/contracts";
import { monotonicMs } from "@baton/lab";

/** As services/decider/alert.ts tells them. */
const TOLD_AFTER_MS = 1_000;
const HEARD_KEPT = 2_000;
/** Whose executors can be armed (services/executor/fault-point.ts). */
const ARMED_KINDS: ReadonlySet<string | null> = new Set(["failover", "switchover", "rebuild"]);

export class Ears {
  readonly #heard: { atMs: number; line: string }[] = [];
  readonly #ordered = new Set<string>();
  readonly #ended = new Set<string>();
  readonly #refusals: { code: RefusalCode; decider: string; atMs: number; untilMs: number | null }[] = [];
  /** What failovers said that they may lose. */
  readonly losses: { loss: Loss; atMs: number }[] = [];
  /** What deciders said is the matter, with when. */
  readonly diagnoses: { code: string; atMs: number }[] = [];

  constructor(bus: Bus, cluster: string) {
    const about = { cluster };
    bus.subscribe(MESSAGES.diagnosis, about, (d: Diagnosis) => {
      const atMs = monotonicMs();
      for (const said of this.#refusals)
        if (said.decider === d.decider && said.code !== d.refusal) said.untilMs ??= atMs;
      if (d.code === "failover-not-possible" && d.refusal !== null)
        this.#refusals.push({ code: d.refusal, decider: d.decider, atMs, untilMs: null });
      this.diagnoses.push({ code: d.code, atMs });
      this.hear(`diagnosis ${d.code} by ${d.decider}: ${d.summary}`);
    });
    bus.subscribe(MESSAGES.intent, about, (i: Intent) => {
      if (ARMED_KINDS.has(i.kind)) this.#ordered.add(i.operation);
      this.hear(`intent ${i.operation} by ${i.decider}: ${i.reason}`);
    });
    bus.subscribe(MESSAGES.step, about, (s: Step) =>
      this.hear(`step ${s.operation} ${s.step} ${s.outcome} ${s.code ?? ""} by ${s.executor}: ${s.summary}`),
    );
    bus.subscribe(MESSAGES.event, about, (e: Event) => {
      if (e.type === "operation-ended" && e.operation !== null && ARMED_KINDS.has(e.kind))
        this.#ended.add(e.operation);
      if (e.type === "primary-changed" && e.detail.loss != null)
        this.losses.push({ loss: e.detail.loss as unknown as Loss, atMs: monotonicMs() });
      this.hear(`event ${e.type} ${e.outcome ?? ""}: ${e.summary}`);
    });
  }

  /**
   * Refusals that deciders named, with when. Those that were taken back within a second were told nobody: where another decider has just
   * failed over, what is seen of it comes before the state that explains it.
   */
  get refusals(): { code: RefusalCode; atMs: number }[] {
    const nowMs = monotonicMs();
    return this.#refusals.filter(({ atMs, untilMs }) => (untilMs ?? nowMs) - atMs >= TOLD_AFTER_MS);
  }

  /** How many failovers, switchovers and rebuilds. */
  operations(): { ordered: number; ended: number } {
    return { ordered: this.#ordered.size, ended: this.#ended.size };
  }

  hear(line: string): void {
    this.#heard.push({ atMs: monotonicMs(), line });
    if (this.#heard.length > HEARD_KEPT) this.#heard.shift();
  }

  /** With the seconds since then. */
  since(sinceMs: number): string[] {
    return this.#heard
      .filter(({ atMs }) => atMs >= sinceMs)
      .map(({ atMs, line }) => `+${((atMs - sinceMs) / 1000).toFixed(3)} ${line}`);
  }
}
