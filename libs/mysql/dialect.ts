/**
 * What a node can be told, as SQL text, so that the executor puts several statements into one round trip. One dialect a
 * flavour and generation; a new one (MySQL 8.0) is another object of this shape.
 */
import { BatonError, type EpochRow, type Flavour, type NodeStatus } from "@baton/contracts";
import { isMariadb } from "./flavour.ts";
import { mariadb } from "./mariadb.ts";
import { mysql84 } from "./mysql84.ts";
import type { Row, Target } from "./session.ts";

export interface ReplicationAccount {
  user: string;
  password: string;
}

/** Each property is one statement, or a list of statements to be run in order. None ends in a semicolon. */
export interface Dialect {
  readonly flavour: Flavour;
  /**
   * False: once both replication threads stand, the next start of either discards what was received and not applied, and
   * a receiver can be pointed elsewhere only then. Whoever stops them must have applied first.
   */
  readonly keepsRelayLogs: boolean;

  /** One round trip; its result sets go to `parseStatus`. Needs the semi-sync plugins; `readStatus` does without. */
  readonly statusSql: string;
  parseStatus(sets: readonly Row[][]): NodeStatus;

  /** Nothing more is received; what was received stays and is applied. */
  readonly stopReceiver: string;
  readonly startReceiver: string;
  readonly startApplier: string;
  readonly startReplication: string;
  readonly stopReplication: string;
  /**
   * Column `coordinator`: the applier's thread id, when a receiver stopped in the middle of a transaction left its first
   * part to be applied; no row else. `stopReplication` would wait 60 s for the rest: kill that thread first, and wait until it is gone.
   */
  readonly halfReceived: string;
  /**
   * What the channel is set to: `host`, `port`, `user`, `tls`, `autoPos`, `heartbeatS`, `retryS`, `retries`; no row without a channel.
   * Null: a start after both threads stood keeps nothing, so nobody need know.
   */
  /** Where a standing applier is in its relay logs, and how it is put at the beginning of one. Null: it cannot be left behind. */
  readonly relayLogs: {
    /** Column `Relay_Log_File`; then `Log_name` of the first relay log there is. */
    readonly place: readonly string[];
    /** The event `Previous_gtids` has in `Info` what was received before this log, as its writer knew. */
    head(name: string): string;
    /** Both threads must stand; `SOURCE_AUTO_POSITION` is off then. Relay logs stay (15.4.2.2). */
    applyFrom(name: string): string;
    /** Back again: both threads must stand, and what they hold must be executed, since it goes. */
    readonly byAutoPosition: string;
  } | null;
  readonly channelSettings: string | null;
  /** Forgets the channel and deletes its relay logs. Only the executor's channel.ts says this, `follow` and `redirectReceiver`. */
  readonly resetReplication: string;
  /** Points the node at a source by GTID, both threads stopped. Deletes relay logs: only when what they hold is known elsewhere. */
  follow(source: Target, account: ReplicationAccount, o: { tls: boolean }): string;
  /** Points a stopped receiver at another source while the applier runs on: the relay logs stay. */
  redirectReceiver(source: Target, account: ReplicationAccount, o: { tls: boolean }): string;
  /** What `follow` and `redirectReceiver` set beside the source and the account. */
  readonly channelDefaults: { heartbeatS: number; retryS: number; retries: number };
  /** Waits until the set is executed here; read the answer with `applied`. */
  waitApplied(set: string, timeoutMs: number): string;
  applied(rows: readonly Row[]): boolean;

  /** Transactions that have their GTID and are not committed yet: on a primary, those that wait for acks. */
  readonly ownedSql: string;
  owned(rows: readonly Row[]): string;

  /**
   * Semi-sync roles of a primary with k acks, then writes open. The applier must have nothing left to do. A write waits for
   * acks for ever (`timeoutMs` null), or so long and then goes on without.
   */
  openPrimary(o: { acks: number; timeoutMs: number | null }): string[];
  /** The same semi-sync settings for a primary that is open already. With too few ackers attached, writes wait from now on. */
  semiSyncSource(o: { acks: number; timeoutMs: number | null }): string[];
  /** A transaction that changes nothing, under a GTID of the caller's choice. */
  emptyTransaction(gtid: string): string[];
  /** From now on a write waits for acks so long; null: for ever. Those that wait already are not let go. */
  ackTimeout(timeoutMs: number | null): string;
  /**
   * After `semiSyncSourceOff`, which lets go all writes that wait. Not before nobody waits any more: who has not noticed that it was off
   * goes on waiting, by the timeout that held when it began, and every other commit behind it (measured).
   */
  readonly semiSyncSourceOn: string;
  /** Semi-sync roles of a replica, and read-only. The source role goes first: on a replica it blocks the node's own applier. */
  readonly becomeReplica: readonly string[];
  /** Semi-sync off in both roles and read-only: the node takes no part. */
  readonly isolate: readonly string[];
  /**
   * Holds off every new commit from the moment the server has it; returns when none is left in between. Given up
   * by the server itself after 5 s (error 1205), whatever becomes of the session.
   */
  readonly closeWrites: readonly string[];
  /** Column `closing`: 1 once new commits are refused or held off. */
  readonly closingWrites: string;
  /**
   * The same of a primary that is alive and has its ackers: nobody is hurried but by `drainHolders`, and the server itself
   * gives it up after 1 s (error 1205), with everything as it was.
   */
  readonly freezeWrites: readonly string[];
  /** Column `id`: client sessions that hold a freeze up, but for those that wait for an ack and will be answered. */
  readonly drainHolders: string;
  /** Column `id`: client sessions whose open transaction has locked rows; on a replica they would block its applier. */
  readonly openWriters: string;
  /** Columns `oldestMs` (the oldest open transaction of a client, or null) and `locked` (1: somebody holds FTWRL; null: not to be seen). */
  readonly obstacles: string;
  readonly semiSyncSourceOff: string;
  /**
   * Ends those who wait for an ack, and were killed so that they get no OK: semi-sync source off, if new commits are refused or held off at that
   * very moment and for a second more. Otherwise nothing is done, and the last result's column `still` is 1: whoever sends this may have slept
   * since it saw `closing`, and the server have given it up.
   */
  readonly letWaitersGo: readonly string[];
  /** Who is connected and what it does, at most so many; statements are cut to 200 characters. */
  sessions(most: number): string;
  /** Columns `File` and `Position` of the binary log. */
  readonly position: string;
  /** Column `id`: sessions that may write, but for this one, replication's own and Baton's. */
  readonly clientSessions: string;
  /**
   * Not null: one session waits for the ack of a whole commit group, and to kill it is to answer the others without one.
   * `waits` is its state; `dumpThreads` (column `id`) whom acks come through; `committing` has a row while that session is in a
   * group; `clientSessions` has columns `state` and `command` too.
   */
  readonly groupWaits: { waits: string; dumpThreads: string; committing(threadId: number): string } | null;
  kill(threadId: number): string;

