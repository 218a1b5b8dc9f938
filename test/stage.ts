/** A whole Baton against a lab of its own: what every scenario starts from. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Bus } from "@baton/bus";
import {
  type ConfigInput,
  type System,
  type SystemOptions,
  startSystem,
  writeConfig,
} from "@baton/cli/system";
import {
  type ClusterView,
  type Diagnosis,
  type Event,
  type Intent,
  MESSAGES,
  type Step,
} from "@baton/contracts";
import { type Lab, type LabNode, type LabOptions, startLab } from "@baton/lab";
import { loadConfig } from "@baton/runtime";

/** A copy of the whole data, on a busy machine. */
const REBUILT_MS = 60_000;

export interface StageOptions {
  lab?: LabOptions;
  services?: SystemOptions["services"];
  regions?: SystemOptions["regions"];
  env?: SystemOptions["env"];
  place?: SystemOptions["place"];
  /** How Baton is told to call a node's host; by default as the lab does. */
  hostOf?: (node: string) => string;
  config?: ConfigInput;
  policy?: NonNullable<NonNullable<ConfigInput["clusters"]>[string]["policy"]>;
}

export class Stage {
  readonly lab: Lab;
  readonly system: System;
  readonly bus: Bus;
  readonly configFile: string;
  readonly diagnoses: Diagnosis[] = [];
  readonly intents: Intent[] = [];
  readonly steps: Step[] = [];
  readonly events: Event[] = [];
  /** Instances whose process ended, in order. */
  readonly exits: string[];
  readonly #dir: string;
  readonly #waiting = new Set<() => void>();

