/** The stage of a chaos run: a network, a lab spread over it, three sites of Baton, and ears. Everything is gone after `stop`. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Bus } from "@baton/bus";
import {
  BatonError,
  type ClusterView,
  type Config,
  type Event,
  type OperationSummary,
  type ServiceName,
} from "@baton/contracts";
import { type Lab, monotonicMs, startLab } from "@baton/lab";
import {
  type Disks,
  type Network,
  registersTable,
  type Scene,
  type Service,
  type World,
} from "@baton/lab/chaos";
import { loadConfig } from "@baton/runtime";
import type { PlantName } from "@baton/simulation";
import { declare } from "../declare.ts";
import { notWhole } from "../demo/stage.ts";
import { type OwnFolder, ownFolder } from "../own-folder.ts";
import { type System, startSystem, writeConfig } from "../system.ts";
import { takeLeave } from "../take-leave.ts";
import { Ears } from "./ears.ts";

export const CLUSTER = "chaos";
const LAB = join(import.meta.dirname, "../../lab");
const SITES = ["eu", "us", "ap"] as const;
/** Two of each, and a third prober, so that regions can be outvoted. */
const INSTANCES: Record<ServiceName, number> = {
  prober: 3,
  decider: 2,
  executor: 2,
  notifier: 2,
  auditor: 2,
};
const ACK_TIMEOUT_MS = 100;
const READY_MS = 120_000;
const ANSWER_MS = 2_000;
const ORDER_MS = 5_000;
const FRESH_SAMPLE_MS = 3_000;
/** As `baton apply` waits. */
const LEAVE_MS = 15_000;

export interface StageOptions {
  /** A bug for Baton; null: none. */
  plant: ChaosPlant | null;
  world: World;
  signal: AbortSignal;
  onProgress(line: string): void;
}

export class ChaosStage {
  readonly world: World;
  readonly network: Network;
  readonly disks: Disks;
  readonly lab: Lab;
  readonly system: System;
  readonly bus: Bus;
  readonly #folder: OwnFolder;
  readonly #config: Config;
  readonly ears: Ears;
  /** Orders of ours, as a person's, that were refused. */
  readonly ordersRefused: { why: string; atMs: number }[] = [];

  constructor(
    world: World,
    network: Network,
    disks: Disks,
    lab: Lab,
    system: System,
    bus: Bus,
    folder: OwnFolder,
    config: Config,
  ) {
    this.world = world;
    this.network = network;
    this.disks = disks;
    this.lab = lab;
    this.system = system;
    this.bus = bus;
    this.#folder = folder;
    this.#config = config;
    this.ears = new Ears(bus, CLUSTER);
  }

