/** What the user declares of a cluster: its nodes and its policy. Kept in the `baton_clusters` bucket. */
import { z } from "zod";
import { Ms, Name } from "./names.ts";

export const PromotionRule = z.enum(["prefer", "neutral", "never"]);
export type PromotionRule = z.infer<typeof PromotionRule>;

export const DeclaredNode = z.strictObject({
  host: z.string().min(1),
  port: z.number().int().min(1).max(65535).default(3306),
  region: Name.default("local"),
  promotion: PromotionRule.default("neutral"),
});
export type DeclaredNode = z.infer<typeof DeclaredNode>;

/** Every wait of an operation is bounded by one of these. */
export const Deadlines = z.strictObject({
  fenceMs: Ms.default(6_000).describe(
    "to fence the old primary or stop its ackers; STOP REPLICA may wait replica_net_timeout (4 s) for a host that vanished",
  ),
  catchUpMs: Ms.default(30_000).describe("for the candidate to apply all it has received"),
  preferMs: Ms.default(5_000).describe(
    "for a preferred candidate that is behind to catch up from the most advanced replica; then that one is promoted",
  ),
  openMs: Ms.default(5_000).describe("for the candidate to open and the others to be pointed at it"),
  forwardMs: Ms.default(60_000).describe(
    "after the commit point: an operation that still cannot be carried to its end is given up for a person (`blocked`)",
  ),
  proveMs: Ms.default(30_000).describe("for the canary write to be read on an acker"),
  rebuildMs: Ms.default(3_600_000).describe(
    "for a node that is rebuilt: copy, restart and catch-up together; a large node needs more than an hour",
  ),
});
export type Deadlines = z.infer<typeof Deadlines>;

export const RepairPolicy = z.enum(["auto", "ask", "never"]);
export type RepairPolicy = z.infer<typeof RepairPolicy>;

/** Whether Baton mends by itself, tells a person the command that does, or leaves it alone. */
export const Repairs = z.strictObject({
  "split-brain": RepairPolicy.default("auto"),
  "replica-writable": RepairPolicy.default("auto"),
  "semi-sync-waiting": RepairPolicy.default("auto"),
  "semi-sync-off": RepairPolicy.default("auto"),
  "semi-sync-broken": RepairPolicy.default("auto"),
  "replica-wrong-source": RepairPolicy.default("auto"),
  "replication-error": RepairPolicy.default("auto").describe(
    "start an applier again after an error that passes; any other is a person's",
  ),
  "replication-stopped": RepairPolicy.default("auto").describe(
    "start what stands still since a restart; what a person stopped is a person's",
  ),
  "replica-hollow": RepairPolicy.default("auto").describe(
    "quarantine a node that lacks for good what its receiver leaves out, and then as policy.rebuild says",
  ),
  "gtid-drift": RepairPolicy.default("ask").describe(
    "auto: quarantine the node, and then as policy.rebuild says; empty transactions are a person's choice",
  ),
  "epoch-unmarked": RepairPolicy.default("auto"),
  cooldownMs: Ms.default(10_000).describe("after a repair, before the same one is made on the same node"),
  perHour: z
    .number()
    .int()
    .min(1)
    .max(50)
    .default(6)
    .describe("the same repair on the same node within an hour; then it is left to a person"),
});
export type Repairs = z.infer<typeof Repairs>;

export const Policy = z.strictObject({
  durability: z
    .enum(["lossless", "available"])
    .default("lossless")
    .describe(
      "lossless: a failover loses no acknowledged write, or is refused; available: it may lose the last ones, and says how many",
    ),
  acks: z.number().int().min(1).max(63).default(1).describe("k: acks that a write waits for"),
  ackTimeoutMs: Ms.default(1_000).describe(
    "available, or degraded: a write that has waited so long goes on without acks; 0 is as good as asynchronous",
  ),
  onAckLoss: z
    .enum(["wait", "degrade"])
    .default("wait")
    .describe(
      "lossless, with fewer than `acks` ackers attached: writes wait for them, or go on without after degradeAfterMs",
    ),
  degradeAfterMs: Ms.default(5_000).describe("onAckLoss degrade: so long writes wait first"),
  loss: z
    .strictObject({ maxTransactions: z.number().int().min(0).default(1_000) })
    .prefault({})
    .describe("available, or degraded: a failover that may lose more is refused"),
  mode: z
    .enum(["observe", "advise", "auto"])
    .default("auto")
    .describe("observe: diagnose and record; advise: also alert what would be done; auto: do it"),
  cooldownMs: Ms.default(0).describe("after a failover, before Baton fails over again by itself"),
  lagCeilingMs: Ms.default(10_000).describe(
    "a replica that applies later than this is promoted only if no other can be",
  ),
  flapLimit: z
    .strictObject({ failovers: z.number().int().min(1).max(50).default(5), withinMs: Ms.default(3_600_000) })
    .prefault({})
    .describe("so many failovers in so long, then a person must `baton ack`"),
  rebuild: z
    .enum(["auto", "ask", "never"])
    .default("ask")
    .describe("what becomes of a quarantined node: rebuilt by itself, when a person says so, or never"),
  rejoin: z.boolean().default(true).describe("repoint a clean former primary by itself"),
  repairs: Repairs.prefault({}),
  deadlines: Deadlines.prefault({}),
});
export type Policy = z.infer<typeof Policy>;

export const Cluster = z.strictObject({
  nodes: z.record(Name, DeclaredNode),
  policy: Policy.prefault({}),
});
export type Cluster = z.infer<typeof Cluster>;

/** A declaration as it lies in the bucket: with its name. */
export const DeclaredCluster = Cluster.extend({
  cluster: Name,
  accepted: z
    .record(Name, z.string())
    .optional()
    .describe(
      "node → server_uuid of a server whose own data were given up when it was declared: it held nothing, or a person said so",
    ),
  leaving: z
    .array(Name)
    .optional()
    .describe(
      "nodes that a person has taken out and that are still declared: each counts until it has stopped acknowledging and others hold what it holds",
    ),
});
export type DeclaredCluster = z.infer<typeof DeclaredCluster>;