  constructor(lab: Lab, system: System, bus: Bus, dir: string, configFile: string, exits: string[]) {
    this.configFile = configFile;
    this.exits = exits;
    this.lab = lab;
    this.system = system;
    this.bus = bus;
    this.#dir = dir;
    const keep =
      <T>(list: T[]) =>
      (payload: T) => {
        list.push(payload);
        for (const wake of this.#waiting) wake();
      };
    bus.subscribe(MESSAGES.diagnosis, {}, keep(this.diagnoses));
    bus.subscribe(MESSAGES.intent, {}, keep(this.intents));
    bus.subscribe(MESSAGES.step, {}, keep(this.steps));
    bus.subscribe(MESSAGES.event, {}, keep(this.events));
  }

  async status(): Promise<ClusterView> {
    const { clusters } = await this.bus.command("status", { cluster: "shop" }, { timeoutMs: 2_000 });
    return clusters[0] as ClusterView;
  }

  /** Resolves with what `look` gives as soon as it is not null: tried at every message and every 50 ms. */
  async until<T>(what: string, look: () => T | null | Promise<T | null>, withinMs = 30_000): Promise<T> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const found = await look();
      if (found !== null) return found;
      if (performance.now() > deadline) {
        throw new Error(`${what}: not within ${withinMs} ms.\n${await this.story()}`);
      }
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#waiting.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, 50);
        this.#waiting.add(wake);
      });
    }
  }

  /** The cluster is whole: every node in its place, nothing running, a failover would succeed. */
  whole(withinMs = 40_000): Promise<ClusterView> {
    return this.until(
      "the cluster is whole",
      async () => {
        const view = await this.status().catch(() => null);
        const well =
          view?.phase === "steady" &&
          view.failover.possible &&
          view.diagnosis.code === "healthy" &&
          view.nodes.every(
            (n) => n.outcome === "ok" && (n.role === "primary") === (n.node === view.primary),
          ) &&
          view.nodes.every((n) => n.role === "primary" || n.role === "replica");
        return well ? view : null;
      },
      withinMs,
    );
  }

  event(type: Event["type"], where: (e: Event) => boolean = () => true, withinMs?: number): Promise<Event> {
    return this.until(
      `event ${type}`,
      () => this.events.find((e) => e.type === type && where(e)) ?? null,
      withinMs,
    );
  }

  /** Starts or resumes a node that was primary and waits until Baton has dealt with it; an errant one gets empty data, unless Baton rebuilds it. */
  async bringHome(name: string): Promise<"node-rejoined" | "node-quarantined"> {
    const node = this.lab.node(name);
    const seen = this.events.length;
    if (node.hung) node.resume();
    else await node.start();
    const met = await this.until(
      `${name} is dealt with`,
      () =>
        this.events
          .slice(seen)
          .find((e) => (e.type === "node-rejoined" || e.type === "node-quarantined") && e.node === name) ??
        null,
    );
    if (met.type === "node-quarantined") {
      const declared = (await this.bus.bucket("baton_clusters").get("shop"))?.value;
      const rebuilds = declared?.policy.rebuild === "auto";
      if (!rebuilds) await node.reseed();
      await this.event(
        rebuilds ? "node-rebuilt" : "node-rejoined",
        (e) => e.node === name && this.events.indexOf(e) > this.events.indexOf(met),
        REBUILT_MS,
      );
    }
    return met.type as "node-rejoined" | "node-quarantined";
  }

  /** Starts a former primary and writes on it what nobody else has, in a pause, before Baton leads it home. */
  async startErrant(node: LabNode, statements: string): Promise<void> {
    await this.bus.command("pause", {
      cluster: "shop",
      by: "the test",
      reason: "something is written on it",
    });
    await node.start();
    await node.query(`SET GLOBAL super_read_only=OFF; ${statements}; SET GLOBAL super_read_only=ON`);
    await this.bus.command("resume", { cluster: "shop", by: "the test" });
  }

  /** What the on-call person would be shown, for a failing test. */
  async story(): Promise<string> {
    const lines = [
      ...this.diagnoses.map((d) => `diagnosis ${d.code} (${d.decider}): ${d.summary}`),
      ...this.intents.map((i) => `intent ${i.operation} by ${i.decider}`),
      ...this.steps.map(
        (s) => `step ${s.operation} ${s.step} ${s.outcome} ${s.tookMs.toFixed(1)} ms: ${s.summary}`,
      ),
      ...this.events.map((e) => `event ${e.type} ${e.outcome ?? ""}: ${e.summary}`),
      `status: ${JSON.stringify(await this.status().catch((e: unknown) => String(e)))}`,
    ];
    for (const { name } of this.system.instances) {
      const notable = this.system
        .logs(name)
        .filter((l) => l.level === "warn" || l.level === "error" || l.level === "fatal");
      lines.push(...notable.slice(-8).map((l) => `${name}: ${l.level} ${l.message}`));
    }
    return lines.join("\n");
  }

  async stop(): Promise<void> {
    await this.bus.drain().catch(() => undefined);
    await this.system.stop();
    await this.lab.stop();
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** Starts lab and system side by side, and returns once the cluster is adopted and whole. */
export async function startStage(o: StageOptions = {}): Promise<Stage> {
  const lab = await startLab(o.lab);
  const dir = await mkdtemp(join(tmpdir(), "baton-stage-"));
  let system: System | null = null;
  const exits: string[] = [];
  try {
    const declared = lab.clusterDeclaration();
    for (const [name, node] of Object.entries(declared.nodes)) node.host = o.hostOf?.(name) ?? node.host;
    const file = await writeConfig(dir, {
      ...o.config,
      nats: { url: lab.nats.urls, replicas: lab.nats.servers.length >= 3 ? 3 : 1, ...o.config?.nats },
      mysql: { ...lab.accounts.baton, replication: lab.accounts.repl },
      clusters: { shop: { ...declared, policy: { acks: o.lab?.acks ?? 1, ...o.policy } } },
    });
    const { config } = loadConfig({ file, env: {} });
    system = await startSystem({
      config,
      file,
      onExit: (instance) => exits.push(instance),
      ...(o.services === undefined ? {} : { services: o.services }),
      ...(o.regions === undefined ? {} : { regions: o.regions }),
      ...(o.env === undefined ? {} : { env: o.env }),
      ...(o.place === undefined ? {} : { place: o.place }),
    });
    await system.ready(60_000);
    const stage = new Stage(lab, system, await system.bus(), dir, file, exits);
    await stage.whole();
    return stage;
  } catch (error) {
    await system?.stop();
    await lab.stop();
    await rm(dir, { recursive: true, force: true });
    throw error;
  }
}
