/** A run: incidents of one seed, shared out among worker threads, and what came of them. */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { HoleName } from "./hole.ts";
import type { IncidentResult } from "./incident.ts";
import type { Plan } from "./plan.ts";
import type { PlantName } from "./plant.ts";

export interface SimulateOptions {
  seed: number;
  incidents: number;
  /** The first one's number. Default 0. */
  from?: number | undefined;
  /** Default: one for each core, at most 16. */
  workers?: number | undefined;
  plant?: PlantName | undefined;
  /** A hole that product code once had. */
  hole?: HoleName | undefined;
  /** In each incident instead of what the seed draws, which then draws delays alone. */
  plan?: Plan | undefined;
  /** Stops after so many that broke a promise. Default 10. */
  mostBroken?: number | undefined;
  onProgress?: ((done: number, broken: number) => void) | undefined;
}

export type BrokenIncident = Pick<IncidentResult, "incident" | "broken" | "plan">;

export interface SimulateReport {
  seed: number;
  incidents: number;
  broken: BrokenIncident[];
  /** `failover completed`, `failover rolled-back ackers-unreachable`, … and how often. */
  endings: Record<string, number>;
  /** Fault and how often. */
  faults: Record<string, number>;
  acknowledged: number;
  events: number;
  /** By the models' clocks, all together. */
  simulatedMs: number;
  tookMs: number;
}

/** What a thread is told to do. */
export interface Job {
  seed: number;
  from: number;
  to: number;
  plant: PlantName | undefined;
  plan?: Plan | undefined;
}

/** What a thread says of some incidents. */
export type Part = Omit<SimulateReport, "seed" | "tookMs">;

const CHUNK = 25;

export async function simulate(o: SimulateOptions): Promise<SimulateReport> {
  const beganMs = performance.now();
  const first = o.from ?? 0;
  const last = first + o.incidents;
  const report: SimulateReport = { seed: o.seed, ...emptyPart(), tookMs: 0 };
  let next = first;
  const threads = Math.max(
    1,
    Math.min(o.workers ?? Math.min(16, availableParallelism()), Math.ceil(o.incidents / CHUNK)),
  );
  const most = o.mostBroken ?? 10;
  await Promise.all(
    Array.from({ length: threads }, async () => {
      const worker = begin(o.hole);
      try {
        while (next < last && report.broken.length < most) {
          const from = next;
          next = Math.min(last, from + CHUNK);
          add(report, await ask(worker, { seed: o.seed, from, to: next, plant: o.plant, plan: o.plan }));
          o.onProgress?.(report.incidents, report.broken.length);
        }
      } finally {
        await worker.terminate();
      }
    }),
  );
  report.broken.sort((a, b) => a.incident - b.incident);
  report.tookMs = performance.now() - beganMs;
  return report;
}

/** One incident with its trace, line by line, in a thread of its own: this one's clock stays as it is. */
export async function replay(
  o: { seed: number; incident: number; plant?: PlantName | undefined; hole?: HoleName | undefined },
  onTrace: (line: string) => void,
): Promise<SimulateReport> {
  const beganMs = performance.now();
  const worker = begin(o.hole);
  try {
    const job: Job = { seed: o.seed, from: o.incident, to: o.incident + 1, plant: o.plant };
    const part = await ask(worker, job, onTrace);
    return { seed: o.seed, ...part, tookMs: performance.now() - beganMs };
  } finally {
    await worker.terminate();
  }
}

/** A hole is dug before the thread loads what it runs. */
function begin(hole: HoleName | undefined): Worker {
  return new Worker(new URL("./thread.ts", import.meta.url), { workerData: { hole } satisfies ForThread });
}

export interface ForThread {
  hole: HoleName | undefined;
}

export type ToThread = Job & { trace: boolean };
export type FromThread =
  | { type: "trace"; line: string }
  | { type: "part"; part: Part }
  | { type: "error"; text: string };

function ask(worker: Worker, job: Job, onTrace?: (line: string) => void): Promise<Part> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      worker.off("message", hear);
      worker.off("error", fail);
      settle();
    };
    const fail = (error: unknown) => end(() => reject(error));
    const hear = (message: FromThread) => {
      if (message.type === "trace") onTrace?.(message.line);
      else if (message.type === "error") fail(new Error(message.text));
      else end(() => resolve(message.part));
    };
    worker.on("message", hear);
    worker.on("error", fail);
    worker.postMessage({ ...job, trace: onTrace !== undefined } satisfies ToThread);
  });
}

export function emptyPart(): Part {
  return { incidents: 0, broken: [], endings: {}, faults: {}, acknowledged: 0, events: 0, simulatedMs: 0 };
}

export function addIncident(part: Part, result: IncidentResult): void {
  part.incidents++;
  part.acknowledged += result.acknowledged;
  part.events += result.events;
  part.simulatedMs += result.tookMs;
  for (const fault of result.plan.faults) count(part.faults, fault.type);
  for (const e of result.ended)
    count(part.endings, [e.kind, e.outcome, ...(e.code === null ? [] : [e.code])].join(" "));
  for (const command of new Set(result.byPerson)) count(part.endings, `a person's ${command}`);
  if (result.broken.length > 0)
    part.broken.push({ incident: result.incident, broken: result.broken, plan: result.plan });
}

function add(report: Part, part: Part): void {
  report.incidents += part.incidents;
  report.acknowledged += part.acknowledged;
  report.events += part.events;
  report.simulatedMs += part.simulatedMs;
  report.broken.push(...part.broken);
  for (const [name, n] of Object.entries(part.endings)) count(report.endings, name, n);
  for (const [name, n] of Object.entries(part.faults)) count(report.faults, name, n);
}

function count(into: Record<string, number>, name: string, n = 1): void {
  into[name] = (into[name] ?? 0) + n;
}
