/** Values that the views' tests build on: whole and valid, so that each test says only what it is about. */
import type { ClusterView, Diagnosis, NodeView } from "@baton/contracts";

export function diagnosis(o: Partial<Diagnosis> = {}): Diagnosis {
  return {
    cluster: "shop",
    code: "healthy",
    previous: null,
    node: null,
    severity: "info",
    epoch: 3,
    summary: "All is well.",
    probers: [],
    replicas: [],
    refusal: null,
    decider: "decider-1",
    suspectedForMs: 0,
    ...o,
  };
}

export function node(name: string, o: Partial<NodeView> = {}): NodeView {
  return {
    node: name,
    host: "10.0.0.1",
    port: 3306,
    region: "eu",
    role: "replica",
    outcome: "ok",
    rttMs: 0.4,
    delayMs: 0,
    writable: false,
    version: "9.7.4",
    executed: "",
    quarantined: false,
    serverUuid: null,
    member: null,
    problems: [],
    downtime: null,
    ...o,
  };
}

export function cluster(o: Partial<ClusterView> = {}): ClusterView {
  return {
    cluster: "shop",
    epoch: 3,
    phase: "steady",
    primary: "n1",
    operation: null,
    diagnosis: diagnosis(),
    nodes: [node("n1", { role: "primary", writable: true, delayMs: null }), node("n2")],
    brake: null,
    maintenance: [],
    planned: null,
    failover: { possible: true, candidate: "n2", refusal: null, reason: "n2 holds everything" },
    probers: [{ prober: "prober-1", region: "eu", lastSampleAgeMs: 120 }],
    ...o,
  };
}
