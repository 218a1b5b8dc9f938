/** What a mysqld says of itself in one status read. Ages are measured on the node's own clock. */
import { z } from "zod";
import { GtidSetText, Ms } from "./names.ts";

export const Flavour = z.enum(["mysql", "mariadb"]);
export type Flavour = z.infer<typeof Flavour>;

/** `on` is connected and receiving; `connecting` lost its source and is trying; `off` is stopped. */
export const ReceiverState = z.enum(["on", "connecting", "off"]);
export type ReceiverState = z.infer<typeof ReceiverState>;

export const ReplicaStatus = z.object({
  sourceHost: z.string(),
  sourcePort: z.number().int(),
  sourceUuid: z.string().describe("empty until the receiver has connected once"),
  receiver: ReceiverState,
  receiverErrno: z.number().int(),
  receiverError: z.string(),
  heardAgeMs: Ms.nullable().describe("since the last heartbeat or transaction from the source"),
  applier: z.enum(["on", "off"]),
  applierErrno: z.number().int(),
  applierError: z.string(),
  received: GtidSetText,
  autoPosition: z.boolean(),
  filtered: z
    .boolean()
    .optional()
    .describe(
      "true: it has replication filters, so that it may lack rows of transactions that its GTIDs name",
    ),
  delayMs: Ms.nullable().describe(
    "commit on the source to apply here, of the transaction applied last; 0 when idle",
  ),
});
export type ReplicaStatus = z.infer<typeof ReplicaStatus>;

export const SemiSyncStatus = z.object({
  source: z.boolean().describe("rpl_semi_sync_source_enabled"),
  sourceActive: z.boolean().describe("Rpl_semi_sync_source_status: commits do wait for acks"),
  acks: z.number().int().describe("rpl_semi_sync_source_wait_for_replica_count"),
  timeoutMs: z.number(),
  waitNoReplica: z.boolean(),
  afterSync: z.boolean(),
  clients: z.number().int().describe("ackers attached"),
  waiting: z.number().int().describe("sessions waiting for an ack now"),
  timesOff: z
    .number()
    .int()
    .optional()
    .describe(
      "Rpl_semi_sync_source_no_times: how often the source has stopped waiting for acks since its start",
    ),
  replica: z.boolean().describe("rpl_semi_sync_replica_enabled"),
  replicaActive: z.boolean(),
});
export type SemiSyncStatus = z.infer<typeof SemiSyncStatus>;

/** The row of `baton.epoch`: the first transaction of each epoch writes it on the primary, and it replicates with the data. */
export const EpochRow = z.object({
  installation: z.string().describe("ClusterState.installation of whoever leads the cluster"),
  cluster: z.string(),
  epoch: z.number().int().min(0),
  primaryUuid: z.string().describe("server_uuid of this epoch's primary"),
});
export type EpochRow = z.infer<typeof EpochRow>;

export const NodeStatus = z.object({
  serverUuid: z.string().describe("of MariaDB, which has none: server-id-<server_id>"),
  serverId: z.number().int(),
  version: z.string(),
  flavour: Flavour,
  startedUnixS: z.number().int().describe("the second of the server's start, by its own clock"),
  readOnly: z.boolean(),
  superReadOnly: z
    .boolean()
    .describe("MariaDB has none: the same as readOnly, which READ ONLY ADMIN gets past"),
  gtidMode: z.boolean(),
  executed: GtidSetText,
  relayLogRecovery: z.boolean(),
  skipReplicaStart: z
    .boolean()
    .optional()
    .describe(
      "skip_replica_start: it acknowledges nothing after a boot until somebody starts its receiver; absent: not told",
    ),
  logBin: z.boolean().optional().describe("log_bin; absent: not told"),
  logReplicaUpdates: z.boolean().optional().describe("log_replica_updates; absent: not told"),
  replica: ReplicaStatus.nullable().describe("null when no replication channel is configured"),
  semiSync: SemiSyncStatus.nullable().describe("null when the plugins are not installed"),
  epoch: EpochRow.nullable()
    .optional()
    .describe(
      "what the data say of themselves; null when there is no such row, absent when it could not be read",
    ),
});
export type NodeStatus = z.infer<typeof NodeStatus>;
