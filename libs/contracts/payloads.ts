/** What the messages carry. Each schema is one row of the table in docs/subjects.md. */
import { z } from "zod";
import { DiagnosisCode, Outcome, RefusalCode, RepairCode, Severity } from "./codes.ts";
import { GtidSetText, Ms, Name, OperationId, UnixMs } from "./names.ts";
import { NodeStatus } from "./node-status.ts";
import { AcceptLoss, OperationKind, OperationOutcome } from "./state.ts";

export const SampleCause = z.enum(["tick", "closed", "confirm", "look-now"]);
export type SampleCause = z.infer<typeof SampleCause>;

export const Sample = z.object({
  cluster: Name,
  node: Name,
  region: Name.describe("the prober's"),
  prober: Name.describe("instance"),
  seq: z.number().int().min(0).describe("counts this prober's samples of this node"),
  cause: SampleCause,
  outcome: Outcome,
  rttMs: Ms.describe("of this attempt"),
  attempts: z.number().int().min(0).describe("attempts in a row that failed, this one included"),
  silentMs: Ms.describe("since the first question that was not answered was put; 0 when ok"),
  thresholdMs: Ms.describe("a silence counts when it is longer"),
  errno: z.number().int().nullable(),
  error: z.string().max(500).nullable(),
  status: NodeStatus.nullable().describe("present when ok and a status was read"),
});
export type Sample = z.infer<typeof Sample>;

export const ProbeRequest = z.object({
  cluster: Name,
  nodes: z.array(Name).max(1_000).describe("empty: all"),
  reason: z.string().max(200),
  asker: Name,
});
export type ProbeRequest = z.infer<typeof ProbeRequest>;

export const ProbeReply = z.object({ cluster: Name, prober: Name, region: Name, samples: z.array(Sample) });
export type ProbeReply = z.infer<typeof ProbeReply>;

export const ConfirmRequest = z.object({ cluster: Name, operation: OperationId, executor: Name });
export type ConfirmRequest = z.infer<typeof ConfirmRequest>;

export const ConfirmReply = z.object({
  cluster: Name,
  operation: OperationId,
  decider: Name,
  judgedAgoMs: Ms.describe(
    "since that was judged which the order rests on, by the decider's monotonic clock",
  ),
});
export type ConfirmReply = z.infer<typeof ConfirmReply>;

export const ProberVote = z.object({
  prober: Name,
  region: Name,
  finds: z.enum(["alive", "dead", "unsure", "blind"]),
  outcome: Outcome,
  attempts: z.number().int(),
  silentMs: Ms,
  thresholdMs: Ms,
  otherUuid: z
    .string()
    .optional()
    .describe("the server that answers at the primary's address and is not the primary"),
});
export type ProberVote = z.infer<typeof ProberVote>;

/** What a replica's receiver says of the primary. `stopped` and `elsewhere` are no witnesses of death. */
export const ReplicaVote = z.object({
  node: Name,
  finds: z.enum(["hears", "lost", "silent", "stopped", "elsewhere", "unreachable", "unknown"]),
  heardAgeMs: Ms.nullable(),
});
export type ReplicaVote = z.infer<typeof ReplicaVote>;

export const Diagnosis = z.object({
  cluster: Name,
  code: DiagnosisCode,
  previous: DiagnosisCode.nullable(),
  node: Name.nullable(),
  severity: Severity,
  epoch: z.number().int().min(0).describe("0 before the cluster is adopted"),
  summary: z.string(),
  probers: z.array(ProberVote),
  replicas: z.array(ReplicaVote),
  refusal: RefusalCode.nullable().describe("why a failover would not be safe"),
  decider: Name,
  suspectedForMs: Ms.describe("since this decider first suspected it"),
});
export type Diagnosis = z.infer<typeof Diagnosis>;

