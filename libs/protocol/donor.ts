/** Whom a node is rebuilt from: a healthy replica rather than the primary, and never one whose acks are needed. Pure. */
import type { DeclaredCluster, NodeStatus } from "@baton/contracts";
import { FILTERED, type NotChosen } from "./choose.ts";
import { ackersOf } from "./plan.ts";

export interface DonorFacts {
  declared: DeclaredCluster;
  primary: string;
  primaryUuid: string;
  quarantined: readonly string[];
  /** The node to be rebuilt. */
  node: string;
  /** Whom a person named; null: the best is taken. */
  named: string | null;
  /** Nodes that a person has in hand, and why: not copied from unless named. */
  downtimes?: ReadonlyMap<string, string>;
  /** Status of each node that can be reached now. */
  statuses: ReadonlyMap<string, NodeStatus>;
}

export type DonorChoice =
  | { ok: true; donor: string; reason: string; notChosen: NotChosen[] }
  | { ok: false; reason: string; notChosen: NotChosen[] };

/** CLONE copies between servers of one series only: 9.7.4 to 9.7.1, not to 9.6. */
export function sameSeries(a: string, b: string): boolean {
  const series = (version: string) => version.split(".").slice(0, 2).join(".");
  return series(a) === series(b);
}

/** Ackers that follow the primary now, without the one to be rebuilt. */
export function healthyAckers(facts: Omit<DonorFacts, "named">): string[] {
  return ackersOf(facts.declared, facts.primary, facts.quarantined).filter((name) => {
    const r = facts.statuses.get(name)?.replica;
    return (
      name !== facts.node &&
      r != null &&
      r.receiver === "on" &&
      r.applier === "on" &&
      r.applierErrno === 0 &&
      r.sourceUuid === facts.primaryUuid
    );
  });
}

/**
 * A donor under the load of a copy may acknowledge late, so at least k others must be there to do it; else the primary
 * gives the copy itself.
 */
export function chooseDonor(facts: DonorFacts): DonorChoice {
  const { acks } = facts.declared.policy;
  const version = facts.statuses.get(facts.node)?.version ?? "";
  const healthy = healthyAckers(facts);
  const notChosen: NotChosen[] = [];
  const whyNot = (name: string): string | null => {
    if (name === facts.node) return "it is the node to be rebuilt";
    if (facts.declared.nodes[name] === undefined) return "it is not declared";
    const status = facts.statuses.get(name);
    if (status === undefined) return "it cannot be reached";
    if (!sameSeries(status.version, version)) return `it runs ${status.version} and ${facts.node} ${version}`;
    if (name === facts.primary) return null;
    const downtime = facts.downtimes?.get(name);
    if (downtime !== undefined && name !== facts.named) return `it is ${downtime}`;
    if (facts.quarantined.includes(name)) return "it is quarantined";
    if (!healthy.includes(name)) return "it does not follow the primary";
    if (status.replica?.filtered === true) return `it is ${FILTERED}`;
    const others = healthy.length - 1;
    return others >= acks
      ? null
      : `its acks are needed: ${others} other ackers would be left, a write waits for ${acks}`;
  };
  if (facts.named !== null) {
    const why = whyNot(facts.named);
    return why === null
      ? { ok: true, donor: facts.named, reason: `${facts.named} was named`, notChosen }
      : { ok: false, reason: `${facts.named} cannot be the donor: ${why}`, notChosen };
  }
  const replicas = Object.keys(facts.declared.nodes)
    .filter((name) => name !== facts.primary && name !== facts.node)
    .sort((a, b) => regionRank(facts, a) - regionRank(facts, b) || (a < b ? -1 : 1));
  for (const name of [...replicas, facts.primary]) {
    const reason = whyNot(name);
    if (reason === null)
      return {
        ok: true,
        donor: name,
        reason: name === facts.primary ? "no replica can be spared" : "a healthy replica that can be spared",
        notChosen,
      };
    notChosen.push({ node: name, reason });
  }
  return {
    ok: false,
    reason: notChosen.map((n) => `${n.node}: ${n.reason}`).join("; "),
    notChosen,
  };
}

function regionRank(facts: DonorFacts, name: string): number {
  return facts.declared.nodes[name]?.region === facts.declared.nodes[facts.node]?.region ? 0 : 1;
}
