/** The executor's shell: takes intents from the stream, keeps the warm copies, runs one operation a cluster at a time. */
import { type Consumer, LeftForLater, LeftToAnother } from "@baton/bus";
import {
  ALL_CLUSTERS,
  type Brake,
  type ClusterState,
  ConfirmReply,
  type DeclaredCluster,
  type Intent,
  MESSAGES,
  type Vouch,
} from "@baton/contracts";
import { type Dialect, openSession, type Session } from "@baton/mysql";
import type { Brakes } from "@baton/protocol";
import type { ServiceContext } from "@baton/runtime";
import { faultPoint } from "./fault-point.ts";
import { SessionHand } from "./hand.ts";
import { Lease } from "./lease.ts";
import type { Operation, Ports } from "./operation.ts";
import { Patience } from "./patience.ts";
import { runIntent } from "./run.ts";
import { type OpenSession, WarmSessions } from "./warm-sessions.ts";

/** A dead executor's intent is delivered to another after this time; a running one says so three times as often. */
const ACK_WAIT_MS = 5_000;
/** Operations of different clusters side by side. */
const CONCURRENCY = 16;

export type WorkerContext = Pick<ServiceContext, "bus" | "log" | "instance" | "access">;

/** Long enough for what is only to be practised. */
const WARM_MS = 5;

export class Worker {
  readonly #ctx: WorkerContext;
  readonly #declared = new Map<string, DeclaredCluster>();
  readonly #states = new Map<string, { value: ClusterState; revision: number }>();
  readonly #patience = new Patience();
  readonly #vouches = new Map<string, Map<string, Vouch>>();
  readonly #brakes = new Map<string, Brake>();
  #brakesKnown = false;
  readonly #running = new Map<string, Promise<void>>();
  readonly #operations = new Map<string, Operation>();
  readonly #sessions: WarmSessions;
  readonly #stops: (() => void | Promise<void>)[] = [];
  #consumer: Consumer | null = null;