export const Intent = z.object({
  operation: OperationId,
  cluster: Name,
  kind: OperationKind,
  node: Name.describe("failover: the primary to replace; rejoin and adopt: the node"),
  epoch: z.number().int().min(0).describe("the epoch it starts from"),
  stateRevision: z.number().int().min(0).describe("revision of baton_state it starts from; 0: there is none"),
  lockRevision: z.number().int().min(0),
  diagnosis: DiagnosisCode,
  reason: z.string(),
  decider: Name,
  candidate: Name.nullable().describe(
    "switchover: who shall be primary; rebuild: the donor; split-brain: whose history a person keeps; null: Baton chooses",
  ),
  force: z
    .boolean()
    .optional()
    .describe("switchover: a person goes on although a check that is not about safety fails"),
  byPerson: z
    .boolean()
    .optional()
    .describe(
      "rebuild, repair: a person asked for it, so that no brake holds it back; a switchover is always asked for",
    ),
  repair: RepairCode.optional().describe("repair, rejoin and split-brain: the fault that is mended"),
  inject: z
    .boolean()
    .optional()
    .describe("repair of gtid-drift: the primary gets empty transactions of the same GTIDs"),
  unseen: z
    .object({ ms: Ms, transactions: z.number().int().min(0) })
    .optional()
    .describe("failover: since the primary was last read, and what it may have written in that time at most"),
  mark: GtidSetText.optional().describe(
    "the high-water mark as this decider knows it: what a node must hold to be opened",
  ),
  acceptLoss: AcceptLoss.optional().describe("failover and reopen, ordered by a person"),
  nodes: z
    .record(Name, NodeStatus.nullable())
    .describe("the last status that the decider has seen of each node"),
});
export type Intent = z.infer<typeof Intent>;

export const StepName = z.enum([
  "claim",
  "fence",
  "read",
  "choose",
  "catch-up",
  "commit",
  "open",
  "repoint",
  "announce",
  "prove",
  "check",
  "adopt",
  "rejoin",
  "quarantine",
  "roll-back",
  "preflight",
  "freeze",
  "degrade",
  "restore",
  "salvage",
  "clone",
  "repair",
  "stop",
  "snapshot",
  "arbitrate",
  "resume",
  "dump",
  "park",
  "leave",
]);
export type StepName = z.infer<typeof StepName>;

export const Step = z.object({
  cluster: Name,
  operation: OperationId,
  kind: OperationKind,
  epoch: z.number().int().min(0).describe("the epoch the operation leads to"),
  executor: Name,
  takeovers: z.number().int().min(0),
  step: StepName,
  outcome: z.enum(["done", "refused", "failed"]),
  code: RefusalCode.nullable(),
  atMs: Ms.describe("when it began, since this executor took the intent up"),
  tookMs: Ms,
  summary: z.string(),
  detail: z
    .record(z.string(), z.json())
    .describe("GTID sets, ranking, nodes reached: what the step rests on"),
});
export type Step = z.infer<typeof Step>;

export const EventType = z.enum([
  "cluster-adopted",
  "primary-changed",
  "operation-ended",
  "node-rejoined",
  "node-quarantined",
  "primary-reopened",
  "node-rebuilt",
  "rebuild-progress",
  "errant-salvaged",
  "brake-changed",
  "node-repaired",
  "split-brain-snapshot",
  "split-brain-resolved",
  "switchover-planned",
  "switchover-skipped",
  "durability-degraded",
  "durability-restored",
  "state-put-back",
  "nats-lost-data",
  "member-parked",
  "member-counted",
  "member-left",
]);
export type EventType = z.infer<typeof EventType>;

export const Event = z.object({
  cluster: Name,
  type: EventType,
  epoch: z.number().int().min(0),
  operation: OperationId.nullable(),
  kind: OperationKind.nullable(),
  node: Name.nullable(),
  outcome: OperationOutcome.nullable(),
  code: RefusalCode.nullable(),
  summary: z.string(),
  primary: z
    .object({ node: Name, host: z.string(), port: z.number().int(), serverUuid: z.string() })
    .nullable()
    .describe("the primary from now on, where the event is about that"),
  previous: Name.nullable().describe("the primary until now"),
  next: z.string().nullable().describe("the next command for a person, where one is needed"),
  detail: z.record(z.string(), z.json()),
});
export type Event = z.infer<typeof Event>;

export const Alert = z.object({
  id: z.string().min(1).max(200).describe("the same for every delivery of this alert: deduplicate by it"),
  cluster: Name,
  severity: Severity,
  code: z.union([DiagnosisCode, RefusalCode, EventType]),
  title: z.string().max(200),
  summary: z.string(),
  action: z.string().describe("what Baton does, or what a person should do"),
  node: Name.nullable(),
  epoch: z.number().int().min(0),
  operation: OperationId.nullable(),
  source: z.string(),
  atUnixMs: UnixMs,
});
export type Alert = z.infer<typeof Alert>;
