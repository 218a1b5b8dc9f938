/** The decider's shell: feeds what arrives on the bus to the core, one picture a cluster, and carries out its effects. */
import { type Bus, BusConflict, type Loss } from "@baton/bus";
import {
  ALL_CLUSTERS,
  type Alert,
  BatonError,
  type Brake,
  type ConfirmReply,
  type Diagnosis,
  MESSAGES,
  type Vouch,
} from "@baton/contracts";
import { type ServiceContext, startTrace } from "@baton/runtime";
import { adviceAlert, alertAfterMs, alertFor, flapAlert, lossAlert, repairLimitAlert } from "./alert.ts";
import { viewCluster } from "./answer.ts";
import { heldBackNow, maintenanceNow } from "./brakes.ts";
import { abort } from "./commands/abort.ts";
import type { BrakePorts } from "./commands/brake-record.ts";
import { ack, pause, resume } from "./commands/brakes.ts";
import { planFailoverByPerson } from "./commands/failover.ts";
import { planForget } from "./commands/forget.ts";
import { requireKnown } from "./commands/known-cluster.ts";
import { type PlanPorts, plan } from "./commands/plan.ts";
import { planRebuild } from "./commands/rebuild.ts";
import { planRepair } from "./commands/repair.ts";
import { planOrder } from "./commands/switchover.ts";
import { downtime, maintenance, tellEnded } from "./commands/windows.ts";
import { decide, type Effect, type Order, type Settings } from "./decide.ts";
import { epochFaultNow } from "./epoch.ts";
import { giveAgain, giveOrder, type OrderPorts, type OrderResult, operationName } from "./order.ts";
import { emptyPicture, type Input, type Picture } from "./picture.ts";
import { Planner } from "./planner.ts";
import { leftToPerson } from "./repairs.ts";

/** Freshness ends without a message to say so; this is how often that is noticed. */
const TICK_MS = 250;
/** A plan for a person rests on what was read after the last change of state. */
const LOOKED_WITHIN_MS = 1_000;
const LOOK_EVERY_MS = 10;
/** A person's order waits for the lock of an operation that has just ended. */
const RELEASE_TRIES = 20;
const RELEASE_EVERY_MS = 100;
/** An executor asks within milliseconds. */
const MOST_JUDGED = 100;

export type WatcherContext = Pick<ServiceContext, "bus" | "log" | "instance" | "config">;

export function settingsOf({ config, instance }: Pick<WatcherContext, "config" | "instance">): Settings {
  const { heartbeatSilentMs, freshMs, retryMs } = config.decider;
  return { decider: instance, heartbeatSilentMs, freshMs, retryMs };
}

export class Watcher {
  readonly #pictures = new Map<string, Picture>();
  readonly #sequences = new Map<string, number>();
  readonly #waiting = new Map<string, Set<() => void>>();
  /** operation → when what it rests on was judged, for executors that ask (`confirm`) */
  readonly #judged = new Map<string, number>();
  readonly #alerts = new Map<string, NodeJS.Timeout>();
  readonly #lookingAgain = new Map<string, NodeJS.Timeout>();
  /** cluster → the last fault that was told, while its end has not been */
  readonly #told = new Map<string, Diagnosis>();
  /** Clusters in maintenance: there is less to tell of them. */
  readonly #hushed = new Set<string>();
  readonly #ctx: WatcherContext;
  readonly #settings: Settings;
  readonly #planner: Planner;
  readonly #stops: (() => void | Promise<void>)[] = [];
  readonly #known = { state: false, declared: false, brakes: false, marks: false };
  #brakeOfAll: Brake | null = null;