  /** `open`: how a node is connected to; the simulation has its own. */
  constructor(ctx: WorkerContext, open: OpenSession = openSession) {
    this.#ctx = ctx;
    this.#sessions = new WarmSessions({
      open,
      name: `baton-executor ${ctx.instance}`,
      access: (cluster) => ctx.access(cluster),
      onNote: (cluster, node, text) => ctx.log.info({ cluster, node }, `${cluster}.${node}: ${text}`),
    });
  }

  async start(): Promise<void> {
    const { bus } = this.#ctx;
    this.#stops.push(
      await bus.bucket("baton_clusters").watch({
        onChange: (cluster, declared) => {
          if (declared === null) this.#declared.delete(cluster);
          else this.#declared.set(cluster, declared);
          this.#sessions.declare(cluster, declared);
        },
      }),
      await bus.bucket("baton_state").watch({
        whenLost: "tell",
        onChange: (cluster, value, revision) => {
          if (value === null) this.#states.delete(cluster);
          else this.#states.set(cluster, { value, revision });
          this.#patience.saw(cluster, value, performance.now());
          const { id = "", aborted } = value?.operation ?? {};
          const running = this.#operations.get(id);
          // One that was begun by its end has the word in it already.
          if (aborted !== undefined && running?.state.operation?.aborted === undefined)
            running?.supersede("aborted", `${aborted.by} has ended it: ${aborted.reason}`);
        },
      }),
      await bus.bucket("baton_brakes").watch({
        onChange: (key, brake) => {
          if (brake === null) this.#brakes.delete(key);
          else this.#brakes.set(key, brake);
        },
        onReady: () => {
          this.#brakesKnown = true;
        },
      }),
      await bus.bucket("baton_vouch").watch({
        onChange: (key, vouch) => {
          const [cluster = "", node = ""] = key.split(".");
          const ofCluster = this.#vouches.get(cluster) ?? new Map<string, Vouch>();
          this.#vouches.set(cluster, ofCluster);
          if (vouch === null) ofCluster.delete(node);
          else ofCluster.set(node, vouch);
        },
      }),
    );
    await this.#warmLocks();
    // Nobody knows of it; the first question of its kind takes longer than the next.
    await this.#judgedAgoMs({ cluster: "rehearsal", operation: `rehearsal-${this.#ctx.instance}` }, WARM_MS);
    this.#consumer = await bus.consume(
      [MESSAGES.intent],
      {
        stream: "BATON_INTENTS",
        durable: "executor",
        ackWaitMs: ACK_WAIT_MS,
        concurrency: CONCURRENCY,
        deliver: "all",
      },
      async (_message, intent, meta) => this.#take(intent as Intent, meta.traceparent, meta.redelivered),
    );
  }

  /** The way to the lock bucket, walked once before it matters. */
  async #warmLocks(): Promise<void> {
    const locks = this.#ctx.bus.bucket("baton_locks");
    const key = `rehearsal-${this.#ctx.instance}`;
    const holder = {
      operation: key,
      kind: "failover" as const,
      holder: this.#ctx.instance,
      sinceUnixMs: Date.now(),
    };
    const revision = await locks.create(key, holder);
    if (revision === null) return;
    await locks.remove(key, (await locks.update(key, holder, revision)) ?? revision);
  }

  ready(): { ok: boolean; why?: string } {
    return this.#consumer === null ? { ok: false, why: "not taking intents yet" } : { ok: true };
  }

  async stop(): Promise<void> {
    await this.#consumer?.stop();
    await Promise.allSettled(this.#running.values());
    for (const stop of this.#stops.reverse()) await stop();
    await this.#sessions.stop();
  }

  /** The same intent may be delivered again while it still runs here, after NATS was away: it is run once. */
  async #take(intent: Intent, traceparent: string | null, redelivered: boolean): Promise<void> {
    const already = this.#running.get(intent.operation);
    if (already !== undefined) return already;
    const run = this.#run(intent, traceparent, redelivered).finally(() =>
      this.#running.delete(intent.operation),
    );
    this.#running.set(intent.operation, run);
    return run;
  }

  async #run(intent: Intent, traceparent: string | null, redelivered: boolean): Promise<void> {
    const { bus, log, instance } = this.#ctx;
    const declared =
      this.#declared.get(intent.cluster) ?? (await bus.bucket("baton_clusters").get(intent.cluster))?.value;
    // Dropped, the operation that it began would stand for ever; and what was taken back may be declared again.
    if (declared === undefined)
      throw new LeftForLater(
        `${intent.cluster} is not declared, so ${intent.operation} cannot go on: baton apply -c baton.yaml declares it`,
      );
    const locks = bus.bucket("baton_locks");
    if (redelivered) {
      // An operation that gave way to another is gone on with only when that one is over.
      const holder = (await locks.get(intent.cluster))?.value;
      if (holder !== undefined && holder.operation !== intent.operation)
        throw new LeftToAnother(`${intent.cluster} is locked by ${holder.operation}`);
    }
    let running: Operation | null = null;
    const lease = new Lease(
      intent.cluster,
      { operation: intent.operation, kind: intent.kind, holder: instance, sinceUnixMs: Date.now() },
      intent.lockRevision,
      locks,
      (by) => running?.supersede("lock-lost", `the cluster's lock passed to ${by}`),
    );
    lease.begin();
    const beganMs = performance.now();
    try {
      const { entry, operation, left } = await runIntent(
        intent,
        declared,
        this.#states.get(intent.cluster) ?? null,
        this.#ports(traceparent),
        redelivered,
        (op) => {
          running = op;
          this.#operations.set(intent.operation, op);
        },
      );
      // When it was left, the last to end is another.
      const last = left ? null : operation?.state.last;
      log.info(
        {
          cluster: intent.cluster,
          operation: intent.operation,
          entry,
          outcome: last?.outcome,
          code: last?.code,
          tookMs: Math.round(performance.now() - beganMs),
        },
        entry === "too-late" || entry === "ended"
          ? `${intent.operation}: nothing to do, it is ${entry === "ended" ? "ended already" : "too late"}`
          : `${intent.operation}: ${last?.outcome ?? "left to another"}${last?.code ? ` (${last.code})` : ""}`,
      );
      if (left) throw new LeftToAnother(`${intent.operation} passed to another`);
    } catch (error) {
      if (error instanceof LeftToAnother) throw error;
      log.error(
        { err: error, operation: intent.operation },
        `${intent.operation}: interrupted; it is taken up again`,
      );
      throw error;
    } finally {
      this.#operations.delete(intent.operation);
      await lease.end();
    }
  }

  async #judgedAgoMs(
    { cluster, operation }: Pick<Intent, "cluster" | "operation">,
    withinMs: number,
  ): Promise<number | null> {
    const { bus, instance } = this.#ctx;
    const question = { cluster, operation, executor: instance };
    const how = { maxWaitMs: withinMs, maxReplies: 1 };
    const [answer] = await bus.request(MESSAGES.confirm, question, ConfirmReply, how);
    return answer?.judgedAgoMs ?? null;
  }

  /** The watched copy, so that no failover waits for it; asked for only by an executor that has just started. */
  async #brakesOf(cluster: string): Promise<Brakes> {
    if (this.#brakesKnown)
      return { own: this.#brakes.get(cluster) ?? null, all: this.#brakes.get(ALL_CLUSTERS) ?? null };
    const bucket = this.#ctx.bus.bucket("baton_brakes");
    const [own, all] = await Promise.all([bucket.get(cluster), bucket.get(ALL_CLUSTERS)]);
    return { own: own?.value ?? null, all: all?.value ?? null };
  }

  async #session<T>(
    cluster: string,
    node: string,
    connectMs: number,
    use: (session: Session, dialect: Dialect, giveBack: (session: Session) => void) => T | Promise<T>,
  ): Promise<T> {
    const { session, dialect } = await this.#sessions.take(cluster, node, connectMs);
    try {
      return await use(session, dialect, (s) => this.#sessions.giveBack(cluster, node, s));
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  #ports(traceparent: string | null): Ports {
    const { bus, log, instance } = this.#ctx;
    const states = bus.bucket("baton_state");
    const stored = (what: string) => (error: unknown) =>
      log.error({ err: error }, `a ${what} could not be stored`);
    return {
      executor: instance,
      passing: faultPoint,
      now: () => performance.now(),
      nowUnixMs: () => Date.now(),
      standingMs: (state) => this.#patience.standingMs(state, performance.now()),
      judgedAgoMs: (intent, withinMs) => this.#judgedAgoMs(intent, withinMs),
      readState: (cluster) => states.get(cluster),
      writeState: (cluster, state, revision) =>
        revision === 0 ? states.create(cluster, state) : states.update(cluster, state, revision),
      takeHand: (cluster, node, connectMs) =>
        this.#session(cluster, node, connectMs, (session, dialect, giveBack) =>
          SessionHand.take(node, dialect, session, connectMs, giveBack),
        ),
      takeFreeHand: (cluster, node, connectMs) =>
        this.#session(cluster, node, connectMs, (session, dialect, giveBack) =>
          SessionHand.takeFree(node, dialect, session, connectMs, giveBack),
        ),
      openHelper: (cluster, hand, connectMs) =>
        this.#session(cluster, hand.node, connectMs, (session) =>
          SessionHand.second(hand, session, connectMs),
        ),
      openLook: (cluster, node, connectMs) =>
        this.#session(cluster, node, connectMs, (session, dialect) =>
          SessionHand.looking(node, dialect, session),
        ),
      mark: async (cluster) => (await bus.bucket("baton_marks").get(cluster))?.value ?? null,
      vouches: (cluster) => this.#vouches.get(cluster) ?? new Map(),
      brakes: (cluster) => this.#brakesOf(cluster),
      access: (cluster) => this.#ctx.access(cluster),
      publishStep: (step) =>
        bus.append(MESSAGES.step, step, { traceparent }).then(() => undefined, stored("step")),
      publishEvent: (event) =>
        bus
          .append(MESSAGES.event, event, {
            traceparent,
            // Of progress each report is news.
            msgId: `${event.operation}.${event.type}.${event.node ?? "-"}.${event.type === "rebuild-progress" ? Date.now() : event.epoch}`,
          })
          .then(() => undefined, stored("event")),
      keepSalvage: async (part) =>
        void (await bus.bucket("baton_salvage").put(`${part.cluster}.${part.operation}.${part.part}`, part)),
      archiveEvent: (event) =>
        bus
          .append(MESSAGES.event, event, {
            traceparent,
            msgId: `${event.operation}.${event.type}.${instance}`,
          })
          .then(() => undefined),
      publishAlert: (alert) =>
        bus
          .append(MESSAGES.alert, alert, { traceparent, msgId: alert.id })
          .then(() => undefined, stored("alert")),
    };
  }
}
