/** Requests with a reply, over the NATS service API: `baton.v1.command.<verb>`. */
import { z } from "zod";
import { RepairPolicy } from "./cluster.ts";
import { DiagnosisCode, ErrorCode, Outcome, RefusalCode, RepairCode } from "./codes.ts";
import { Ms, Name, OperationId, UnixMs } from "./names.ts";
import { Diagnosis } from "./payloads.ts";
import { Loss, Phase, Planned, Window } from "./state.ts";

export const NodeRole = z.enum(["primary", "replica", "detached", "unknown"]);
export type NodeRole = z.infer<typeof NodeRole>;

export const NodeView = z.object({
  node: Name,
  host: z.string(),
  port: z.number().int(),
  region: Name,
  role: NodeRole,
  outcome: Outcome.nullable().describe("null: no sample yet"),
  rttMs: Ms.nullable(),
  delayMs: Ms.nullable(),
  writable: z.boolean().nullable(),
  version: z.string().nullable(),
  executed: z.string().nullable(),
  quarantined: z.boolean(),
  serverUuid: z.string().nullable().default(null).describe("null: not known"),
  member: z
    .object({ counts: z.boolean(), why: z.string() })
    .nullable()
    .default(null)
    .describe("whether a failover must reckon with its acks; null: the primary, or no cluster yet"),
  problems: z.array(DiagnosisCode),
  downtime: Window.nullable().default(null).describe("a person has the node in hand"),
});
export type NodeView = z.infer<typeof NodeView>;

export const ClusterView = z.object({
  cluster: Name,
  epoch: z.number().int().min(0),
  phase: Phase.nullable().describe("null: not adopted yet"),
  primary: Name.nullable(),
  operation: OperationId.nullable(),
  diagnosis: Diagnosis,
  nodes: z.array(NodeView),
  brake: z
    .string()
    .nullable()
    .describe("a sentence: who keeps Baton from acting by itself, why, since when; null: nobody"),
  maintenance: z.array(Window).default([]).describe("windows that are on or to come, in order"),
  planned: Planned.nullable().default(null).describe("a switchover that is to come"),
  failover: z.object({
    possible: z.boolean(),
    candidate: Name.nullable(),
    refusal: RefusalCode.nullable(),
    reason: z.string(),
    loss: Loss.nullable()
      .optional()
      .describe("what it may lose; null or absent: nothing that was acknowledged"),
  }),
  durability: z
    .string()
    .optional()
    .describe(
      "a sentence, where a write that was answered may be lost: the mode, or since when it is degraded",
    ),
  probers: z.array(z.object({ prober: Name, region: Name, lastSampleAgeMs: Ms })),
});
export type ClusterView = z.infer<typeof ClusterView>;

export const ArchivedRecord = z.object({
  seq: z.number().int(),
  kind: z.enum(["diagnosis", "intent", "step", "event", "alert"]),
  atUnixMs: UnixMs,
  cluster: Name,
  operation: z.string().nullable(),
  traceId: z.string(),
  source: z.string(),
  subject: z.string(),
  payload: z.json(),
  sha256: z.string().describe("of the payload as received"),
  chain: z.string().describe("SHA-256 over the previous record's chain value and this record"),
});
export type ArchivedRecord = z.infer<typeof ArchivedRecord>;

export const OperationSummary = z.object({
  operation: OperationId,
  cluster: Name,
  kind: z.string(),
  epoch: z.number().int(),
  node: z.string().nullable(),
  outcome: z.string().nullable(),
  code: z.string().nullable(),
  startedUnixMs: UnixMs,
  tookMs: Ms.nullable().describe("from the intent to the operation's end, by archive times"),
  summary: z.string(),
  traceId: z.string(),
});
export type OperationSummary = z.infer<typeof OperationSummary>;

