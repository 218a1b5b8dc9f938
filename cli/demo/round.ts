/** One round: calm, fault, takeover, the old primary's way home. Times are monotonic milliseconds of this process. */
import { type Ack, LabError, monotonicMs, type Writer } from "@baton/lab";
import { Cast } from "./cast.ts";
import { Pulse } from "./pulse.ts";
import type { Stage } from "./stage.ts";
import { type Fault, type Moment, Timeline } from "./timeline.ts";

/** What `--json` prints, as it is. Times in milliseconds, to the microsecond. */
export interface RoundResult {
  fault: Fault;
  downtime_ms: number | null;
  detect_ms: number | null;
  decide_ms: number | null;
  execute_ms: number | null;
  acknowledged: number;
  lost: number;
  split: number;
  epoch: number | null;
  rejoined_ms: number | null;
}

export interface RoundOptions {
  fault: Fault;
  /** How long to watch the calm before the fault, and the new calm after it. */
  calmMs: number;
  signal: AbortSignal;
  /** The act has changed, or something happened. */
  onAct(act: string): void;
  onErrant(gtids: string): void;
}

const WHOLE_MS = 90_000;
const RECOVERY_MS = 60_000;
const WARM_MS = 30_000;
const WARM_WRITES = 400;
const REJOIN_MS = 90_000;

/** A node that comes home, or does not. */
interface Homecoming {
  what: "rejoined" | "quarantined" | "nothing";
  atMs: number;
  errant: string;
}

export class Round {
  readonly #stage: Stage;
  readonly #o: RoundOptions;
  readonly cast: Cast;
  readonly pulse = new Pulse();
  /** Starts when the cluster is whole: a node that has a history to replay would fall behind all the more. */
  #writer: Writer | null = null;
  #timeline: Timeline | null = null;
  /** The one that acknowledged before the fault. */
  #oldServer = "";
  readonly #successor = Promise.withResolvers<number | null>();
  #home: { node: string; tell(home: Homecoming): void } | null = null;

  constructor(stage: Stage, primary: string | null, o: RoundOptions) {
    this.#stage = stage;
    this.#o = o;
    this.cast = new Cast(stage.lab.clusterDeclaration().nodes, primary);
    stage.listen({
      sample: (s, atMs) => {
        this.cast.sample(s);
        this.#timeline?.sample(s, atMs);
      },
      diagnosis: (d, atMs) => this.#timeline?.diagnosis(d, atMs),
      intent: (i, atMs) => this.#timeline?.intent(i, atMs),
      step: (s, atMs) => this.#timeline?.step(s, atMs),
      event: (e, atMs) => {
        this.cast.event(e);
        this.#timeline?.event(e, atMs);
        if (e.node !== null && e.node === this.#home?.node) {
          if (e.type === "node-rejoined") this.#home.tell({ what: "rejoined", atMs, errant: "" });
          if (e.type === "node-quarantined") {
            this.#home.tell({ what: "quarantined", atMs, errant: String(e.detail.errant ?? "") });
          }
        }
      },
    });
  }

  /** Acknowledged writes in the last second. */
  get ratePerS(): number {
    return this.#writer?.rate() ?? 0;
  }

  /** Null before the fault. */
  get faultMs(): number | null {
    return this.#timeline?.faultMs ?? null;
  }

  get moments(): readonly Moment[] {
    return this.#timeline?.moments ?? [];
  }

