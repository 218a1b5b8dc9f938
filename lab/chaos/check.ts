/**
 * The promises, asked of one round's records: what the clients saw, what the nodes hold in the end, what the audit says, and what is left
 * standing. Pure.
 */
import type { RefusalCode } from "@baton/contracts";
import type { Ack } from "../writer.ts";
import { isSame, type Register, type RegisterRow, wrongRegisters } from "./registers.ts";
import type { Expectation } from "./scene.ts";

/** Who had the pen, as the audit tells it, oldest first; the first is the one from before the round. */
export interface Reign {
  epoch: number;
  /** The server_uuid. */
  server: string;
}

export interface AuditedOperation {
  id: string;
  kind: string;
  /** Null: it has not ended. */
  outcome: string | null;
  code: string | null;
}

/** One node at the end of the round, read over its socket file. */
export interface FinalNode {
  node: string;
  server: string;
  primary: boolean;
  /** Ids of this round's writers. */
  rows: ReadonlySet<string>;
  /** By key, of this round's keys. */
  registers: ReadonlyMap<string, RegisterRow>;
  executed: string;
  readOnly: boolean;
  superReadOnly: boolean;
  semiSyncSource: boolean;
  semiSyncReplica: boolean;
  /** Null: it has no channel. */
  channel: { host: string; receiver: string; applier: string } | null;
}

export interface LeftOver {
  /** Processes that do not run, or that stand still. */
  processes: readonly string[];
  /** Cuts and bad lines still in force. */
  network: readonly string[];
}

export interface RoundRecord {
  /** Of inserted ids. */
  acks: readonly Ack[];
  /** Of versions of the registers. */
  registerAcks: readonly Ack[];
  registers: readonly Register[];
  /** What the failovers of this round said that they may lose. In a lossless cluster there is no such thing. */
  losses: readonly { atMost: number; unfenced: boolean }[];
  reigns: readonly Reign[];
  /** How many of them began before the healing. */
  begunBeforeHealing: number;
  operations: readonly AuditedOperation[];
  /** Why the cluster was not whole again in time; null: it was. */
  notWhole: string | null;
  /** All of them; those that answer, when the cluster is not whole. */
  nodes: readonly FinalNode[];
  primaryHost: string;
  leftOver: LeftOver;
  /** Codes with which Baton refused before the fault was healed. */
  refusals: readonly RefusalCode[];
  /** A write that was sent after the last fault was acknowledged before the healing. */
  recoveredBeforeHealing: boolean;
  /** A write that was sent after the healing was acknowledged. */
  recoveredAfterHealing: boolean;
  expects: Expectation;
  /** The refusals that are right for these faults. */
  rightRefusals: readonly RefusalCode[];
}

export type ViolationCode =
  | "lost"
  | "resurrected"
  | "from-nowhere"
  | "second-pen"
  | "epoch-twice"
  | "operation-unended"
  | "histories-differ"
  | "not-recovered"
  | "needless-failover"
  | "no-failover"
  | "wrong-refusal"
  | "left-stopped";

export interface Violation {
  code: ViolationCode;
  found: string;
}

const idsShown = 5;

export function check(record: RoundRecord): Violation[] {
  return [
    ...onePen(record),
    ...epochsOnce(record.reigns),
    ...everythingEnded(record.operations),
    ...outcome(record),
    ...(record.notWhole === null
      ? [
          ...nothingLost(record, record.nodes),
          ...oneHistory(record.nodes),
          ...nothingStopped(record.nodes, record.primaryHost),
        ]
      : [
          { code: "not-recovered" as const, found: `the cluster is not whole again: ${record.notWhole}` },
          // Replicas may be behind for the same reason. What the primary has not, nobody will have.
          ...nothingLost(
            record,
            record.nodes.filter((node) => node.primary),
          ),
          // Perhaps the very reason.
          ...nothingStopped(record.nodes, record.primaryHost),
        ]),
    ...leftOver(record.leftOver),
  ];
}

/** Acknowledged writes that some node has not in the end. */
export function lostWrites(acks: readonly Ack[], nodes: readonly FinalNode[]): Ack[] {
  return acks.filter(({ id }) => nodes.some(({ rows }) => !rows.has(id)));
}

/**
 * Promise 2. Every node must have it in the end, not only the primary. Where a loss was stated, so much may be missing on each; and late
 * answers of a primary that could not be shut come on top.
 */
