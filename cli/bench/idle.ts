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
  /** The prober's whole CPU, divided by the looks that it took meanwhile. */
  cpuPerProbeMs: number | null;
}

const SETTLE_MS = 10_000;

/** The stage must be whole and without a writer. Takes `forMs` and ten seconds more. */
export async function measureIdle(stage: Stage, forMs: number, signal: AbortSignal): Promise<IdleCost> {
  await pause(SETTLE_MS, signal);
  const pids = stage.system.instances.map(({ name, program }) => ({
    name,
    pid: name === "nats" ? natsPid(stage) : (program.pid ?? 0),
  }));
  let probes = 0;
  stage.listen({ sample: () => void probes++ });
  const before = new Map(pids.map(({ name, pid }) => [name, usageOf(pid)]));
  const startedMs = monotonicMs();
  await pause(forMs, signal);
  const tookMs = monotonicMs() - startedMs;
  const spent = (name: string, after: Usage) => after.cpuMs - (before.get(name)?.cpuMs ?? 0);
  const after = pids.map(({ name, pid }) => ({ name, usage: usageOf(pid) }));
  stage.listen({});
  const processes = after.map(({ name, usage }) => ({
    name,
    cpuPercent: (100 * spent(name, usage)) / tookMs,
    rssMb: usage.rssBytes / 2 ** 20,
  }));
  const prober = after.find(({ name }) => name === "prober-1");
  return {
    processes,
    cpuPercent: processes.reduce((sum, { cpuPercent }) => sum + cpuPercent, 0),
    servicesRssMb: processes.filter(({ name }) => name !== "nats").reduce((sum, { rssMb }) => sum + rssMb, 0),
    cpuPerProbeMs: prober && probes > 0 ? spent(prober.name, prober.usage) / probes : null,
  };
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
