/** One incident: the real deciders and executors over a model cluster, from calm through its faults to calm again. */
import {
  BUCKETS,
  type ClusterState,
  Config,
  DeclaredCluster,
  type EndedOperation,
  type Mark,
} from "@baton/contracts";
import { Watcher } from "@baton/decider/core";
import { type OpenSession, Worker } from "@baton/executor/core";
import { befall } from "./befall.ts";
import { createBus, type Ears, type SimulatedBus } from "./bus.ts";
import { contains, type Held, textOf } from "./history.ts";
import { Mysqld, PORT } from "./mysqld.ts";
import { Nats } from "./nats.ts";
import { Network } from "./network.ts";
import { helpOut } from "./person.ts";
import {
  deciderName,
  drawPlan,
  drawTails,
  drawWider,
  executorName,
  nodeName,
  type Plan,
  proberName,
} from "./plan.ts";
import type { Plant } from "./plant.ts";
import { Prober } from "./prober.ts";
import { Process } from "./process.ts";
import { type Broken, Promises } from "./promises.ts";
import { Random, seedOf } from "./random.ts";
import { opener } from "./session.ts";
import { follow, Timeline } from "./timeline.ts";
import { unrest } from "./unrest.ts";
import { Writer } from "./writer.ts";

/** So that the tails are drawn from another source than all else. */
const TAILS = 0x7a_11;
const WIDER = 0x31_de;
export const CLUSTER = "shop";
const FIRST_EPOCH = 3;
const INSTALLATION = "here";
/** Transactions that everybody holds from before. */
const BEFORE = 1_000;
/** After everything is healed, all must be as it should again within this time. */
const RECOVER_MS = 120_000;
/**
 * NATS that forgot counts revisions anew, and an order of a revision that was there before has the name of an earlier one: the stream
 * takes it for the same for two minutes.
 */
const RECOVER_FORGOTTEN_MS = 280_000;
const LOOK_MS = 250;
/** Before that Baton's own ways are to be enough, or to have been refused. */
const PERSON_AFTER_MS = 45_000;
const PERSON_EVERY_MS = 15_000;
/** Clients write often for so long after each fault and each change of the state, and now and then otherwise. */
const LIVELY_MS = 250;
const IDLE_MS = 400;
/** It must stay so. */
const STAY_MS = 1_500;

const config = Config.parse({});
/** The model servers let everybody in. */
const ACCESS = { user: "baton", password: "" };

export interface IncidentOptions {
  seed: number;
  incident: number;
  /** A bug that is put between the real code and the model, which the promises must notice. */
  plant?: Plant | undefined;
  onTrace?: ((line: string) => void) | undefined;
  /** Instead of what the seed draws. */
  plan?: Plan | undefined;
}

export interface IncidentResult {
  incident: number;
  broken: Broken[];
  plan: Plan;
  ended: EndedOperation[];
  /** The commands by which a person led it out of what Baton refused. */
  byPerson: string[];
  acknowledged: number;
  events: number;
  /** How long it took, by the model's clock. */
  tookMs: number;
}

export interface RunningProcess {
  process: Process;
  bus: SimulatedBus;
}

export class Incident {
  readonly timeline = new Timeline();
  readonly random: Random;
  readonly plan: Plan;
  readonly network: Network;
  readonly nats: Nats;
  readonly servers: Mysqld[] = [];
  readonly probers: Prober[] = [];
  readonly writers: Writer[] = [];
  readonly promises: Promises;
  readonly deciders = new Map<string, RunningProcess>();
  readonly executors = new Map<string, RunningProcess>();
  readonly ended: EndedOperation[] = [];
  readonly declared: DeclaredCluster;
  readonly #o: IncidentOptions;
  #lively = 0;
  #personMs = 0;
  #recoverMs = RECOVER_MS;
  #lastState!: ClusterState;
  #strangers = 0;
  /** What a person did in the end, by documented commands. */
  readonly byPerson: string[] = [];