  /** The scene of a round: `view` is the cluster as it is, whole. */
  scene(view: ClusterView): Scene {
    const primary = this.lab.node(view.primary as string);
    return {
      world: this.world,
      lab: this.lab,
      network: this.network,
      disks: this.disks,
      sites: SITES,
      primary,
      replicas: this.lab.nodes.filter((node) => node !== primary),
      services: (kind) => this.#services(kind),
      switchover: () => {
        const order = { cluster: CLUSTER, to: null, dryRun: false, force: false };
        return this.#order("switchover", this.bus.command("switchover", order, { timeoutMs: ORDER_MS }));
      },
      rebuild: (node) => {
        const order = { cluster: CLUSTER, node, from: null };
        return this.#order("rebuild", this.bus.command("rebuild", order, { timeoutMs: ORDER_MS }));
      },
      apply: (nodes) => this.#apply(nodes),
      armExecutors: (point) => {
        if (point === null) rmSync(faultFile(this.#folder.path), { force: true });
        else writeFileSync(faultFile(this.#folder.path), point);
      },
      setClock: (site, offsetMs) => {
        const file = clockFile(this.#folder.path, site);
        // Put there whole: half a number would be another time.
        writeFileSync(`${file}.new`, String(offsetMs));
        renameSync(`${file}.new`, file);
      },
      operations: () => this.ears.operations(),
    };
  }

  /** @throws BatonError E_NO_ANSWER while no decider serves */
  async status(): Promise<ClusterView | null> {
    const answer = await again(() => this.bus.command("status", { cluster: null }, { timeoutMs: ANSWER_MS }));
    return answer.clusters.find(({ cluster }) => cluster === CLUSTER) ?? null;
  }

  /** What keeps the cluster and Baton from being as they should; null when nothing does. */
  async unsettled(): Promise<string | null> {
    for (const { name, program } of this.system.instances)
      if (!program.running) return `${name} does not run`;
    try {
      const view = await this.status();
      if (!view) return "the decider does not know the cluster";
      const missing = notWhole(view);
      if (missing !== null) return missing;
      const heard = view.probers.filter(({ lastSampleAgeMs }) => lastSampleAgeMs < FRESH_SAMPLE_MS);
      return heard.length < INSTANCES.prober ? `only ${heard.length} probers are heard` : null;
    } catch (error) {
      if (error instanceof BatonError) return error.message;
      throw error;
    }
  }

  /** Waits until nothing keeps it back; returns what still does when the time is over, null when all is well. */
  async settled(timeoutMs: number, signal: AbortSignal): Promise<string | null> {
    const deadline = monotonicMs() + timeoutMs;
    for (;;) {
      signal.throwIfAborted();
      const missing = await this.unsettled();
      if (missing === null || monotonicMs() > deadline) return missing;
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  /** What the audit knows, newest first. */
  async operations(limit: number): Promise<OperationSummary[]> {
    const request = { cluster: CLUSTER, operation: null, limit };
    return (await again(() => this.bus.command("history", request, { timeoutMs: ANSWER_MS }))).operations;
  }

  /** Who has the pen from this operation on, by the audit; null when it made nobody primary. */
  async newPrimary(operation: string): Promise<{ epoch: number; server: string; atUnixMs: number } | null> {
    const request = { cluster: CLUSTER, operation, limit: 1 };
    const { records } = await again(() => this.bus.command("history", request, { timeoutMs: ANSWER_MS }));
    for (const { kind, payload, atUnixMs } of records) {
      const event = payload as Event;
      if (kind !== "event" || event.type !== "primary-changed" || event.primary === null) continue;
      return { epoch: event.epoch, server: event.primary.serverUuid, atUnixMs };
    }
    return null;
  }

  /** Processes that should run and do not, or stand still. */
  stopped(): string[] {
    const servers = [...this.lab.nodes, ...this.lab.nats.servers].map(({ name, pid }) => ({ name, pid }));
    const services = this.system.instances.map(({ name, program }) => ({
      name,
      pid: program.pid ?? undefined,
    }));
    return [...servers, ...services].flatMap(({ name, pid }) => {
      if (pid === undefined) return [`${name} does not run`];
      return standsStill(pid) ? [`${name} stands still`] : [];
    });
  }

  /** What was said since then, for a person who looks into a failed round. */
  story(sinceMs: number): string[] {
    const sinceUnixMs = Date.now() - (monotonicMs() - sinceMs);
    const logged = this.system.instances.flatMap(({ name }) =>
      this.system
        .logs(name)
        .filter(({ level }) => level === "warn" || level === "error" || level === "fatal")
        .filter(({ timeUnixMs }) => timeUnixMs === null || timeUnixMs >= sinceUnixMs)
        .slice(-20)
        .map(({ level, message, timeUnixMs }) => `${name} ${clock(timeUnixMs)} ${level}: ${message}`),
    );
    const servers = this.lab.nodes.flatMap((node) =>
      node
        .log()
        .split("\n")
        .filter((line) => / \[(ERROR|Warning)\] |Semi-sync|Slave|Replica/.test(line))
        .slice(-12)
        .map((line) => `${node.name} ${line}`),
    );
    return [...this.ears.since(sinceMs), ...logged, ...servers];
  }

  /** The services end in order first, and the auditors' files are then whole. Returns what is wrong with them. */
  async stop(verify: boolean): Promise<string[]> {
    await this.system.stop();
    const broken = verify ? await verifyArchives(this.#folder.path) : [];
    await this.lab.stop();
    this.#folder.remove();
    return broken;
  }

  #services(kind: ServiceName): Service[] {
    return this.system.instances
      .filter(({ service }) => service === kind)
      .map(({ name, program }) => ({
        name,
        site: siteOf(name),
        get running() {
          return program.running;
        },
        get standsStill() {
          return program.pid != null && standsStill(program.pid);
        },
        kill: () => void program.kill(),
        hang: () => void program.hang(),
        resume: () => program.resume(),
      }));
  }

  async #apply(nodes: readonly string[]): Promise<string | null> {
    const declared = this.#config.clusters[CLUSTER] as Config["clusters"][string];
    const chosen = Object.fromEntries(
      Object.entries(declared.nodes).filter(([node]) => nodes.includes(node)),
    );
    const config = { ...this.#config, clusters: { [CLUSTER]: { ...declared, nodes: chosen } } };
    try {
      const still: string[] = [];
      for (const leaving of (await declare(this.bus, config, { by: "apply" })).leaving)
        still.push(...(await takeLeave(this.bus, leaving, AbortSignal.timeout(LEAVE_MS))));
      return still.length === 0 ? null : `${still.join(", ")} still count`;
    } catch (error) {
      if (!(error instanceof BatonError)) throw error;
      this.ears.hear(`apply refused: ${error.message}`);
      return error.message;
    }
  }

  /** A refusal is an answer: another fault may stand already. It is then in the round's story. */
  async #order(what: string, answer: Promise<unknown>): Promise<void> {
    await answer.catch((error: unknown) => {
      if (!(error instanceof BatonError)) throw error;
      this.ordersRefused.push({ why: `${what}: ${error.message}`, atMs: monotonicMs() });
      this.ears.hear(`${what} refused: ${error.message}`);
    });
  }
}

/** After a cut NATS may give one question to a connection that it does not know to be dead: nobody hears it. The next one is answered. */
function again<T>(ask: () => Promise<T>): Promise<T> {
  return ask().catch((error: unknown) => {
    if (error instanceof BatonError && error.code === "E_NO_ANSWER") return ask();
    throw error;
  });
}

/** Everything up and whole. Rejects, with nothing left running, when it cannot be started. */
export async function openChaosStage(network: Network, disks: Disks, o: StageOptions): Promise<ChaosStage> {
  const { world } = o;
  await disks.clear();
  const folder = ownFolder("baton-chaos");
  const undo: (() => unknown)[] = [() => folder.remove()];
  try {
    const lab = await startLab({
      name: `chaos-${process.pid}-${Math.random().toString(36).slice(2, 6)}`,
      nodes: world.nodes,
      natsServers: 3,
      acks: world.acks,
      regions: world.regions === "apart" ? [...SITES] : [SITES[0]],
      place: (server) => network.place(server),
      mysqldArgs: Object.fromEntries(
        nodesOf(world).map((node) => [node, [`--log-bin=${join(disks.path(node), "binlog")}`]]),
      ),
      signal: o.signal,
      onProgress: o.onProgress,
    });
    undo.unshift(() => lab.stop());
    const first = lab.node("n1");
    await first.query(registersTable);
    // As `baton check` asks of a primary that was not opened by Baton.
    if (world.durability === "available")
      await first.query(`SET GLOBAL rpl_semi_sync_source_timeout=${ACK_TIMEOUT_MS}`);
    o.onProgress("starting the services");
    const { baton, repl } = lab.accounts;
    const file = await writeConfig(folder.path, {
      nats: { url: lab.nats.urls, replicas: 3 },
      mysql: { ...baton, replication: { ...repl } },
      clusters: {
        // Rebuilt by itself, since there is nobody to ask; and one failover after another is the point here.
        [CLUSTER]: {
          ...lab.clusterDeclaration(),
          policy: { rebuild: "auto", flapLimit: { failovers: 50, withinMs: 1 }, ...policyOf(world) },
        },
      },
    });
    const { config } = loadConfig({ file, env: {} });
    const system = await startSystem({
      config,
      file,
      signal: o.signal,
      services: INSTANCES,
      regions: { prober: SITES },
      mains:
        o.plant === null || o.plant === "fence-too-few"
          ? {}
          : { executor: join(LAB, "simulation/planted-executor.ts") },
      env: {
        executor: { BATON_FAULT_POINT: `@${faultFile(folder.path)}`, BATON_PLANT: o.plant ?? "" },
      },
      place: (instance) => {
        const site = siteOf(instance);
        const { host, enter } = network.place(site);
        const env = {
          BATON__HTTP__HOST: host,
          BATON__GRPC__HOST: host,
          BATON_CHAOS_CLOCK: clockFile(folder.path, site),
          NODE_OPTIONS: hooks(instance, o.plant)
            .map((hook) => `--import=${pathToFileURL(hook)}`)
            .join(" "),
        };
        return { enter, env };
      },
    });
    undo.unshift(() => system.stop());
    await system.ready(READY_MS);
    o.signal.throwIfAborted();
    return new ChaosStage(world, network, disks, lab, system, await system.bus(), folder, config);
  } catch (error) {
    for (const step of undo) await step();
    throw error;
  }
}

export function nodesOf({ nodes }: World): string[] {
  return Array.from({ length: nodes }, (_, at) => `n${at + 1}`);
}

export function hostsOf(world: World): string[] {
  return [...nodesOf(world), "nats1", "nats2", "nats3", ...SITES];
}

/** The limit of what may be lost is no subject here: that no more is lost than was said, is. */
function policyOf({ acks, durability }: World): object {
  const lossy = { acks, ackTimeoutMs: ACK_TIMEOUT_MS, loss: { maxTransactions: 1_000_000 } };
  if (durability === "available") return { ...lossy, durability };
  if (durability === "degrade") return { ...lossy, onAckLoss: "degrade", degradeAfterMs: 1_000 };
  return { acks };
}

/** Bugs of executors are those of the simulation; `fence-too-few` is one that deciders share (lab/chaos/plant-hook.ts). */
export type ChaosPlant = PlantName | "fence-too-few";

/** What is loaded into a service before it. */
function hooks(instance: string, plant: ChaosPlant | null): string[] {
  const decides = instance.startsWith("decider-") || instance.startsWith("executor-");
  const clock = join(LAB, "chaos/clock-hook.ts");
  return plant === "fence-too-few" && decides ? [clock, join(LAB, "chaos/plant-hook.ts")] : [clock];
}

/** `decider-2` is at the second site. */
function siteOf(instance: string): string {
  const number = Number(instance.slice(instance.lastIndexOf("-") + 1));
  return SITES[(number - 1) % SITES.length] as string;
}

function clockFile(folder: string, site: string): string {
  return join(folder, `clock-${site}`);
}

function faultFile(folder: string): string {
  return join(folder, "fault-point");
}

async function verifyArchives(folder: string): Promise<string[]> {
  const { execFile } = await import("node:child_process");
  const main = join(import.meta.dirname, "../../services/auditor/main.ts");
  const files = ["audit.sqlite", "audit-2.sqlite"].map((name) => join(folder, name));
  const verdicts = files.map(
    (file) =>
      new Promise<string[]>((done) => {
        execFile(process.execPath, [main, "--verify", file], { maxBuffer: 2 ** 28 }, (error, stdout) => {
          const last = stdout.trimEnd().split("\n").at(-1) ?? "";
          done(error ? [`${file}: ${last || error.message}`] : []);
        });
      }),
  );
  return (await Promise.all(verdicts)).flat();
}

/** `T` in /proc is a process that a signal stopped. */
function standsStill(pid: number): boolean {
  try {
    return /^\d+ \(.*\) T/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

function clock(unixMs: number | null): string {
  return unixMs === null ? "" : new Date(unixMs).toISOString().slice(11, 23);
}