export const COMMANDS = {
  status: {
    request: z.strictObject({ cluster: Name.nullable() }),
    reply: z.object({ decider: Name, clusters: z.array(ClusterView) }),
  },
  switchover: {
    request: z.strictObject({
      cluster: Name,
      to: Name.nullable().describe("null: Baton chooses"),
      dryRun: z.boolean(),
      force: z.boolean().describe("go on although a check that is not about safety fails"),
    }),
    reply: z.object({
      operation: OperationId.nullable().describe("null for a dry run"),
      from: Name,
      to: Name,
      checks: z.array(
        z.object({ check: z.string(), ok: z.boolean(), safety: z.boolean(), found: z.string() }),
      ),
      notChosen: z.array(z.object({ node: Name, reason: z.string() })),
      expectedPauseMs: Ms,
    }),
  },
  failover: {
    request: z.strictObject({
      cluster: Name,
      to: Name.nullable().describe("null: Baton chooses; the primary itself: it is opened again as it is"),
      dryRun: z.boolean(),
      acceptLoss: z.string().nullable().describe("a GTID set that is given up; null: nothing is"),
      acceptUnproven: z
        .boolean()
        .describe("go on although writes may be lost that nobody has seen (durability-unproven)"),
      by: z.string(),
    }),
    reply: z.object({
      operation: OperationId.nullable().describe("null for a dry run"),
      from: Name,
      to: Name,
      reason: z.string(),
      notChosen: z.array(z.object({ node: Name, reason: z.string() })),
    }),
  },
  plan: {
    request: z.strictObject({
      cluster: Name,
      switchover: z
        .strictObject({
          atUnixMs: UnixMs,
          to: Name.nullable().describe("null: Baton chooses then"),
          force: z.boolean(),
        })
        .nullable()
        .describe("null: take the planned one back"),
      by: z.string(),
    }),
    reply: z.object({
      cluster: Name,
      planned: Planned.nullable().describe("what was planned or taken back; null: there was nothing"),
      candidate: Name.nullable().describe("who would be primary if it were done now"),
      against: z
        .string()
        .nullable()
        .describe("why it would be skipped if it were due now; null: it would not"),
    }),
  },
  rebuild: {
    request: z.strictObject({ cluster: Name, node: Name, from: Name.nullable() }),
    reply: z.object({ operation: OperationId, node: Name, from: Name }),
  },
  repair: {
    request: z.strictObject({
      cluster: Name,
      node: Name.nullable().describe("null: the gravest fault of the cluster"),
      dryRun: z.boolean(),
      inject: z.boolean().describe("gtid-drift: empty transactions on the primary in place of a quarantine"),
      keep: z.boolean().describe("split-brain: the node's history is kept, the others' is given up"),
    }),
    reply: z.object({
      operation: OperationId.nullable().describe("null: a dry run, or nothing that can be mended"),
      faults: z
        .array(
          z.object({
            node: Name,
            code: RepairCode,
            found: z.string(),
            policy: RepairPolicy,
            ways: z
              .array(z.object({ what: z.string(), command: z.string().nullable() }))
              .describe("what can be done; the first is what Baton does when it is ordered"),
          }),
        )
        .describe("gravest first; the first is what is mended"),
    }),
  },
  pause: {
    request: z.strictObject({
      cluster: Name.nullable().describe("null: all"),
      by: z.string(),
      reason: z.string(),
    }),
    reply: z.object({ paused: z.array(Name) }),
  },
  resume: {
    request: z.strictObject({ cluster: Name.nullable().describe("null: all"), by: z.string() }),
    reply: z.object({
      resumed: z.array(Name),
      stillPaused: z
        .array(z.object({ cluster: Name, brake: z.string(), next: z.string() }))
        .describe("another brake holds them: who, why, and the command that releases it"),
    }),
  },
  ack: {
    request: z.strictObject({ cluster: Name, by: z.string() }),
    reply: z.object({
      cluster: Name,
      acknowledged: z.number().int().describe("failovers that counted until now"),
    }),
  },
  forget: {
    request: z.strictObject({
      cluster: Name,
      node: Name,
      dryRun: z.boolean(),
      by: z.string().max(200),
      reason: z.string().max(500),
    }),
    reply: z.object({
      operation: OperationId.nullable().describe("null for a dry run"),
      node: Name,
      members: z.array(Name).describe("who counts afterwards, beside the primary"),
      needed: z.number().int().describe("how many of these a failover must stop and read"),
    }),
  },
  abort: {
    request: z.strictObject({ cluster: Name, by: z.string().max(200), reason: z.string().max(500) }),
    reply: z.object({
      cluster: Name,
      operation: OperationId,
      phase: Phase,
      ends: z.string().describe("a sentence: what its phase allows"),
    }),
  },
  maintenance: {
    request: z.strictObject({
      cluster: Name,
      window: z
        .strictObject({
          fromUnixMs: UnixMs.nullable().describe("null: now, by the decider's clock"),
          untilUnixMs: UnixMs.nullable().describe("null: forMs after its beginning"),
          forMs: Ms.nullable(),
        })
        .nullable()
        .describe("null: end what is on, else take the next one back"),
      by: z.string(),
      reason: z.string(),
    }),
    reply: z.object({
      cluster: Name,
      windows: z.array(Window).describe("what was set, ended or taken back"),
      on: z.boolean().describe("whether the cluster is in maintenance now"),
      running: OperationId.nullable().describe("an operation that goes on to its end all the same"),
    }),
  },
  downtime: {
    request: z.strictObject({
      cluster: Name,
      node: Name,
      untilUnixMs: UnixMs.nullable(),
      forMs: Ms.nullable().describe("both null: end it"),
      by: z.string(),
      reason: z.string(),
    }),
    reply: z.object({
      cluster: Name,
      node: Name,
      window: Window.nullable().describe("the one that was set or ended; null: there was none"),
      on: z.boolean(),
      refusal: z
        .string()
        .nullable()
        .describe("why a failover would be refused as things are now; null: it would not"),
    }),
  },
  history: {
    request: z.strictObject({
      cluster: Name.nullable(),
      operation: z.string().nullable(),
      limit: z.number().int().min(1).max(1_000),
    }),
    reply: z.object({
      auditor: Name,
      operations: z.array(OperationSummary),
      records: z.array(ArchivedRecord).describe("only when one operation was asked for"),
    }),
  },
} as const;
export type CommandVerb = keyof typeof COMMANDS;
export type CommandRequest<V extends CommandVerb> = z.infer<(typeof COMMANDS)[V]["request"]>;
export type CommandReply<V extends CommandVerb> = z.infer<(typeof COMMANDS)[V]["reply"]>;

/** How a command is refused: an HTTP-like status, a code, and what to do. */
export const CommandError = z.object({
  status: z.number().int(),
  code: ErrorCode,
  message: z.string(),
  remedy: z.string(),
});
export type CommandError = z.infer<typeof CommandError>;