  /** Column `status` of the clone plugin; no row when it is not installed. */
  readonly clonePlugin: string;
  readonly grants: string;
  /** Lets the node be copied over: CLONE drops its data, which super_read_only forbids (error 1290). Read-only it stays. */
  allowClone(donor: Target): string[];
  /** Returns when the copy is made and the server is about to restart; error 3707 when nothing restarts it. */
  clone(donor: Target, account: ReplicationAccount, o: { tls: boolean }): string;
  /**
   * First the last copy: `state` (`In Progress`, `Completed`, `Failed`), `errno`, `error`, `beganS` (the node's own clock),
   * `source`. Then its stages: `stage`, `state`, `estimate`, `copied` (bytes). Fails where the plugin is missing.
   */
  readonly cloneStatus: readonly string[];
  readonly dump?: DumpDialect;
  /** Column `nowS`, the node's own clock. */
  readonly clock: string;
  /** Column `Log_name`, oldest first. */
  readonly binlogs: string;
  /** Column `Info` of the second row: the GTIDs of all files before this one. */
  binlogHead(name: string): string;
  /** Acknowledges from the next start of the receiver on. */
  readonly semiSyncReplicaOn: string;

  /** Columns `taken` (1 when the lock is ours now), `holder` (its thread id) and `helper` (the thread id of the holder of the helper lock). */
  takeNodeLock(timeoutS: number): string;
  readonly releaseNodeLock: string;
  /** For a second session of the node lock's holder. Columns `taken`, and `holder` of the node lock as it is after that. */
  takeHelperLock(timeoutS: number): string;
  readonly releaseHelperLock: string;

  /** Writes one row in `baton.canary`; the last result has `checksum` and `executed`. */
  writeCanary(o: { cluster: string; epoch: number; operation: string }): string[];
  /** Column `checksum`. */
  readCanary(cluster: string): string;

  /** The row of `baton.epoch`, for `parseEpoch`. Fails where the table is missing, or somebody holds it for longer than 100 ms. */
  readonly readEpoch: string;
  /** The table and its schema, where they are missing. */
  readonly createEpoch: readonly string[];
  /** One transaction. Fails (1146, 1049) where the table is missing. */
  writeEpoch(row: EpochRow): string;
}

/** What a copy by a dump's text says to the servers. Absent where a flavour has no such way. */
export interface DumpDialect {
  /** Column `bytes`: an estimate of what a dump of it comes to. */
  readonly dataSize: string;
  /** Column `name`: the databases that are not the server's own. */
  readonly databases: string;
  dropDatabase(name: string): string;
  /** Forgets every binlog and GTID; the node follows nobody. */
  readonly forgetHistory: string;
  /** The node, without a history, holds all that is in the set. */
  adoptHistory(set: string): string;
  /** Columns `trust` and `events`: settings as they are, for `loadSettings`; null where one cannot be set. */
  readonly settings: string;
  /** Lets routines and triggers be created without SUPER, keeps events from running: for a load, or as they were. */
  loadSettings(o: { trust: boolean; events: boolean | null }): string[];
  /** Writable for Baton's account alone. */
  readonly allowLoad: readonly string[];
  /**
   * Ends the client (error 1242) unless that session holds the node's lock; else it has the helper lock, by which a successor
   * finds it.
   */
  loadGuard(lockHolder: number): string;
}

/** The dialect for what `SELECT VERSION()` says. @throws BatonError for servers that Baton cannot lead */
export function dialectFor(version: string): Dialect {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10) || 0);
  if (isMariadb(version)) {
    if (major > 10 || (major === 10 && minor >= 11)) return mariadb;
  } else if (major > 8 || (major === 8 && minor >= 4)) return mysql84;
  throw new BatonError("E_NODE_SETTING", {
    place: "version",
    message: `The server is ${version || "of an unknown version"}; Baton leads MySQL 8.4 and later and MariaDB 10.11 and later.`,
    remedy: "Upgrade the server, or take the node out of the declaration.",
  });
}
