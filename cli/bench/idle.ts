/** What Baton costs while nothing happens: CPU and memory of each process, CPU of one look at a node. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { monotonicMs } from "@baton/lab";
import type { Stage } from "../demo/stage.ts";
import { type Usage, usageOf } from "./usage.ts";

export interface ProcessCost {
  name: string;
  cpuPercent: number;
  rssMb: number;
}

export interface IdleCost {
  processes: ProcessCost[];
  /** Of everything, nats-server included. */
  cpuPercent: number;
  /** Of the services. */
  servicesRssMb: number;
  /** The prober's CPU less that of a service that only idles, divided by the questions that it put meanwhile. */
  cpuPerProbeMs: number | null;
  /** Pings and status reads a second, of all nodes together. */
  probesPerS: number;
}

const SETTLE_MS = 10_000;

/** The stage must be whole and without a writer. Takes `forMs` and ten seconds more. */
export async function measureIdle(stage: Stage, forMs: number, signal: AbortSignal): Promise<IdleCost> {
  await pause(SETTLE_MS, signal);
  const pids = stage.system.instances.map(({ name, program }) => ({
    name,
    pid: name === "nats" ? natsPid(stage) : (program.pid ?? 0),
  }));
  const probesBefore = await questions(stage);
  const before = new Map(pids.map(({ name, pid }) => [name, usageOf(pid)]));
  const startedMs = monotonicMs();
  await pause(forMs, signal);
  const tookMs = monotonicMs() - startedMs;
  const spent = (name: string, after: Usage) => after.cpuMs - (before.get(name)?.cpuMs ?? 0);
  const after = pids.map(({ name, pid }) => ({ name, usage: usageOf(pid) }));
  const probes = (await questions(stage)) - probesBefore;
  const processes = after.map(({ name, usage }) => ({
    name,
    cpuPercent: (100 * spent(name, usage)) / tookMs,
    rssMb: usage.rssBytes / 2 ** 20,
  }));
  const cpuMs = (name: string) => {
    const found = after.find((each) => each.name === name);
    return found ? spent(name, found.usage) : 0;
  };
  return {
    processes,
    cpuPercent: processes.reduce((sum, { cpuPercent }) => sum + cpuPercent, 0),
    servicesRssMb: processes.filter(({ name }) => name !== "nats").reduce((sum, { rssMb }) => sum + rssMb, 0),
    cpuPerProbeMs: probes > 0 ? (cpuMs("prober-1") - cpuMs("notifier-1")) / probes : null,
    probesPerS: (1000 * probes) / tookMs,
  };
}

/** What the prober's own metric counts. */
async function questions(stage: Stage): Promise<number> {
  const http = stage.system.presence("prober-1")?.http;
  const answer = await fetch(`http://${http}/metrics`, { signal: AbortSignal.timeout(5_000) });
  const lines = (await answer.text()).split("\n").filter((line) => line.startsWith("baton_questions_total{"));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

/** The supervised process is the guard; the server's own pid lies in its store. */
function natsPid(stage: Stage): number {
  return Number(readFileSync(join(stage.system.store, "nats.pid"), "utf8"));
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(signal.reason);
    });
  });
}
