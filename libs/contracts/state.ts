/** The cluster's state and the other KV values. Each change of state is a compare-and-set by an executor. */
import { z } from "zod";
import { DiagnosisCode, RefusalCode, RepairCode } from "./codes.ts";
import { kept } from "./kept.ts";
import { GtidSetText, Ms, Name, OperationId, UnixMs } from "./names.ts";

export const OperationKind = z.enum([
  "adopt",
  "failover",
  "rejoin",
  "reopen",
  "switchover",
  "rebuild",
  "repair",
  "split-brain",
  "degrade",
  "restore",
  "membership",
]);
export type OperationKind = z.infer<typeof OperationKind>;

/**
 * `steady` no operation runs. `fencing` the old primary is being shut out: a crash here may still roll back.
 * `promoting` the point of no return is passed: a crash here rolls forward. `mending` a node is being led
 * home, or a primary that restarted gets its pen back; a failover may take the state over.
 */
export const Phase = z.enum(["steady", "fencing", "promoting", "mending"]);
export type Phase = z.infer<typeof Phase>;

export const OperationOutcome = z.enum(["completed", "rolled-back", "blocked"]);
export type OperationOutcome = z.infer<typeof OperationOutcome>;

/** What an operation must put back if it ends before its commit point. */
export const Before = kept({
  receiverOn: z.array(Name).describe("replicas whose receiver ran when the operation began"),
  writable: z.array(Name).describe("nodes that were writable when the operation began"),
  sources: z
    .record(Name, kept({ host: z.string(), port: z.number().int() }))
    .optional()
    .describe("whom each replica followed"),
  applierOff: z.array(Name).optional().describe("replicas whose applier stood still"),
});
export type Before = z.infer<typeof Before>;

/** What a failover may lose: where writes did not have to wait for acks, that is more than nothing. */
export const Loss = kept({
  known: GtidSetText.describe("seen on the old primary, and not on the new one"),
  count: z.number().int().min(0).describe("how many these are"),
  unseen: z
    .number()
    .int()
    .min(0)
    .describe("how many more it may have written since, at twice the highest rate it was seen to write at"),
  unseenMs: Ms.describe("from when the old primary was last read until the order"),
  atMost: z.number().int().min(0).describe("count + unseen: what policy.loss is compared with"),
  unfenced: z
    .boolean()
    .describe("the old primary is silent and could not be shut: what it may still answer comes on top"),
});
export type Loss = z.infer<typeof Loss>;

/** What a person gives up with a failover or a reopening. */
export const AcceptLoss = z.object({
  gtids: GtidSetText.describe("writes of the high-water mark that a person gives up"),
  unproven: z
    .boolean()
    .describe("a person also accepts that writes may be lost which nobody has seen: durability-unproven"),
  by: z.string().max(200),
});
export type AcceptLoss = z.infer<typeof AcceptLoss>;

/** What was ordered: enough to give the intent again when NATS has lost it. Taken out of the intent: only this is kept of it. */
export const Ordered = z.object({
  epoch: z.number().int().min(0),
  stateRevision: z.number().int().min(0),
  diagnosis: DiagnosisCode,
  reason: z.string(),
  candidate: Name.nullable(),
  force: z.boolean().optional(),
  byPerson: z.boolean().optional(),
  inject: z.boolean().optional(),
  acceptLoss: AcceptLoss.optional(),
  unseen: kept({ ms: Ms, transactions: z.number().int().min(0) }).optional(),
});
export type Ordered = z.infer<typeof Ordered>;

export const RunningOperation = kept({
  id: OperationId,
  kind: OperationKind,
  node: Name.describe("failover: the old primary; rejoin and adopt: the node"),
  executor: z.string(),
  takeovers: z.number().int().min(0),
  startedUnixMs: UnixMs,
  committedUnixMs: UnixMs.optional().describe("when it passed its commit point"),
  candidate: Name.nullable(),
  before: Before,
  repair: RepairCode.optional().describe("the fault that it mends, where it mends one"),
  ordered: Ordered.optional().describe("absent in states of older versions"),
  aborted: z
    .object({ by: z.string().max(200), reason: z.string().max(500), atUnixMs: UnixMs })
    .optional()
    .describe("a person wants it ended: whoever takes it over next does that, as its phase allows"),
  loss: Loss.optional().describe("from the commit point on: what this failover may have lost"),
});
export type RunningOperation = z.infer<typeof RunningOperation>;