  constructor(ctx: WatcherContext) {
    this.#ctx = ctx;
    this.#settings = settingsOf(ctx);
    this.#planner = new Planner(this.#settings, {
      decider: ctx.instance,
      plans: ctx.bus.bucket("baton_plans"),
      now: () => performance.now(),
      give: (picture, order) => this.#give(picture, order, startTrace()),
      telling: () => this.#brakePorts(),
      log: (level, cluster, text, err) => ctx.log[level]({ cluster, err }, `${cluster}: ${text}`),
    });
  }

  async start(): Promise<void> {
    const { bus } = this.#ctx;
    this.#stops.push(
      bus.onLoss((loss) => this.#tellLoss(loss)),
      await bus.bucket("baton_state").watch({
        whenLost: "tell",
        onChange: (cluster, state, revision) => {
          this.#feed(
            cluster,
            { type: "state", state, revision: state === null ? 0 : revision, nowUnixMs: Date.now() },
            null,
          );
          for (const wake of this.#waiting.get(cluster) ?? []) wake();
          void this.#refreshSequence(cluster);
        },
        onReady: () => {
          this.#known.state = true;
          for (const cluster of this.#pictures.keys()) this.#feed(cluster, { type: "state-known" }, null);
        },
      }),
      await bus.bucket("baton_vouch").watch({
        whenLost: "put-back",
        onChange: (key, vouch, revision) => {
          const [cluster = "", node = ""] = key.split(".");
          this.#feed(cluster, { type: "vouch", node, vouch, revision }, null);
        },
      }),
      await bus.bucket("baton_marks").watch({
        whenLost: "put-back",
        onChange: (cluster, mark, revision) =>
          this.#feed(
            cluster,
            { type: "mark", mark, revision: mark === null ? 0 : revision, decider: this.#ctx.instance },
            null,
          ),
        onReady: () => {
          this.#known.marks = true;
          for (const cluster of this.#pictures.keys()) this.#feed(cluster, { type: "marks-known" }, null);
        },
      }),
      await bus.bucket("baton_brakes").watch({
        whenLost: "put-back",
        onChange: (key, brake) => {
          if (key !== ALL_CLUSTERS) {
            this.#feed(key, { type: "brake", of: "own", brake }, null);
            return this.#hush(key);
          }
          this.#brakeOfAll = brake;
          for (const cluster of this.#pictures.keys())
            this.#feed(cluster, { type: "brake", of: "all", brake }, null);
        },
        onReady: () => {
          this.#known.brakes = true;
          for (const cluster of this.#pictures.keys()) this.#feed(cluster, { type: "brakes-known" }, null);
        },
      }),
      await bus.bucket("baton_plans").watch({
        whenLost: "put-back",
        onChange: (cluster, plan, revision) => this.#planner.learn(cluster, plan, revision),
      }),
      await bus.bucket("baton_clusters").watch({
        whenLost: "put-back",
        onChange: (cluster, declared) => {
          this.#feed(cluster, { type: "declared", declared }, null);
          if (declared !== null) void this.#refreshSequence(cluster);
        },
        onReady: () => {
          this.#known.declared = true;
        },
      }),
      bus.subscribe(MESSAGES.confirm, {}, ({ cluster, operation }, meta) => {
        const judgedMs = this.#judged.get(operation);
        if (judgedMs === undefined) return;
        const judgedAgoMs = performance.now() - judgedMs;
        meta.respond?.({
          cluster,
          operation,
          decider: this.#ctx.instance,
          judgedAgoMs,
        } satisfies ConfirmReply);
      }),
      bus.subscribe(MESSAGES.sample, {}, (sample, meta) => {
        // Samples of clusters that nobody declared are of no use and would be kept for ever.
        if (this.#pictures.get(sample.cluster)?.declared?.nodes[sample.node] === undefined) return;
        this.#feed(sample.cluster, { type: "sample", sample }, meta.traceparent);
      }),
      await bus.serve("status", async ({ cluster }) => {
        if (cluster !== null) requireKnown(cluster, this.#declared(), "status");
        const now = performance.now();
        return {
          decider: this.#ctx.instance,
          clusters: [...this.#pictures.values()]
            .filter((p) => p.declared !== null && (cluster === null || p.cluster === cluster))
            .map((p) => ({
              ...viewCluster(p, this.#ctx.instance, now, this.#settings),
              planned: this.#planner.planned(p.cluster),
            })),
        };
      }),
      await bus.serve("switchover", async (request) => {
        requireKnown(request.cluster, this.#declared(), "switchover");
        const picture = await this.#lookedSince(request.cluster);
        const { reply, order } = planOrder(picture, request, performance.now(), this.#settings);
        return { ...reply, operation: order === null ? null : await this.#giveForPerson(picture, order) };
      }),
      await bus.serve("failover", async (request) => {
        requireKnown(request.cluster, this.#declared(), "failover");
        const picture = await this.#lookedSince(request.cluster);
        const { reply, order } = planFailoverByPerson(picture, request, performance.now(), this.#settings);
        return { ...reply, operation: order === null ? null : await this.#giveForPerson(picture, order) };
      }),
      await bus.serve("plan", async (request) => {
        requireKnown(request.cluster, this.#declared(), "switchover --at");
        const picture = await this.#lookedSince(request.cluster);
        return plan(request, picture, performance.now(), this.#settings, this.#planPorts());
      }),
      await bus.serve("rebuild", async (request) => {
        requireKnown(request.cluster, this.#declared(), "rebuild");
        const picture = this.#pictures.get(request.cluster) as Picture;
        const { order, donor } = planRebuild(picture, request, performance.now(), this.#settings);
        return { operation: await this.#giveForPerson(picture, order), node: request.node, from: donor };
      }),
      await bus.serve("repair", async (request) => {
        requireKnown(request.cluster, this.#declared(), "repair");
        const picture = await this.#lookedSince(request.cluster);
        const { reply, order } = planRepair(picture, request, performance.now(), this.#settings);
        return { ...reply, operation: order === null ? null : await this.#giveForPerson(picture, order) };
      }),
      await bus.serve("forget", async (request) => {
        requireKnown(request.cluster, this.#declared(), "forget");
        const picture = await this.#lookedSince(request.cluster);
        const { reply, order } = planForget(picture, request, performance.now(), this.#settings);
        return { ...reply, operation: order === null ? null : await this.#giveForPerson(picture, order) };
      }),
      await bus.serve("abort", (request) => {
        requireKnown(request.cluster, this.#declared(), "abort");
        const states = bus.bucket("baton_state");
        return abort(request, {
          nowUnixMs: () => Date.now(),
          get: (cluster) => states.get(cluster),
          update: (cluster, state, revision) => states.update(cluster, state, revision),
        });
      }),
      await bus.serve("maintenance", async (request) => {
        const reply = await maintenance(request, this.#brakePorts());
        return { ...reply, running: this.#pictures.get(request.cluster)?.state?.value.operation?.id ?? null };
      }),
      await bus.serve("downtime", (request) => {
        requireKnown(request.cluster, this.#declared(), "downtime");
        const picture = this.#pictures.get(request.cluster) as Picture;
        return downtime(request, picture, performance.now(), this.#settings, this.#brakePorts());
      }),
      await bus.serve("pause", (request) => pause(request, this.#brakePorts())),
      await bus.serve("resume", (request) => resume(request, this.#brakePorts())),
      await bus.serve("ack", (request) => ack(request, this.#brakePorts())),
    );
    const timer = setInterval(() => {
      for (const cluster of this.#pictures.keys()) {
        this.#feed(cluster, { type: "tick", nowUnixMs: Date.now() }, null);
        this.#hush(cluster);
        this.#planner.tick(this.#pictures.get(cluster) as Picture);
      }
    }, TICK_MS);
    this.#stops.push(() => clearInterval(timer));
  }

  ready(): { ok: boolean; why?: string } {
    return this.#known.state && this.#known.declared && this.#known.brakes && this.#known.marks
      ? { ok: true }
      : { ok: false, why: "the clusters, their states, marks and brakes have not been read from NATS yet" };
  }

  /** @throws BatonError E_NO_ANSWER before the declarations have been read: a name that is not known yet is not unknown. */
  #declared(): string[] {
    if (!this.#known.declared)
      throw new BatonError("E_NO_ANSWER", {
        place: this.#ctx.instance,
        message: "It has only just started and has not read the clusters from NATS yet.",
        remedy: "Ask again in a moment.",
      });
    return [...this.#pictures.values()].filter((p) => p.declared !== null).map((p) => p.cluster);
  }

  async stop(): Promise<void> {
    for (const timer of [...this.#alerts.values(), ...this.#lookingAgain.values()]) clearTimeout(timer);
    for (const stop of this.#stops.reverse()) await stop();
  }

  #feed(cluster: string, input: Input, trace: string | null): void {
    const now = performance.now();
    let before = this.#pictures.get(cluster);
    if (before === undefined) {
      before = {
        ...emptyPicture(cluster, now),
        stateKnown: this.#known.state,
        brakes: { own: null, all: this.#brakeOfAll },
        brakesKnown: this.#known.brakes,
        mark: this.#known.marks ? { value: null, revision: 0 } : null,
      };
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
        if (effect.againMs !== undefined) this.#lookAgain(cluster, effect.againMs);
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
      case "advise":
        log.info({ cluster, code: effect.advice.code }, `${effect.advice.title}: ${effect.advice.summary}`);
        this.#alert(
          adviceAlert(this.#pictures.get(cluster), effect.advice, instance, Date.now()),
          traceparent,
        );
        return;
      case "flapping":
        log.warn({ cluster }, `${cluster}: flapping: ${effect.reason}`);
        this.#alert(flapAlert(this.#pictures.get(cluster), effect.reason, instance, Date.now()), traceparent);
        return;
      case "repair-limit":
        log.warn(
          { cluster, node: effect.node },
          `${cluster}: repair-limit: ${effect.code} on ${effect.node}`,
        );
        this.#alert(repairLimitAlert(this.#pictures.get(cluster), effect, instance, Date.now()), traceparent);
        return;
      case "set-aside-ended":
        void tellEnded(cluster, effect.ended, this.#brakePorts()).catch((error: unknown) =>
          log.error({ err: error, cluster }, `${cluster}: the end of a window could not be told`),
        );
        return;
      case "vouch":
        void this.#vouch(cluster, effect.vouch, effect.revision).catch((error: unknown) =>
          log.warn({ err: error, cluster }, "the vouch ledger could not be written; it is tried again"),
        );
        return;
      case "mark":
        void bus
          .bucket("baton_marks")
          .update(cluster, effect.mark, effect.revision)
          .catch((error: unknown) =>
            log.warn({ err: error, cluster }, "the high-water mark could not be written; it is tried again"),
          );
        return;
      case "resume":
        void this.#resume(cluster, effect, traceparent);
        return;
      case "put-back":
        void this.#putBack(cluster, effect, traceparent);
        return;
      case "order":
        void this.#order(cluster, effect.order, traceparent);
    }
  }

  /** Whoever notices a death a moment later than the others says so when asked, and not before its own next look. */
  #lookAgain(cluster: string, afterMs: number): void {
    if (this.#lookingAgain.has(cluster)) return;
    const timer = setTimeout(() => {
      this.#lookingAgain.delete(cluster);
      this.#feed(cluster, { type: "tick", nowUnixMs: Date.now() }, null);
    }, afterMs);
    this.#lookingAgain.set(cluster, timer);
  }

  /** Behind the entry that was judged. Another decider that was first may have seen more: then its entry is judged. */
  async #vouch(cluster: string, vouch: Vouch, revision: number): Promise<void> {
    const ledger = this.#ctx.bus.bucket("baton_vouch");
    const key = `${cluster}.${vouch.node}`;
    const written =
      revision === 0 ? await ledger.create(key, vouch) : await ledger.update(key, vouch, revision);
    const now = written === null ? await ledger.get(key) : { value: vouch, revision: written };
    const { node } = vouch;
    if (now !== null)
      this.#feed(cluster, { type: "vouch", node, vouch: now.value, revision: now.revision }, null);
  }

  async #resume(
    cluster: string,
    { state, revision }: Extract<Effect, { type: "resume" }>,
    traceparent: string,
  ): Promise<void> {
    const { log, instance } = this.#ctx;
    const known = this.#pictures.get(cluster)?.statuses ?? new Map();
    const nodes = Object.keys(this.#pictures.get(cluster)?.declared?.nodes ?? {});
    const statuses = Object.fromEntries(nodes.map((n) => [n, known.get(n)?.status ?? null]));
    try {
      const ports = this.#ports(traceparent);
      const again = await giveAgain(state, revision, instance, statuses, Date.now(), ports);
      if (again !== null)
        log.warn(
          { cluster, operation: again },
          `${cluster}: nobody runs ${again}: its intent is given again`,
        );
    } catch (error) {
      log.error({ err: error, cluster }, `${cluster}: an intent could not be given again; it is tried again`);
    }
  }

  /** NATS has lost the state or was set back, and what this decider remembers is what the nodes carry. */
  async #putBack(
    cluster: string,
    { state, over, found }: Extract<Effect, { type: "put-back" }>,
    traceparent: string,
  ): Promise<void> {
    const { bus, log, instance } = this.#ctx;
    try {
      const revision = await bus.bucket("baton_state").update(cluster, state, over);
      // Another decider was first.
      if (revision === null) return;
      const said = {
        cluster,
        node: state.primary,
        epoch: state.epoch,
        operation: null,
        summary: `${found}. The nodes carry epoch ${state.epoch}, and ${instance} remembers that state: it has put it back.`,
      };
      log.error({ cluster, epoch: state.epoch, revision }, `${cluster}: state-put-back: ${said.summary}`);
      const about = `${cluster}.state-put-back.${state.epoch}.${revision}`;
      const next = `baton status ${cluster}`;
      await bus.append(
        MESSAGES.event,
        {
          ...said,
          type: "state-put-back",
          kind: null,
          outcome: null,
          code: "state-went-back",
          primary: null,
          previous: null,
          next,
          detail: {},
        },
        { traceparent, msgId: about },
      );
      this.#alert(
        {
          ...said,
          id: about,
          severity: "critical",
          code: "state-put-back",
          title: `${cluster}: NATS had lost the cluster's state, it has been put back`,
          action: `Find out who deleted or restored NATS's data; what else it held may be old: ${next}, and baton apply for the declarations.`,
          source: instance,
          atUnixMs: Date.now(),
        },
        traceparent,
      );
    } catch (error) {
      log.error({ err: error, cluster }, `${cluster}: its state could not be put back; it is tried again`);
    }
  }

  /** Each decider has noticed it: the stream of alerts keeps one. */
  #tellLoss(loss: Loss): void {
    const nowUnixMs = Date.now();
    const trace = startTrace();
    for (const picture of this.#pictures.values()) {
      if (picture.declared === null) continue;
      const alert = lossAlert(picture, loss, this.#ctx.instance, nowUnixMs);
      this.#alert(alert, trace);
      const { cluster, epoch, summary } = alert;
      const told = {
        type: "nats-lost-data" as const,
        operation: null,
        kind: null,
        outcome: null,
        code: null,
      };
      const empty = { node: null, primary: null, previous: null, detail: {} };
      void this.#ctx.bus
        .append(
          MESSAGES.event,
          { ...told, ...empty, cluster, epoch, summary, next: `baton status ${cluster}` },
          { traceparent: trace, msgId: `event.${alert.id}` },
        )
        .catch((error: unknown) => this.#ctx.log.error({ err: error }, "an event could not be stored"));
    }
  }

  /** Alerts when the diagnosis has stood for its time; one that passes before that is not told. */
  #alertLater(cluster: string, d: Diagnosis, traceparent: string): void {
    clearTimeout(this.#alerts.get(cluster));
    const tell = () => {
      const picture = this.#pictures.get(cluster);
      const heldBack = picture === undefined ? null : heldBackNow(picture, performance.now());
      const left = picture === undefined ? null : leftToPerson(picture, d.code, d.node, performance.now());
      const alert = alertFor(d, { faultWasTold: this.#told.has(cluster), heldBack, left }, Date.now());
      if (alert === null) return;
      if (d.code === "healthy") this.#told.delete(cluster);
      else this.#told.set(cluster, d);
      this.#alert(alert, traceparent);
    };
    const afterMs = alertAfterMs(d, this.#hushed.has(cluster));
    if (afterMs === 0) tell();
    else if (afterMs !== null) this.#alerts.set(cluster, setTimeout(tell, afterMs));
  }

  /** A maintenance that begins or ends changes what is told of the diagnosis that stands, if it has not been told. */
  #hush(cluster: string): void {
    const picture = this.#pictures.get(cluster);
    if (picture === undefined) return;
    const inMaintenance = maintenanceNow(picture, performance.now()) !== null;
    if (inMaintenance === this.#hushed.has(cluster)) return;
    if (inMaintenance) this.#hushed.add(cluster);
    else this.#hushed.delete(cluster);
    const { diagnosis } = picture;
    if (diagnosis !== null && this.#told.get(cluster) !== diagnosis)
      this.#alertLater(cluster, diagnosis, startTrace());
  }

  #alert(alert: Alert | null, traceparent: string): void {
    if (alert === null) return;
    const { bus, log } = this.#ctx;
    void bus
      .append(MESSAGES.alert, alert, { traceparent, msgId: alert.id })
      .catch((error: unknown) => log.error({ err: error, alert: alert.id }, "an alert could not be stored"));
  }

  async #give(picture: Picture, order: Order, traceparent: string): Promise<OrderResult> {
    const { cluster } = picture;
    const fault = epochFaultNow(picture, performance.now());
    if (fault !== null) return { ok: false, why: `${fault.why} (${fault.code})` };
    if (order.kind === "failover") this.#judge(operationName(cluster, order));
    return giveOrder(
      cluster,
      order,
      this.#ctx.instance,
      new Map([...picture.statuses].map(([node, known]) => [node, known.status])),
      Object.keys(picture.declared?.nodes ?? {}),
      picture.history.executed,
      this.#sequences.get(cluster) ?? (await this.#refreshSequence(cluster)),
      Date.now(),
      this.#ports(traceparent),
    );
  }

  #judge(operation: string): void {
    this.#judged.delete(operation);
    this.#judged.set(operation, performance.now());
    for (const oldest of this.#judged.keys()) {
      if (this.#judged.size <= MOST_JUDGED) break;
      this.#judged.delete(oldest);
    }
  }

  /** The picture once every node has been looked at since its state last changed, or as it is after a second. */
  async #lookedSince(cluster: string): Promise<Picture> {
    const missing = () => {
      const { declared, state, statuses } = this.#pictures.get(cluster) as Picture;
      return Object.keys(declared?.nodes ?? {}).filter(
        (node) => (statuses.get(node)?.atMs ?? Number.NEGATIVE_INFINITY) <= (state?.sinceMs ?? 0),
      );
    };
    const until = performance.now() + LOOKED_WITHIN_MS;
    if (missing().length > 0)
      this.#carryOut(cluster, { type: "look-now", reason: "a person asks" }, startTrace());
    while (missing().length > 0 && performance.now() < until)
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    return this.#pictures.get(cluster) as Picture;
  }

  /** What a person asks for, by its name. @throws BatonError E_LOCKED when another operation has the cluster */
  async #giveForPerson(picture: Picture, order: Order): Promise<string> {
    const { cluster } = picture;
    const fault = epochFaultNow(picture, performance.now());
    if (fault !== null)
      throw new BatonError("E_CONFLICT", {
        place: `${order.kind} ${cluster}`,
        message: `Not ordered (${fault.code}): ${fault.why}.`,
        remedy: `Let the state and the data fit first: baton recover ${cluster}`,
      });
    const trace = startTrace();
    let result = await this.#give(picture, order, trace);
    // The last operation holds the lock until all that it has told is stored.
    for (let tries = 0; !result.ok && tries < RELEASE_TRIES; tries++) {
      await this.#stateMoves(cluster, order.stateRevision, RELEASE_EVERY_MS);
      if (this.#pictures.get(cluster)?.state?.revision !== order.stateRevision) break;
      result = await this.#give(picture, order, trace);
    }
    void this.#refreshSequence(cluster);
    if (!result.ok)
      throw new BatonError("E_LOCKED", {
        place: `${order.kind} ${cluster}`,
        message: `Not ordered: ${result.why}.`,
        remedy: "Wait until that has ended; `baton status` shows it.",
      });
    this.#ctx.log.info(
      { cluster, operation: result.operation },
      `${cluster}: ${order.kind} ordered by a person: ${order.reason}`,
    );
    return result.operation;
  }

  async #order(cluster: string, order: Order, traceparent: string): Promise<void> {
    const { log } = this.#ctx;
    const picture = this.#pictures.get(cluster);
    if (picture === undefined) return;
    try {
      const result = await this.#give(picture, order, traceparent);
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

  #brakePorts(): BrakePorts {
    const { bus, instance } = this.#ctx;
    const brakes = bus.bucket("baton_brakes");
    const traceparent = startTrace();
    return {
      decider: instance,
      nowUnixMs: () => Date.now(),
      declared: () => this.#declared(),
      state: async (cluster) => (await bus.bucket("baton_state").get(cluster))?.value ?? null,
      get: (key) => brakes.get(key),
      update: (key, brake, revision) => brakes.update(key, brake, revision),
      event: async (event, id) => void (await bus.append(MESSAGES.event, event, { traceparent, msgId: id })),
      alert: async (alert) => this.#alert(alert, traceparent),
    };
  }

  #planPorts(): PlanPorts {
    const plans = this.#ctx.bus.bucket("baton_plans");
    return {
      ...this.#brakePorts(),
      planned: (cluster) => plans.get(cluster),
      create: (made) => plans.create(made.cluster, made),
      remove: (cluster, revision) => plans.remove(cluster, revision),
    };
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
      now: () => performance.now(),
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
