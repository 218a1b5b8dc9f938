/** The decider's shell: feeds what arrives on the bus to the core, one picture a cluster, and carries out its effects. */
import { type Bus, BusConflict } from "@baton/bus";
import { BatonError, type Diagnosis, MESSAGES } from "@baton/contracts";
import { type ServiceContext, startTrace } from "@baton/runtime";
import { alertAfterMs, alertFor } from "./alert.ts";
import { viewCluster } from "./answer.ts";
import { decide, type Effect, type Order, type Settings } from "./decide.ts";
import { giveOrder, type OrderPorts } from "./order.ts";
import { emptyPicture, type Input, type Picture } from "./picture.ts";
import { rehearse } from "./rehearsal.ts";

/** Freshness ends without a message to say so; this is how often that is noticed. */
const TICK_MS = 250;

export class Watcher {
  readonly #pictures = new Map<string, Picture>();
  readonly #sequences = new Map<string, number>();
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #alerts = new Map<string, NodeJS.Timeout>();
  /** Clusters of which a fault has been told and its end has not. */
  readonly #told = new Set<string>();
  readonly #ctx: ServiceContext;
  readonly #settings: Settings;
  readonly #stops: (() => void | Promise<void>)[] = [];
  readonly #known = { state: false, declared: false };

  constructor(ctx: ServiceContext) {
    this.#ctx = ctx;
    const { heartbeatSilentMs, freshMs, retryMs } = ctx.config.decider;
    this.#settings = { decider: ctx.instance, heartbeatSilentMs, freshMs, retryMs };
  }