  constructor(o: IncidentOptions) {
    this.#o = o;
    this.random = new Random(seedOf(o.seed, o.incident));
    const tails = new Random(seedOf(o.seed ^ TAILS, o.incident));
    const wider = new Random(seedOf(o.seed ^ WIDER, o.incident));
    this.plan = o.plan ?? drawWider(drawTails(drawPlan(this.random), tails), wider);
    const { shape } = this.plan;
    this.network = new Network(this.timeline, this.random, shape);
    const ttlMs = Object.fromEntries(
      Object.entries(BUCKETS).map(([name, b]) => [name, b.ttlS === null ? null : b.ttlS * 1_000]),
    );
    this.nats = new Nats(this.network, { ttlMs, again: shape.again });
    this.promises = new Promises(
      () => this.state,
      () => this.timeline.nowMs,
      (node) => this.#isHarmed(node),
    );
    this.declared = declaredOf(shape.nodes, shape.acks);
    this.timeline.onUncaught = (actor, error) => {
      if (!(actor instanceof Process)) throw error;
      this.uncaught(error);
    };
    this.network.onCut = (from, to) => {
      this.trace(null, `${from} -/-> ${to}`);
      for (const server of this.servers) server.channel.maybeSilent();
    };
  }

  /** As NATS has it, or had it last. */
  get state(): ClusterState {
    return this.#lastState;
  }

  /** Null: NATS has lost it. */
  get stateNow(): ClusterState | null {
    return (this.nats.bucket("baton_state").get(CLUSTER)?.value as ClusterState | undefined) ?? null;
  }

  /** What would have ended the process whose turn it is. */
  uncaught(error: unknown): void {
    const who = this.timeline.current?.name ?? "nobody";
    this.promises.break(
      "no-crash",
      `${who} threw: ${error instanceof Error ? (error.stack ?? error.message) : error}`,
    );
  }

  server(name: string): Mysqld {
    const server = this.servers.find((s) => s.name === name);
    if (server === undefined) throw new Error(`no server ${name}`);
    return server;
  }

  trace(who: string | null, text: string): void {
    this.#o.onTrace?.(`${this.timeline.nowMs.toFixed(2).padStart(10)}  ${(who ?? "").padEnd(11)} ${text}`);
  }

  async run(): Promise<IncidentResult> {
    follow(this.timeline);
    this.#buildCluster();
    const { shape, faults, healMs } = this.plan;
    for (let i = 0; i < shape.deciders; i++) this.startDecider(deciderName(i));
    for (let i = 0; i < shape.executors; i++) this.startExecutor(executorName(i));
    for (let i = 0; i < shape.probers; i++) this.#addProber(i);
    for (let i = 0; i < shape.writers; i++) this.#addWriter(i);
    for (const fault of faults) this.timeline.after(fault.atMs, null, () => befall(this, fault));
    this.timeline.after(healMs, null, () => this.#heal());
    await this.timeline.run();
    return {
      incident: this.#o.incident,
      broken: this.promises.broken,
      plan: this.plan,
      ended: this.ended,
      byPerson: this.byPerson,
      acknowledged: this.promises.acknowledged,
      events: this.timeline.events,
      tookMs: this.timeline.nowMs,
    };
  }

  // ---- what there is at the beginning

  #buildCluster(): void {
    const { shape } = this.plan;
    const base: Held = Array.from({ length: shape.nodes }, (_, i) => (i === 0 ? BEFORE : 0));
    for (let index = 0; index < shape.nodes; index++)
      this.servers.push(
        new Mysqld({
          index,
          name: nodeName(index),
          origins: shape.nodes,
          base,
          network: this.network,
          random: this.random,
          flushMs: shape.flushMs,
          applyMs: shape.applyMs[index] ?? 1,
          relayLogRecovery: shape.relayLogRecovery[index] ?? false,
          outOfOrder: shape.outOfOrder?.[index] ?? false,
          gaps: shape.outOfOrder?.some(Boolean) ?? false,
          byAddress: (host, port) =>
            port === PORT ? (this.servers.find((s) => s.host === host) ?? null) : null,
          onOpened: (server) => this.promises.opened(server),
          onHandless: (server, from, statement) =>
            this.promises.break(
              "one-pair-of-hands",
              `${from.host} changed ${server.name} without its lock: ${JSON.stringify(statement)}`,
            ),
          trace: (server, text) => this.trace(server.name, text),
          heard:
            this.#o.onTrace === undefined
              ? undefined
              : (server, from, sql) => this.trace(server.name, `${from.host}: ${shorten(sql)}`),
        }),
      );
    const [primary, ...replicas] = this.servers as [Mysqld, ...Mysqld[]];
    this.nats.bucket("baton_clusters").put(CLUSTER, this.declared, null);
    this.nats.bucket("baton_state").put(
      CLUSTER,
      {
        cluster: CLUSTER,
        epoch: FIRST_EPOCH,
        primary: primary.name,
        primaryUuid: primary.uuid,
        installation: INSTALLATION,
        phase: "steady",
        operation: null,
        last: null,
        quarantined: [],
        failovers: [],
      } satisfies ClusterState,
      null,
    );
    this.#lastState = this.stateNow as ClusterState;
    // The cluster has been watched for longer than an incident shows.
    this.nats.bucket("baton_marks").put(
      CLUSTER,
      {
        cluster: CLUSTER,
        epoch: FIRST_EPOCH,
        primary: primary.name,
        primaryUuid: primary.uuid,
        executed: textOf(primary.executed),
        durability: { proven: true, acks: shape.acks, why: "seen before", sinceUnixMs: 0 },
        decider: "decider-0",
      } satisfies Mark,
      null,
    );
    for (const server of this.servers)
      server.row = {
        installation: INSTALLATION,
        cluster: CLUSTER,
        epoch: FIRST_EPOCH,
        primaryUuid: primary.uuid,
      };
    primary.acks = shape.acks;
    primary.semiSource = true;
    primary.setReadOnly("read_only", false);
    for (const replica of replicas) {
      replica.semiReplica = true;
      replica.channel.change(primary.host, PORT, true);
      replica.channel.setApplier(true);
      replica.channel.startReceiver();
    }
    const changed = () => {
      const state = this.stateNow;
      if (state !== null) this.#stateChanged(state);
    };
    this.nats.bucket("baton_state").watches.add({ bucket: "baton_state", changed, forgot: changed });
  }

