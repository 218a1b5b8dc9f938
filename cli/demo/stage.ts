/** The demo's stage: a lab, Baton over it, and ears on the bus. Everything is gone after `stop`. */
import { join } from "node:path";
import type { Bus } from "@baton/bus";
import {
  BatonError,
  type ClusterView,
  type Diagnosis,
  type Event,
  type Intent,
  MESSAGES,
  type Sample,
  type Step,
} from "@baton/contracts";
import { type Lab, LabError, monotonicMs, startLab } from "@baton/lab";
import { loadConfig } from "@baton/runtime";
import { type OwnFolder, ownFolder } from "../own-folder.ts";
import { type System, startSystem, writeConfig } from "../system.ts";
import { duration } from "../view/amounts.ts";

export const CLUSTER = "demo";
const READY_MS = 60_000;
const ANSWER_MS = 2_000;
/** A node that came home over an empty directory replays the whole history first. */
const IN_STEP_MS = 200;
/** Twice the floor below which no silence counts. */
const CALM_THRESHOLD_MS = 600;
/** Longer than a prober takes to work its threshold out anew. */
const PATIENCE_MS = 15_000;

/** What is heard on the bus, with the monotonic time it was heard at. */
export interface Ears {
  sample?(s: Sample, atMs: number): void;
  diagnosis?(d: Diagnosis, atMs: number): void;
  intent?(i: Intent, atMs: number): void;
  step?(s: Step, atMs: number): void;
  event?(e: Event, atMs: number): void;
}

export interface StageOptions {
  nodes: number;
  signal: AbortSignal;
  onProgress(line: string): void;
  /** A line of a service's log, for a person who wants to see them. */
  onLog?: ((instance: string, message: string, level: string, raw: string) => void) | undefined;
}

export class Stage {
  readonly lab: Lab;
  readonly system: System;
  readonly bus: Bus;
  readonly #folder: OwnFolder;
  /** By node: the silence that counts, as its prober last said. */
  readonly #thresholdsMs = new Map<string, number>();
  #ears: Ears = {};

  constructor(lab: Lab, system: System, bus: Bus, folder: OwnFolder) {
    this.lab = lab;
    this.system = system;
    this.bus = bus;
    this.#folder = folder;
    bus.subscribe(MESSAGES.sample, { cluster: CLUSTER }, (s) => {
      this.#thresholdsMs.set(s.node, s.thresholdMs);
      this.#ears.sample?.(s, monotonicMs());
    });
    bus.subscribe(MESSAGES.diagnosis, { cluster: CLUSTER }, (d) => this.#ears.diagnosis?.(d, monotonicMs()));
    bus.subscribe(MESSAGES.intent, { cluster: CLUSTER }, (i) => this.#ears.intent?.(i, monotonicMs()));
    bus.subscribe(MESSAGES.step, { cluster: CLUSTER }, (s) => this.#ears.step?.(s, monotonicMs()));
    bus.subscribe(MESSAGES.event, { cluster: CLUSTER }, (e) => this.#ears.event?.(e, monotonicMs()));
  }

  listen(ears: Ears): void {
    this.#ears = ears;
  }

  /** @throws BatonError E_NO_ANSWER while no decider serves */
  async status(): Promise<ClusterView | null> {
    const answer = await this.bus.command("status", { cluster: null }, { timeoutMs: ANSWER_MS });
    return answer.clusters.find(({ cluster }) => cluster === CLUSTER) ?? null;
  }

  /**
   * Waits until every node has its part, is in step, and a failover would succeed; then until nothing of an earlier
   * fault makes the probers more patient. Throws, with what is missing, when it takes too long.
   */
  async whole(timeoutMs: number, signal: AbortSignal): Promise<ClusterView> {
    const deadline = monotonicMs() + timeoutMs;
    const patientUntil = monotonicMs() + PATIENCE_MS;
    for (;;) {
      signal.throwIfAborted();
      let missing: string | null = "the decider does not know the cluster yet";
      try {
        const view = await this.status();
        if (view) missing = notWhole(view);
        const thresholdMs = this.#thresholdsMs.get(view?.primary ?? "") ?? 0;
        if (missing === null && thresholdMs > CALM_THRESHOLD_MS && monotonicMs() < patientUntil) {
          missing = `a silence counts only after ${Math.round(thresholdMs)} ms`;
        }
        if (view && missing === null) return view;
      } catch (error) {
        if (!(error instanceof BatonError)) throw error;
        missing = error.message;
      }
      if (monotonicMs() > deadline) {
        throw new LabError("not-recovered", {
          found: `after ${timeoutMs / 1000} s: ${missing}`,
          expected: "a primary, every other node following it, and a failover that would succeed",
          remedy: "run baton demo --verbose to see what the services say",
        });
      }
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  async stop(): Promise<void> {
    this.#ears = {};
    await this.system.stop();
    await this.lab.stop();
    this.#folder.remove();
  }
}

/** What keeps a cluster from being whole; null when it is. */
export function notWhole(view: ClusterView): string | null {
  if (view.phase === null || view.primary === null) return "the cluster is not adopted yet";
  if (view.phase !== "steady") return `${view.operation ?? "an operation"} is running`;
  for (const node of view.nodes) {
    if (node.quarantined) return `${node.node} is quarantined`;
    if (node.outcome !== "ok") return `${node.node} is ${node.outcome ?? "not seen yet"}`;
    if (node.node !== view.primary && node.role !== "replica")
      return `${node.node} does not follow ${view.primary}`;
    if (node.delayMs !== null && node.delayMs > IN_STEP_MS) {
      return `${node.node} is ${duration(node.delayMs)} behind`;
    }
    if (node.problems.length > 0) return `${node.node}: ${node.problems.join(", ")}`;
  }
  if (view.diagnosis.code !== "healthy") return view.diagnosis.summary;
  return view.failover.possible ? null : `a failover would not succeed: ${view.failover.reason}`;
}

/** Lab and Baton, up and whole. Rejects, with nothing left running, when either cannot be started. */
export async function openStage(o: StageOptions): Promise<Stage> {
  const folder = ownFolder("baton-demo");
  const undo: (() => unknown)[] = [() => folder.remove()];
  try {
    const lab = await startLab({
      nodes: o.nodes,
      natsServers: 0,
      acks: 1,
      signal: o.signal,
      onProgress: o.onProgress,
    });
    undo.unshift(() => lab.stop());
    o.onProgress("starting NATS and the services");
    const { baton, repl } = lab.accounts;
    const file = await writeConfig(join(folder.path, "baton"), {
      mysql: { ...baton, replication: { ...repl } },
      // One takeover after another is the point here; in earnest it is a reason to stop and ask.
      clusters: {
        [CLUSTER]: { ...lab.clusterDeclaration(), policy: { flapLimit: { failovers: 50, withinMs: 1 } } },
      },
    });
    const { config } = loadConfig({ file, env: {} });
    const system = await startSystem({
      config,
      file,
      signal: o.signal,
      onLog: (instance, entry, raw) => o.onLog?.(instance, entry.message, entry.level, raw),
    });
    undo.unshift(() => system.stop());
    await system.ready(READY_MS);
    o.signal.throwIfAborted();
    return new Stage(lab, system, await system.bus(), folder);
  } catch (error) {
    for (const step of undo) await step();
    throw error;
  }
}