function nothingLost(record: RoundRecord, nodes: readonly FinalNode[]): Violation[] {
  const { acks, registers, registerAcks, reigns, losses } = record;
  const late = losses.some(({ unfenced }) => unfenced) ? lateAnswers([...acks, ...registerAcks], reigns) : 0;
  const mayMiss = losses.reduce((sum, { atMost }) => sum + atMost, 0) + late;
  return nodes.flatMap((node) => {
    const found = missingOn(acks, registers, node);
    const ids = acks.filter(({ id }) => !node.rows.has(id)).length;
    const keys = wrongRegisters(registers, node.registers).filter(({ code }) => code !== "from-nowhere");
    return ids + keys.length > mayMiss ? found : found.filter(({ code }) => code === "from-nowhere");
  });
}

function missingOn(acks: readonly Ack[], registers: readonly Register[], node: FinalNode): Violation[] {
  return [...idsLost(acks, node), ...registersWrong(registers, node)];
}

function idsLost(acks: readonly Ack[], { node, rows }: FinalNode): Violation[] {
  const lost = acks.filter(({ id }) => !rows.has(id));
  if (lost.length === 0) return [];
  const some = lost.slice(0, idsShown).map(({ id, server }) => `${id} (acknowledged by ${server})`);
  return [
    { code: "lost", found: `${lost.length} acknowledged writes are not on ${node}: ${some.join(", ")}` },
  ];
}

function registersWrong(registers: readonly Register[], node: FinalNode): Violation[] {
  const wrong = wrongRegisters(registers, node.registers);
  return (["lost", "resurrected", "from-nowhere"] as const).flatMap((code) => {
    const of = wrong.filter((each) => each.code === code);
    if (of.length === 0) return [];
    const some = of.slice(0, idsShown).map(({ found }) => found);
    return [{ code, found: `${of.length} registers of ${node.node} are wrong: ${some.join("; ")}` }];
  });
}

/**
 * Promise 1, as docs/decisions/0007 can keep it: no server takes a write on that it acknowledges once a later reign's server has
 * acknowledged one. The pen passes with the first acknowledgement by the server of a later reign. Where writes need not wait for acks, a
 * failover from a silent primary says that it could not be shut (`unfenced`): what that one still answers is stated, and lost.
 */
function onePen({ acks, registerAcks, reigns, losses }: RoundRecord): Violation[] {
  const isUnfenced = losses.some(({ unfenced }) => unfenced);
  const inOrder = [...acks, ...registerAcks].sort((a, b) => a.atMs - b.atMs);
  const violations: Violation[] = [];
  let reign = 0;
  let penSinceMs = Number.NEGATIVE_INFINITY;
  for (const { id, server, sentMs, atMs } of inOrder) {
    if (reigns[reign]?.server === server) continue;
    const later = reigns.findIndex((each, at) => at > reign && each.server === server);
    if (later !== -1) {
      reign = later;
      penSinceMs = atMs;
    } else if (sentMs > penSinceMs && !(isUnfenced && reigns[reign - 1]?.server === server)) {
      const holder = reigns[reign];
      violations.push({
        code: "second-pen",
        found: `${server} took on ${id} and acknowledged it at ${Math.round(atMs)} ms, though ${holder?.server} is the primary of epoch ${holder?.epoch}`,
      });
    }
  }
  return violations.slice(0, idsShown);
}

function epochsOnce(reigns: readonly Reign[]): Violation[] {
  return reigns.slice(1).flatMap((reign, at) => {
    const before = reigns[at] as Reign;
    if (reign.epoch === before.epoch + 1) return [];
    return [{ code: "epoch-twice" as const, found: `epoch ${reign.epoch} follows epoch ${before.epoch}` }];
  });
}

function everythingEnded(operations: readonly AuditedOperation[]): Violation[] {
  return operations
    .filter(({ outcome }) => outcome === null)
    .map(({ id }) => ({ code: "operation-unended", found: `${id} has no end in the audit` }));
}