  async start(): Promise<void> {
    const { bus } = this.#ctx;
    await rehearse(this.#settings);
    this.#stops.push(
      await bus.bucket("baton_state").watch({
        onChange: (cluster, state, revision) => {
          this.#feed(cluster, { type: "state", state, revision: state === null ? 0 : revision }, null);
          for (const wake of this.#waiting.get(cluster) ?? []) wake();
          void this.#refreshSequence(cluster);
        },
        onReady: () => {
          this.#known.state = true;
          for (const cluster of this.#pictures.keys()) this.#feed(cluster, { type: "state-known" }, null);
        },
      }),
      await bus.bucket("baton_vouch").watch({
        onChange: (key, vouch) => {
          const [cluster = "", node = ""] = key.split(".");
          this.#feed(cluster, { type: "vouch", node, vouch }, null);
        },
      }),
      await bus.bucket("baton_clusters").watch({
        onChange: (cluster, declared) => {
          this.#feed(cluster, { type: "declared", declared }, null);
          if (declared !== null) void this.#refreshSequence(cluster);
        },
        onReady: () => {
          this.#known.declared = true;
        },
      }),
      bus.subscribe(MESSAGES.sample, {}, (sample, meta) => {
        // Samples of clusters that nobody declared are of no use and would be kept for ever.
        if (this.#pictures.get(sample.cluster)?.declared?.nodes[sample.node] === undefined) return;
        this.#feed(sample.cluster, { type: "sample", sample }, meta.traceparent);
      }),
      await bus.serve("status", async ({ cluster }) => {
        if (cluster !== null && this.#pictures.get(cluster)?.declared == null) {
          throw new BatonError("E_NOT_FOUND", {
            place: "status",
            message: `No cluster is called ${JSON.stringify(cluster)}.`,
            remedy: "`baton status` without a name lists all; `baton apply` declares one.",
          });
        }
        const now = performance.now();
        return {
          decider: this.#ctx.instance,
          clusters: [...this.#pictures.values()]
            .filter((p) => p.declared !== null && (cluster === null || p.cluster === cluster))
            .map((p) => viewCluster(p, this.#ctx.instance, now, this.#settings)),
        };
      }),
    );
    const timer = setInterval(() => {
      for (const cluster of this.#pictures.keys()) this.#feed(cluster, { type: "tick" }, null);
    }, TICK_MS);
    this.#stops.push(() => clearInterval(timer));
  }

  ready(): { ok: boolean; why?: string } {
    return this.#known.state && this.#known.declared
      ? { ok: true }
      : { ok: false, why: "the clusters and their states have not been read from NATS yet" };
  }

  async stop(): Promise<void> {
    for (const timer of this.#alerts.values()) clearTimeout(timer);
    for (const stop of this.#stops.reverse()) await stop();
  }

  #feed(cluster: string, input: Input, trace: string | null): void {
    const now = performance.now();
    let before = this.#pictures.get(cluster);
    if (before === undefined) {
      before = emptyPicture(cluster, now);
      if (this.#known.state) before = { ...before, stateKnown: true };
    }
    const { picture, effects } = decide(before, input, now, this.#settings);
    this.#pictures.set(cluster, picture);
    if (effects.length === 0) return;
    const traced = trace ?? startTrace();
    for (const effect of effects) this.#carryOut(cluster, effect, traced);
  }

  #carryOut(cluster: string, effect: Effect, traceparent: string): void {
    const { bus, log, instance } = this.#ctx;
    switch (effect.type) {
      case "look-now":
        bus.publish(
          MESSAGES.probe,
          { cluster, nodes: [], reason: effect.reason, asker: instance },
          { traceparent },
        );
        return;
      case "diagnosed": {
        const d = effect.diagnosis;
        bus.publish(MESSAGES.diagnosis, d, { traceparent });
        const level = d.severity === "critical" ? "error" : d.severity === "warning" ? "warn" : "info";
        log[level](
          {
            cluster,
            code: d.code,
            previous: d.previous,
            node: d.node,
            epoch: d.epoch,
            suspectedForMs: Math.round(d.suspectedForMs),
          },
          `${cluster}: ${d.code}: ${d.summary}`,
        );
        this.#alertLater(cluster, d, traceparent);
        return;
      }
      case "vouch":
        void bus
          .bucket("baton_vouch")
          .put(`${cluster}.${effect.vouch.node}`, effect.vouch)
          .catch((error: unknown) =>
            log.warn({ err: error, cluster }, "the vouch ledger could not be written; it is tried again"),
          );
        return;
      case "order":
        void this.#order(cluster, effect.order, traceparent);
    }
  }

  /** Alerts when the diagnosis has stood for its time; one that passes before that is not told. */
  #alertLater(cluster: string, d: Diagnosis, traceparent: string): void {
    clearTimeout(this.#alerts.get(cluster));
    const tell = () => {
      const { bus, log } = this.#ctx;
      const alert = alertFor(d, this.#told.has(cluster), Date.now());
      if (alert === null) return;
      if (d.code === "healthy") this.#told.delete(cluster);
      else this.#told.add(cluster);
      void bus
        .append(MESSAGES.alert, alert, { traceparent, msgId: alert.id })
        .catch((error: unknown) =>
          log.error({ err: error, alert: alert.id }, "an alert could not be stored"),
        );
    };
    const afterMs = alertAfterMs(d);
    if (afterMs === 0) tell();
    else this.#alerts.set(cluster, setTimeout(tell, afterMs));
  }

  async #order(cluster: string, order: Order, traceparent: string): Promise<void> {
    const { log, instance } = this.#ctx;
    const picture = this.#pictures.get(cluster);
    if (picture === undefined) return;
    try {
      const sequence = this.#sequences.get(cluster) ?? (await this.#refreshSequence(cluster));
      const result = await giveOrder(
        cluster,
        order,
        instance,
        new Map([...picture.statuses].map(([node, known]) => [node, known.status])),
        Object.keys(picture.declared?.nodes ?? {}),
        sequence,
        Date.now(),
        this.#ports(traceparent),
      );
      if (result.ok) {
        log.info(
          { cluster, operation: result.operation },
          `${cluster}: ${order.kind} ordered${result.by === "me" ? "" : " by another decider"}: ${order.reason}`,
        );
        void this.#refreshSequence(cluster);
        return;
      }
      log.info({ cluster, kind: order.kind }, `${cluster}: ${order.kind} not ordered now: ${result.why}`);
    } catch (error) {
      log.error(
        { err: error, cluster, kind: order.kind },
        `${cluster}: ${order.kind} could not be ordered; it is tried again`,
      );
      await this.#refreshSequence(cluster);
    }
    this.#feed(cluster, { type: "order-failed", stateRevision: order.stateRevision }, traceparent);
  }

  /** Reads ahead the sequence that the next intent must follow, so that the failover path need not ask. */
  async #refreshSequence(cluster: string): Promise<number> {
    try {
      const sequence = await this.#ctx.bus.lastSequence(MESSAGES.intent, { cluster });
      this.#sequences.set(cluster, sequence);
      return sequence;
    } catch (error) {
      this.#ctx.log.debug({ err: error, cluster }, "the last intent's sequence could not be read");
      return this.#sequences.get(cluster) ?? 0;
    }
  }

  #ports(traceparent: string): OrderPorts {
    const bus: Bus = this.#ctx.bus;
    const locks = bus.bucket("baton_locks");
    return {
      lockCreate: (cluster, holder) => locks.create(cluster, holder),
      lockGet: (cluster) => locks.get(cluster),
      lockUpdate: (cluster, holder, revision) => locks.update(cluster, holder, revision),
      lockRemove: (cluster, revision) => locks.remove(cluster, revision),
      append: (intent, o) => bus.append(MESSAGES.intent, intent, { ...o, traceparent }),
      isConflict: (error) => error instanceof BusConflict,
      lastSequence: (cluster) => bus.lastSequence(MESSAGES.intent, { cluster }),
      state: (cluster) => this.#pictures.get(cluster)?.state ?? null,
      stateMoves: (cluster, revision, withinMs) => this.#stateMoves(cluster, revision, withinMs),
    };
  }

  #stateMoves(cluster: string, revision: number, withinMs: number): Promise<boolean> {
    const moved = () => (this.#pictures.get(cluster)?.state?.revision ?? 0) !== revision;
    if (moved()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const set = this.#waiting.get(cluster) ?? new Set();
      this.#waiting.set(cluster, set);
      const done = (result: boolean) => {
        clearTimeout(timer);
        set.delete(wake);
        resolve(result);
      };
      const wake = () => {
        if (moved()) done(true);
      };
      const timer = setTimeout(() => done(moved()), withinMs);
      set.add(wake);
    });
  }
}
