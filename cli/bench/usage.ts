/** What a process has used so far, from /proc. */
import { readdirSync, readFileSync } from "node:fs";

export interface Usage {
  /** Of all its threads, to the nanosecond where the kernel keeps that. */
  cpuMs: number;
  rssBytes: number;
}

export function usageOf(pid: number): Usage {
  let cpuNs = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      cpuNs += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    } catch {
      // A thread that has just ended: what it used is lost to us, and small.
    }
  }
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return { cpuMs: cpuNs / 1e6, rssBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024 };
}