  #stateChanged(state: ClusterState): void {
    this.#lastState = state;
    this.enliven();
    this.promises.wrote(state);
    this.trace(
      "state",
      `${state.phase}@${state.epoch} primary ${state.primary}${state.operation === null ? "" : ` ${state.operation.id} by ${state.operation.executor}`}${state.quarantined.length === 0 ? "" : ` quarantined ${state.quarantined}`}${state.operation === null && state.last !== null ? ` after ${state.last.id}: ${state.last.outcome} ${state.last.code ?? ""}` : ""}`,
    );
    if (state.operation === null && state.last !== null && this.ended.at(-1)?.id !== state.last.id)
      this.ended.push(state.last);
  }

  startDecider(name: string): void {
    const { process, bus } = this.#newProcess(name, "decider");
    this.deciders.set(name, { process, bus });
    const watcher = new Watcher({ bus, log: this.#log(name) as never, instance: name, config });
    this.timeline.after(this.random.between(0, 5), process, () => this.#began(process, watcher.start()));
  }

  startExecutor(name: string): void {
    const { process, bus } = this.#newProcess(name, "executor");
    this.executors.set(name, { process, bus });
    const open = opener(process, this.network, (host, port) =>
      port === PORT ? (this.servers.find((s) => s.host === host) ?? null) : null,
    ) as OpenSession;
    const { plant } = this.#o;
    const worker = new Worker(
      {
        bus: plant?.bus?.(bus, open, (node) => ({ host: node, port: PORT }), ACCESS) ?? bus,
        log: this.#log(name) as never,
        instance: name,
        access: () => ACCESS,
      },
      plant?.open?.(open) ?? open,
    );
    this.timeline.after(this.random.between(0, 5), process, () => this.#began(process, worker.start()));
  }

  /** A service that cannot start ends, and is started again. */
  #began(process: Process, start: Promise<void>): void {
    start.catch((error: unknown) => {
      this.trace(process.name, `could not start: ${error instanceof Error ? error.message : error}`);
      process.kill(false);
      this.timeline.after(1_000, null, () => this.restart(process));
    });
  }

  restart(process: Process): void {
    if (!process.down) return;
    const of = process.service === "decider" ? this.deciders : this.executors;
    if (of.get(process.name)?.process !== process) return;
    this.trace(process.name, "starts again");
    if (process.service === "decider") this.startDecider(process.name);
    else this.startExecutor(process.name);
  }

  #newProcess(name: string, service: Process["service"]): RunningProcess {
    const process = new Process(name, service, name, this.timeline);
    return { process, bus: createBus(process, this.nats, this.#ears) };
  }

  readonly #ears: Ears = {
    probe: (process) => {
      for (const prober of this.probers)
        this.network.datagram(process.host, prober.o.host, prober.actor, () => prober.lookNow());
    },
    ordered: (process, intent, stored) => {
      this.trace(process.name, `orders ${intent.operation}${stored ? `: ${intent.reason}` : ": conflict"}`);
      if (stored) this.promises.ordered(intent);
    },
    step: (s) => this.trace(s.executor, `${s.kind} ${s.step} ${s.outcome} ${s.code ?? ""}: ${s.summary}`),
    event: () => undefined,
    alert: () => undefined,
  };

  #log(name: string) {
    const none = () => undefined;
    if (this.#o.onTrace === undefined) return { debug: none, info: none, warn: none, error: none };
    const say = (fields: { err?: unknown }, text: string) =>
      this.trace(name, `${text}${fields.err instanceof Error ? ` (${fields.err.message})` : ""}`);
    return { debug: none, info: say, warn: say, error: say };
  }

  #addProber(index: number): void {
    this.probers.push(
      new Prober({
        name: proberName(index),
        region: index === 0 ? "eu" : "us",
        host: proberName(index),
        cluster: CLUSTER,
        network: this.network,
        servers: this.servers,
        publish: (sample) => {
          if (!this.nats.up) return;
          for (const { bus } of this.deciders.values()) bus.sample(sample);
        },
      }),
    );
  }

  #addWriter(index: number): void {
    const { thinkMs } = this.plan.shape;
    this.writers.push(
      new Writer({
        name: `writer-${index + 1}`,
        host: "clients",
        network: this.network,
        servers: this.servers,
        // Between faults and operations nothing new is learned from a write.
        thinkMs: () => (this.timeline.nowMs < this.#lively ? thinkMs : IDLE_MS) * this.random.between(0.2, 2),
        acked: (server, transaction, sentMs) => this.promises.acked(server, transaction, sentMs),
      }),
    );
  }

  // ---- what befalls it

  /** A replica that nobody declared: somebody's copy for tests, with semi-sync in its configuration. */
  attachStranger(forMs: number): void {
    const primary = this.servers.find((s) => s.name === this.state.primary);
    if (primary === undefined || !primary.responsive || !primary.writable) return;
    const stranger = new Mysqld({
      ...primary.o,
      index: this.plan.shape.nodes,
      name: `x${++this.#strangers}`,
      relayLogRecovery: false,
      outOfOrder: false,
    });
    this.trace(stranger.name, `follows ${primary.name}, and nobody declared it`);
    stranger.semiReplica = true;
    stranger.channel.change(primary.host, PORT, true);
    stranger.channel.setApplier(true);
    stranger.channel.startReceiver();
    this.timeline.after(forMs, null, () => stranger.crash());
  }

  /** Dead, stopped, or somebody who must hear it cannot. */
  #isHarmed(node: string): boolean {
    const server = this.server(node);
    // One that has booted read-only serves nobody: whether it is replaced or opened again, clients are answered.
    if (!server.responsive || !server.writable) return true;
    const others = [...this.servers.map((s) => s.host), ...this.probers.map((p) => p.o.host)];
    return others.some((host) => host !== server.host && !this.network.open(host, server.host));
  }

  enliven(): void {
    this.#lively = this.timeline.nowMs + LIVELY_MS;
  }

  noteHarm(): void {
    for (const server of this.servers) if (this.#isHarmed(server.name)) this.promises.harm(server.name);
  }

  #heal(): void {
    this.noteHarm();
    this.trace(null, "everything is healed");
    this.network.healAll();
    this.nats.back();
    for (const server of this.servers) {
      server.resume();
      server.boot();
    }
    for (const prober of this.probers) prober.actor.resume();
    for (const { process } of [...this.deciders.values(), ...this.executors.values()]) {
      process.disarm();
      process.resume();
      this.restart(process);
    }
    this.#personMs = this.timeline.nowMs + PERSON_AFTER_MS;
    const forgot = this.plan.faults.some((f) => f.type === "nats-forgets" || f.type === "bucket-deleted");
    this.#recoverMs = forgot ? RECOVER_FORGOTTEN_MS : RECOVER_MS;
    this.#watchRecovery(this.timeline.nowMs + this.#recoverMs, null, 0);
  }

  #watchRecovery(untilMs: number, calmSinceMs: number | null, acknowledged: number): void {
    const { nowMs } = this.timeline;
    const wrong = unrest(this);
    if (wrong !== null && nowMs >= this.#personMs) {
      this.#personMs = nowMs + PERSON_EVERY_MS;
      helpOut(this);
    }
    if (wrong === null && calmSinceMs !== null && nowMs - calmSinceMs >= STAY_MS) {
      const written = this.promises.acknowledged > acknowledged;
      if (!written && this.canWrite() && nowMs >= untilMs)
        this.promises.break("nothing-stopped", "all looks well, but no write is acknowledged");
      if (written || !this.canWrite() || nowMs >= untilMs) {
        this.#finish();
        return;
      }
    }
    if (nowMs >= untilMs && wrong !== null) {
      const after = `${(this.#recoverMs / 1_000).toFixed(0)} s after everything was healed`;
      this.promises.break(wrong.promise, `${after}: ${wrong.what}`);
      this.#finish();
      return;
    }
    const since = wrong === null ? (calmSinceMs ?? nowMs) : null;
    const before = wrong === null && calmSinceMs !== null ? acknowledged : this.promises.acknowledged;
    this.timeline.after(LOOK_MS, null, () => this.#watchRecovery(untilMs, since, before));
  }

  /** Whether enough are left to acknowledge anything: quarantined nodes wait for a person. */
  canWrite(): boolean {
    const { quarantined, primary } = this.state;
    const ackers = this.servers.filter(
      (s) => s.name !== primary && !quarantined.includes(s.name) && !this.leftToPerson(s),
    );
    return ackers.length >= this.plan.shape.acks;
  }

  /**
   * It holds what the history has not, and too few others are members to hand over to what else it holds: it stands apart, and is
   * quarantined when a person has rebuilt one of them.
   */
  leftToPerson(server: Mysqld): boolean {
    const { quarantined, primary } = this.state;
    if (this.#isHollow(server)) return true;
    const others = this.servers.filter(
      (s) => s !== server && s.name !== primary && !quarantined.includes(s.name) && !this.#isHollow(s),
    );
    return (
      others.length < this.plan.shape.acks &&
      server.channel.receiver === "off" &&
      !contains(this.server(primary).logged, server.logged)
    );
  }

  /** Its disk has lost what it wrote itself, and following it does not get that back: a person rebuilds it (HOLES.md, T6). */
  #isHollow(server: Mysqld): boolean {
    const primary = this.server(this.state.primary);
    return (
      server !== primary && (primary.logged[server.index] as number) > (server.logged[server.index] as number)
    );
  }

  #finish(): void {
    this.promises.atEnd(this.servers.find((s) => s.name === this.state.primary));
    this.timeline.stop();
  }
}

const declarations = new Map<string, DeclaredCluster>();

function declaredOf(nodes: number, acks: number): DeclaredCluster {
  const key = `${nodes}/${acks}`;
  let declared = declarations.get(key);
  if (declared === undefined) {
    declared = DeclaredCluster.parse({
      cluster: CLUSTER,
      nodes: Object.fromEntries(
        Array.from({ length: nodes }, (_, i) => [nodeName(i), { host: nodeName(i), port: PORT }]),
      ),
      policy: { acks, flapLimit: { failovers: 50 } },
    });
    declarations.set(key, declared);
  }
  return declared;
}

/** A text of several statements, as one line of a trace. */
function shorten(sql: string): string {
  return sql
    .split(";")
    .map((s) => {
      const line = s.replace(/\s+/g, " ").trim();
      return line.length > 60 ? `${line.slice(0, 57)}…` : line;
    })
    .join("; ");
}