  async run(): Promise<RoundResult> {
    const { fault, calmMs, signal, onAct } = this.#o;
    onAct("waiting until every replica is in step and a failover would succeed");
    const view = await this.#stage.whole(WHOLE_MS, signal);
    const old = view.primary as string;
    const writer = this.#stage.lab.writer({ onAck: (ack) => this.#acknowledged(ack) });
    this.#writer = writer;
    onAct(
      `calm: four clients write to ${old}; in a moment it will be ${fault === "kill" ? "killed" : "stopped dead"}`,
    );
    await this.#calm(calmMs);
    await this.#warm(writer);

    const node = this.#stage.lab.node(old);
    const faultMs = fault === "kill" ? node.killNow() : node.hang();
    writer.fault(faultMs);
    const timeline = new Timeline(fault, old, faultMs);
    this.#timeline = timeline;
    this.cast.fate(old, fault === "kill" ? "killed" : "hung");
    onAct(`${old} is gone; Baton is on its own now`);
    const recoveredMs = await this.#recovered();
    const downtimeMs = recoveredMs === null ? null : recoveredMs - faultMs;
    if (recoveredMs !== null) timeline.firstWrite(recoveredMs, timeline.newPrimary);
    await this.#calm(calmMs);

    const rejoinedMs = downtimeMs === null ? null : await this.#bringHome(old);
    if (rejoinedMs !== null) await this.#calm(calmMs / 2);
    onAct("counting: is every acknowledged write there?");
    const report = await writer.stop();
    if (rejoinedMs !== null) {
      onAct(`${old} applies what it has missed`);
      await this.#stage.whole(WHOLE_MS, signal);
    }
    const { detectMs, decideMs, executeMs } = timeline.figures();
    onAct("done");
    return {
      fault,
      downtime_ms: rounded(downtimeMs),
      detect_ms: rounded(detectMs),
      decide_ms: rounded(decideMs),
      execute_ms: rounded(executeMs),
      acknowledged: report.acknowledged,
      lost: report.lost.length,
      split: report.split.length,
      epoch: timeline.epoch,
      rejoined_ms: rounded(rejoinedMs),
    };
  }

  /** Every cache on the way has been used: what is measured is the takeover. */
  async #warm(writer: Writer): Promise<void> {
    const deadline = monotonicMs() + WARM_MS;
    while (writer.acknowledged() < WARM_WRITES) {
      if (monotonicMs() > deadline) {
        throw new LabError("not-recovered", {
          found: `${writer.acknowledged()} acknowledged writes in ${WARM_MS / 1000} s of calm`,
          expected: `${WARM_WRITES} or more`,
          remedy: "run baton demo --verbose to see what the services say",
        });
      }
      await this.#calm(20);
    }
  }

  #acknowledged({ server, atMs }: Ack): void {
    this.pulse.acknowledged(atMs);
    if (this.#timeline === null) this.#oldServer = server;
    else if (server !== this.#oldServer) this.#successor.resolve(atMs);
  }

  /**
   * When another server acknowledged its first write; null when none does. A server that is stopped runs on for some
   * milliseconds until all its threads have heard of it: what it acknowledges meanwhile is no recovery.
   */
  async #recovered(): Promise<number | null> {
    const timer = setTimeout(() => this.#successor.resolve(null), RECOVERY_MS);
    try {
      return await this.#orAborted(this.#successor.promise);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Starts or resumes the old primary and waits until it follows the new one, over an empty directory if it must. */
  async #bringHome(old: string): Promise<number | null> {
    const { fault, onAct, onErrant, signal } = this.#o;
    const node = this.#stage.lab.node(old);
    let home = this.#homecoming(old);
    onAct(
      fault === "kill" ? `${old} is started again` : `${old} wakes up and still thinks that it is primary`,
    );
    const backMs = monotonicMs();
    this.cast.fate(old, "starting");
    if (fault === "kill") await this.#orAborted(node.start(signal));
    else node.resume();
    let found = await this.#orAborted(home);
    if (found.what === "quarantined") {
      onErrant(found.errant);
      onAct(`${old} is quarantined; the lab gives it an empty data directory`);
      home = this.#homecoming(old);
      this.cast.fate(old, "starting");
      await this.#orAborted(node.reseed());
      onAct(`${old} is empty; Baton points it at the new primary`);
      found = await this.#orAborted(home);
    }
    this.#home = null;
    return found.what === "rejoined" ? found.atMs - backMs : null;
  }

  #homecoming(node: string): Promise<Homecoming> {
    return new Promise((tell) => {
      const timer = setTimeout(() => tell({ what: "nothing", atMs: monotonicMs(), errant: "" }), REJOIN_MS);
      this.#home = {
        node,
        tell: (home) => {
          clearTimeout(timer);
          tell(home);
        },
      };
    });
  }

  #calm(ms: number): Promise<void> {
    return this.#orAborted(new Promise((done) => setTimeout(done, ms)));
  }

  #orAborted<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#o;
    return new Promise<T>((done, fail) => {
      const abort = () => fail(signal.reason);
      if (signal.aborted) abort();
      signal.addEventListener("abort", abort, { once: true });
      promise.then(done, fail).finally(() => signal.removeEventListener("abort", abort));
    });
  }
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 1000) / 1000;
}

/** Nothing lost, nothing split, writes came back and so did the old primary. */
export function isGood(r: RoundResult): boolean {
  return r.lost === 0 && r.split === 0 && r.downtime_ms !== null && r.rejoined_ms !== null;
}