export const EndedOperation = kept({
  id: OperationId,
  kind: OperationKind,
  outcome: OperationOutcome,
  code: RefusalCode.nullable(),
  endedUnixMs: UnixMs,
  loss: Loss.optional().describe("what this failover may have lost"),
});
export type EndedOperation = z.infer<typeof EndedOperation>;

/** An order comes again within seconds of its executor's death: few others end in that time. */
export const EARLIER_KEPT = 4;
/** More than any flap limit counts. */
export const FAILOVERS_KEPT = 50;
/** The newest of all nodes together; a reign that mends more within an hour has other troubles. */
export const REPAIRS_KEPT = 200;

export const MadeRepair = kept({ code: RepairCode, node: Name, endedUnixMs: UnixMs });
export type MadeRepair = z.infer<typeof MadeRepair>;

/** A member that nobody waits for: it cannot acknowledge before Baton itself starts its receiver, or a person has said that it will not. */
export const ParkedMember = kept({
  serverUuid: z.string(),
  startedUnixS: z
    .number()
    .int()
    .nullable()
    .describe("the start of its server that has ended; null: not known"),
  sinceUnixMs: UnixMs,
  byPerson: z
    .boolean()
    .describe(
      "`baton forget`, or taken out of the declaration; else Baton has seen that its process is gone",
    ),
  why: z.string().max(500),
  left: z
    .literal(true)
    .optional()
    .describe("it was taken out of the declaration: declared again, it counts again"),
});
export type ParkedMember = z.infer<typeof ParkedMember>;

/** Writes that a person has given up by name: no node need hold them any more. */
export const Forgone = kept({
  gtids: GtidSetText,
  by: z.string().max(200),
  atUnixMs: UnixMs,
});
export type Forgone = z.infer<typeof Forgone>;

export const ClusterState = kept({
  cluster: Name,
  epoch: z.number().int().min(1),
  primary: Name,
  primaryUuid: z.string(),
  installation: z
    .string()
    .max(64)
    .optional()
    .describe(
      "made when the cluster was adopted: tells this Baton's reign over the data from another's; absent in states of older versions",
    ),
  phase: Phase,
  operation: RunningOperation.nullable(),
  last: EndedOperation.nullable(),
  earlier: z
    .array(EndedOperation)
    .max(EARLIER_KEPT)
    .optional()
    .describe(
      "those that ended before `last`, oldest first, and those that gave way: whose end an executor that died may not have told",
    ),
  quarantined: z.array(Name),
  parked: z
    .record(Name, ParkedMember)
    .optional()
    .describe("declared replicas that do not count among the members until Baton has a hand on them again"),
  unbuilt: z
    .record(Name, z.number())
    .optional()
    .describe(
      "nodes whose data a rebuild has begun to replace, and when (seconds, the node's own clock): only a rebuild leads them home",
    ),
  hollow: z
    .record(Name, z.number().int())
    .optional()
    .describe(
      "quarantined nodes that lack a part of the history which following does not bring under this server_id: a rebuild leads them home, or another id",
    ),
  degraded: kept({ sinceUnixMs: UnixMs, executed: GtidSetText })
    .optional()
    .describe(
      "since when the primary may answer writes that wait for no ack, and its last set before: all of that is safe",
    ),
  unrestored: z
    .array(Name)
    .optional()
    .describe(
      "nodes that an operation stopped or closed, and could not put back when it was given up: that is done when they can be reached",
    ),
  failovers: z
    .array(UnixMs)
    .max(FAILOVERS_KEPT)
    .default([])
    .describe(
      "when the last completed failovers ended, oldest first, by the executors' clocks; never decreasing",
    ),
  repairs: z
    .array(MadeRepair)
    .max(REPAIRS_KEPT)
    .optional()
    .describe("repairs in this reign, oldest first, dated as `failovers`: what cooldown and limit count"),
  primaryStartedUnixS: z
    .number()
    .int()
    .optional()
    .describe("start of the primary's server when it was opened last, by its own clock"),
  forgone: Forgone.optional().describe(
    "what a person gave up so that a primary could be opened: taken off the high-water mark",
  ),
  servers: z
    .record(Name, z.string())
    .optional()
    .describe(
      "node → server_uuid of whoever followed at the adoption or has been primary since: these are no strangers, whatever they hold",
    ),
  undecided: z
    .array(Name)
    .optional()
    .describe(
      "nodes whose histories each hold acknowledged writes that the others have not: a person chooses, nothing is done by itself",
    ),
});
export type ClusterState = z.infer<typeof ClusterState>;

