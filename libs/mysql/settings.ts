/**
 * What SAFETY.md needs of every node's settings, as a table: what is wanted, when, of whom, and why. `now` is judged by
 * what the server runs with; `boot` by what it will start with, since a primary's own start decides whether it
 * may hurt its successor.
 */
import type { NodeRole, Policy } from "@baton/contracts";

export type Level = "error" | "advice";

export interface Setting {
  name: string;
  when: "now" | "boot";
  /** Default: of every node. */
  of?: NodeRole;
  /** Default `error`. `advice`: a failover works without it. */
  level?: Level | ((policy: Policy) => Level);
  wanted(policy: Policy): string;
  /** Is a value as good as the wanted one? Default: equal to it. */
  fits?(value: string, policy: Policy): boolean;
  why: string;
  /** May be set while the server runs; else it is for the next start. */
  dynamic: boolean;
}

const FOREVER_MS = 4_294_967_295;
const on = () => "ON";
const off = () => "OFF";
/** In `available` what a crash forgets is part of the loss that the policy accepts. */
export const losslessNeeds = ({ durability }: Policy): Level =>
  durability === "lossless" ? "error" : "advice";

export const SETTINGS: readonly Setting[] = [
  {
    name: "gtid_mode",
    when: "boot",
    wanted: on,
    dynamic: true,
    why: "A node that starts without GTIDs cannot be compared with the others any more.",
  },
  {
    name: "enforce_gtid_consistency",
    when: "boot",
    wanted: on,
    dynamic: true,
    why: "gtid_mode=ON does not start without it.",
  },
  {
    name: "log_bin",
    when: "now",
    wanted: on,
    dynamic: false,
    why: "Every node must be able to be the source of the others.",
  },
  {
    name: "log_replica_updates",
    when: "now",
    wanted: on,
    dynamic: false,
    why: "A promoted replica must hand on what it had received, not only what it writes itself.",
  },
  {
    name: "binlog_format",
    when: "now",
    wanted: () => "ROW",
    dynamic: true,
    why: "Statements may do different things on different nodes.",
  },
  {
    name: "super_read_only",
    when: "boot",
    wanted: on,
    dynamic: true,
    why: "A primary that was replaced and starts again by itself would accept writes beside its successor.",
  },
  {
    name: "skip_replica_start",
    when: "boot",
    wanted: on,
    dynamic: false,
    why: "A node that starts must not follow, or acknowledge to, whoever was its source once.",
  },
  {
    name: "relay_log_recovery",
    when: "boot",
    wanted: off,
    dynamic: false,
    why: "A replica that restarts would throw away what it has received and acknowledged and not yet applied.",
  },
  {
    name: "rpl_semi_sync_source_enabled",
    when: "now",
    of: "primary",
    wanted: on,
    dynamic: true,
    why: "Writes are acknowledged to clients before any replica has them.",
  },
  {
    name: "rpl_semi_sync_source_wait_for_replica_count",
    when: "now",
    of: "primary",
    wanted: (policy) => String(policy.acks),
    dynamic: true,
    why: "policy.acks is what a failover reckons with; with fewer an acknowledged write may be missed.",
  },
  {
    name: "rpl_semi_sync_source_timeout",
    when: "now",
    of: "primary",
    wanted: (policy) => (policy.durability === "lossless" ? String(FOREVER_MS) : String(policy.ackTimeoutMs)),
    dynamic: true,
    why: "When it passes, the primary goes on without acks: in lossless durability never, else as policy.ackTimeoutMs says.",
  },
  {
    name: "rpl_semi_sync_source_wait_no_replica",
    when: "now",
    of: "primary",
    wanted: on,
    dynamic: true,
    why: "Else a primary without replicas stops waiting for them.",
  },
  {
    name: "rpl_semi_sync_source_wait_point",
    when: "now",
    of: "primary",
    wanted: () => "AFTER_SYNC",
    dynamic: true,
    why: "After AFTER_COMMIT others may have read a write that the failover loses.",
  },
  {
    name: "rpl_semi_sync_replica_enabled",
    when: "now",
    of: "replica",
    wanted: on,
    dynamic: true,
    why: "It acknowledges nothing, so it cannot vouch for anything.",
  },
  {
    name: "rpl_semi_sync_source_enabled",
    when: "now",
    of: "replica",
    wanted: off,
    dynamic: true,
    why: "On a replica it makes the replica's own applier wait for acks, for ever.",
  },
  {
    name: "replica_net_timeout",
    when: "boot",
    level: "advice",
    wanted: () => "4",
    fits: (value) => Number(value) <= 10,
    dynamic: true,
    why: "So long a receiver goes on believing in a source that is silent.",
  },
  {
    name: "sync_binlog",
    when: "now",
    level: losslessNeeds,
    wanted: () => "1",
    dynamic: true,
    why: "A host that crashes may forget what was acknowledged, and come back as a primary that lacks what its replicas have.",
  },
  {
    name: "innodb_flush_log_at_trx_commit",
    when: "now",
    level: losslessNeeds,
    wanted: () => "1",
    dynamic: true,
    why: "A host that crashes may forget what was acknowledged, and come back as a primary that lacks what its replicas have.",
  },
  {
    name: "binlog_error_action",
    when: "now",
    wanted: () => "ABORT_SERVER",
    dynamic: true,
    why: "When the binary log cannot be written, as on a full disk, the server would go on without it: what it then commits reaches no replica.",
  },
  {
    name: "replica_skip_errors",
    when: "now",
    wanted: off,
    dynamic: false,
    why: "A replica that skips errors loses rows, while its GTIDs say that it has them.",
  },
  {
    name: "sync_relay_log",
    when: "now",
    level: "advice",
    wanted: () => "1",
    dynamic: true,
    why: "An acker whose host crashes may forget what it acknowledged (a crash of mysqld alone loses nothing). Costs a sync for each ack.",
  },
];
