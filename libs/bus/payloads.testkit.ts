/** Payloads that fit their schemas, and a log and metrics that remember. */
import type { Diagnosis, Intent, LockHolder, Sample } from "@baton/contracts";
import type { BusMetrics, Log } from "./index.ts";

export function sampleOf(o: Partial<Sample>): Sample {
  return {
    cluster: "shop",
    node: "n1",
    region: "r1",
    prober: "p1",
    seq: 1,
    cause: "tick",
    outcome: "ok",
    rttMs: 1.5,
    attempts: 0,
    silentMs: 0,
    thresholdMs: 300,
    errno: null,
    error: null,
    status: null,
    ...o,
  };
}

export function intentOf(o: Partial<Intent>): Intent {
  return {
    operation: "failover-shop-1-x",
    cluster: "shop",
    kind: "failover",
    node: "n1",
    epoch: 1,
    stateRevision: 1,
    lockRevision: 1,
    diagnosis: "primary-dead",
    reason: "test",
    decider: "d1",
    candidate: null,
    nodes: {},
    ...o,
  };
}

export function diagnosisOf(o: Partial<Diagnosis>): Diagnosis {
  return {
    cluster: "shop",
    code: "healthy",
    previous: null,
    node: null,
    severity: "info",
    epoch: 1,
    summary: "fine",
    probers: [],
    replicas: [],
    refusal: null,
    decider: "d1",
    suspectedForMs: 0,
    ...o,
  };
}

export function lockOf(holder: string): LockHolder {
  return { operation: "failover-shop-1-x", kind: "failover", holder, sinceUnixMs: 1 };
}

export interface Recorder {
  log: Log;
  metrics: BusMetrics;
  lines: { level: string; message: string }[];
  counts: Record<string, number>;
}

export function recorder(): Recorder {
  const lines: Recorder["lines"] = [];
  const counts: Recorder["counts"] = {};
  const at = (level: string) => (_fields: object, message: string) => void lines.push({ level, message });
  return {
    lines,
    counts,
    log: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") },
    metrics: {
      count(what, of) {
        const key = `${what} ${of}`;
        counts[key] = (counts[key] ?? 0) + 1;
      },
    },
  };
}