/**
 * The high-water mark of a cluster: what its primary was last seen to have executed, and whether its writes have waited for acks (SAFETY.md,
 * "What the promises rest on"). Deciders only ever raise the set, by compare-and-set.
 */
export const Mark = kept({
  cluster: Name,
  epoch: z.number().int().min(1),
  primary: Name,
  primaryUuid: z.string(),
  executed: GtidSetText.describe("whoever is opened must hold it, but for what a person has given up"),
  durability: kept({
    proven: z.boolean().describe("every acknowledged write is held by k members, as far as was ever seen"),
    acks: z.number().int().min(1).describe("k, for which that is so"),
    why: z.string().max(500).describe("what proves it, or what speaks against it"),
    sinceUnixMs: UnixMs,
  }),
  decider: Name.describe("who wrote it"),
});
export type Mark = z.infer<typeof Mark>;

export const LockHolder = z.object({
  operation: OperationId,
  kind: OperationKind,
  holder: z.string().describe("instance that created or renewed it last"),
  sinceUnixMs: UnixMs,
});
export type LockHolder = z.infer<typeof LockHolder>;

/** The highest that a replica has been seen to hold. It must still hold it to vouch for what it acknowledged. */
export const Vouch = z.object({
  cluster: Name,
  node: Name,
  serverUuid: z.string(),
  startedUnixS: z.number().int(),
  held: GtidSetText.describe("received ∪ executed"),
});
export type Vouch = z.infer<typeof Vouch>;

/**
 * A part of what a node held alone when its data were replaced: mysqlbinlog's text, packed by gzip and cut. Kept until a person
 * removes it.
 */
export const Salvage = z.object({
  cluster: Name,
  node: Name,
  operation: OperationId,
  part: z.number().int().min(0),
  parts: z.number().int().min(1).nullable().describe("how many there are; only the last one knows"),
  gzip: z.string().min(1).describe("base64; one stream, cut anywhere"),
});
export type Salvage = z.infer<typeof Salvage>;

/**
 * A time that a person has set aside. A date is all that a person can say of it, so here a wall clock decides: each service's own
 * opens and ends it. It holds back, it never permits: a clock that is off costs time, not data.
 */
export const Window = kept({
  fromUnixMs: UnixMs,
  untilUnixMs: UnixMs.describe("it ends by itself then"),
  by: z.string().max(200),
  reason: z.string().max(500),
});
export type Window = z.infer<typeof Window>;

/** More than anybody plans ahead. */
export const WINDOWS_KEPT = 20;

/** A person's hand on the brake, for one cluster or for all (key `_all`). Deciders order nothing but what a person asks for. */
export const Brake = kept({
  paused: z.boolean(),
  by: z.string().max(200),
  reason: z.string().max(500),
  sinceUnixMs: UnixMs,
  acknowledgedUnixMs: UnixMs.describe(
    "failovers up to this one, as ClusterState.failovers dates it, count neither for the cooldown nor for the flap limit",
  ),
  maintenance: z
    .array(Window)
    .max(WINDOWS_KEPT)
    .optional()
    .describe(
      "the cluster's windows, now and to come, in order; while one is on, nothing is done without a person",
    ),
  downtimes: z
    .record(Name, Window)
    .optional()
    .describe("node → until when a person has it in hand: it is left alone, and its outage is no news"),
});
export type Brake = z.infer<typeof Brake>;

/**
 * A switchover that a person has planned. It is taken by writing the order into it, by compare-and-set: whoever takes it up again gives the
 * very same order, which can run once only.
 */
export const Planned = kept({
  cluster: Name,
  id: Name.describe("tells this plan from any other of the cluster"),
  atUnixMs: UnixMs,
  to: Name.nullable().describe("null: Baton chooses then"),
  force: z.boolean(),
  by: z.string().max(200),
  order: kept({
    candidate: Name,
    stateRevision: z.number().int().min(1).describe("of the state that it leaves"),
    decider: Name,
  })
    .nullable()
    .describe("null: its time has not come"),
});
export type Planned = z.infer<typeof Planned>;

export const ServiceName = z.enum(["prober", "decider", "executor", "notifier", "auditor"]);
export type ServiceName = z.infer<typeof ServiceName>;

export const Presence = z.object({
  service: ServiceName,
  instance: Name,
  region: Name,
  version: z.string(),
  startedUnixMs: UnixMs,
  host: z.string(),
  pid: z.number().int(),
  http: z.string().nullable().describe("host:port of /livez, /readyz and /metrics"),
});
export type Presence = z.infer<typeof Presence>;