/** Promise 2's other half and promise 5: refused rightly, done when it must be, not done when it must not. */
function outcome(record: RoundRecord): Violation[] {
  const { expects, refusals, rightRefusals, recoveredBeforeHealing, recoveredAfterHealing } = record;
  const violations: Violation[] = [];
  for (const code of new Set(refusals)) {
    if (!rightRefusals.includes(code)) {
      const right = rightRefusals.length === 0 ? "no refusal" : rightRefusals.join(", ");
      violations.push({ code: "wrong-refusal", found: `${code}, where ${right} is right` });
    }
  }
  // What was refused may become possible while one node after the other comes back.
  const untilHealed = expects === "refuse" || expects === "wait";
  const passed = untilHealed ? record.begunBeforeHealing : record.reigns.length - 1;
  if ((expects === "keep" || untilHealed) && passed > 0) {
    violations.push({
      code: "needless-failover",
      found: `the pen passed ${passed} times, where the primary should have kept it`,
    });
  }
  if (expects === "failover" && !recoveredBeforeHealing && refusals.length === 0) {
    violations.push({
      code: "no-failover",
      found: "no write was acknowledged before the healing, and nothing was refused",
    });
  }
  if (expects === "refuse" && refusals.length === 0) {
    violations.push({ code: "no-failover", found: "Baton did not say why it does not fail over" });
  }
  if (!recoveredAfterHealing) {
    violations.push({ code: "not-recovered", found: "no write was acknowledged after the healing" });
  }
  return violations;
}

function oneHistory(nodes: readonly FinalNode[]): Violation[] {
  const primary = nodes.find((node) => node.primary);
  if (!primary) return [{ code: "left-stopped", found: "no node is the primary" }];
  return nodes.flatMap((node) => {
    if (node.executed !== primary.executed) {
      return [
        {
          code: "histories-differ" as const,
          found: `${node.node} has ${node.executed}, ${primary.node} ${primary.executed}`,
        },
      ];
    }
    const extra = [...node.rows].filter((id) => !primary.rows.has(id));
    const missing = [...primary.rows].filter((id) => !node.rows.has(id));
    const keys = [...new Set([...node.registers.keys(), ...primary.registers.keys()])].filter(
      (key) => !isSame(node.registers.get(key) ?? null, primary.registers.get(key) ?? null),
    );
    const differ = [...extra, ...missing, ...keys];
    if (differ.length === 0) return [];
    const found = `${node.node} and ${primary.node} differ in ${differ.slice(0, idsShown).join(", ")}`;
    return [{ code: "histories-differ" as const, found }];
  });
}

/** Promise 4: what an operation changed and did not need is put back. */
function nothingStopped(nodes: readonly FinalNode[], primaryHost: string): Violation[] {
  const wrong = nodes.flatMap((node) => {
    const { readOnly, superReadOnly, semiSyncSource, semiSyncReplica, channel } = node;
    const say = (is: boolean, what: string) => (is ? [`${node.node} ${what}`] : []);
    if (node.primary) {
      return [
        ...say(readOnly || superReadOnly, "is the primary and read-only"),
        ...say(!semiSyncSource, "is the primary with semi-sync off"),
        ...say(channel !== null, "is the primary and has a replication channel"),
      ];
    }
    return [
      ...say(!superReadOnly, "is a replica and writable"),
      ...say(semiSyncSource, "is a replica with the semi-sync source role on"),
      ...say(!semiSyncReplica, "is a replica that does not acknowledge"),
      ...say(channel?.host !== primaryHost, `follows ${channel?.host ?? "nobody"}`),
      ...say(channel?.receiver !== "ON", `has its receiver ${channel?.receiver ?? "gone"}`),
      ...say(channel?.applier !== "ON", `has its applier ${channel?.applier ?? "gone"}`),
    ];
  });
  return wrong.map((found) => ({ code: "left-stopped", found }));
}

function leftOver({ processes, network }: LeftOver): Violation[] {
  return [...processes, ...network].map((found) => ({ code: "left-stopped", found }));
}

/** The longest time without an acknowledgement that begins at `fromMs` or later and ends by `toMs`. Milliseconds. */
export function longestSilence(acks: readonly Ack[], fromMs: number, toMs: number): number {
  const times = acks.map(({ atMs }) => atMs).filter((atMs) => atMs >= fromMs && atMs <= toMs);
  const edges = [fromMs, ...times.sort((a, b) => a - b), toMs];
  let longest = 0;
  for (const [at, edge] of edges.slice(1).entries())
    longest = Math.max(longest, edge - (edges[at] as number));
  return longest;
}

/** Answers of an earlier primary to what was under way when the pen passed on (docs/decisions/0007). */
export function lateAnswers(acks: readonly Ack[], reigns: readonly Reign[]): number {
  let reign = 0;
  let late = 0;
  for (const { server } of [...acks].sort((a, b) => a.atMs - b.atMs)) {
    if (reigns[reign]?.server === server) continue;
    const later = reigns.findIndex((each, at) => at > reign && each.server === server);
    if (later === -1) late += 1;
    else reign = later;
  }
  return late;
}
