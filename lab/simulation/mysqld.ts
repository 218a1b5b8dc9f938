/**
 * A model mysqld: what it keeps and what a crash takes from it, how a commit waits for acks, how it is closed and opened.
 * It behaves as SAFETY.md, "What mysqld really does" says, and where the manual leaves a choice, as is worse for Baton.
 */
import type { EpochRow } from "@baton/contracts";
import { Channel } from "./channel.ts";
import { Beyond, type Held, has, holds, type Range, type Transaction, textOf, uuidOf } from "./history.ts";
import { type Network, Wire } from "./network.ts";
import type { Random } from "./random.ts";
import type { ServerSession } from "./server-session.ts";
import { Actor } from "./timeline.ts";

/** A commit on its way: written to disk, in the binlog and waiting for acks, or held off by a closing. */
export interface Commit {
  session: ServerSession | null;
  canary: Transaction["canary"];
  row?: EpochRow | undefined;
  transaction: Transaction | null;
  /** In the binlog; the acks are for positions. */
  position: number;
  done: (outcome: "ok" | "read-only" | "killed", transaction: Transaction | null) => void;
}

/** `SET GLOBAL super_read_only=ON` that waits for commits under way. */
interface Closing {
  sinceMs: number;
  session: ServerSession;
  done: (ok: boolean) => void;
  timer: { cancelled: boolean };
}

/** A replica as its source sees it. */
export interface Dump {
  readonly channel: Channel;
  readonly semiSync: boolean;
  readonly out: Wire;
  readonly back: Wire;
  open: boolean;
}

export interface MysqldOptions {
  index: number;
  name: string;
  origins: number;
  base: Held;
  network: Network;
  random: Random;
  /** From the binlog's write to its sync. */
  flushMs: number;
  /** For each transaction on a replica. */
  applyMs: number;
  relayLogRecovery: boolean;
  /** Its workers do not preserve the commit order (replica_preserve_commit_order=OFF): gaps in what it has executed. */
  outOfOrder: boolean;
  /** Some server of the cluster is so: then everybody's binlog may have another order than the numbers. */
  gaps: boolean;
  byAddress: (host: string, port: number) => Mysqld | null;
  /** It accepts writes from now on. */
  onOpened: (server: Mysqld) => void;
  /** A session of Baton changes something without the node's lock. */
  onHandless: (server: Mysqld, from: { host: string }, statement: object) => void;
  trace: (server: Mysqld, text: string) => void;
  /** Of each text that a session sends. */
  heard?: ((server: Mysqld, from: { host: string }, sql: string) => void) | undefined;
}

export const PORT = 3306;

export class Mysqld {
  readonly index: number;
  readonly name: string;
  readonly uuid: string;
  readonly o: MysqldOptions;
  /** The process: another one after each start. */
  life: Actor;
  startedMs = -1_000_000;
  pausedSinceMs: number | null = null;

  /** On disk. */
  binlog: Transaction[] = [];
  /** When each of them was written. */
  #writtenMs: number[] = [];
  logged: Held;
  executed: Held;
  /** Applied before one that comes earlier: behind a gap in `logged`. */
  readonly beyond: Beyond;
  canary: Transaction["canary"] = null;
  row: EpochRow | null = null;
  readonly channel: Channel;

  readOnly = true;
  superReadOnly = true;
  semiSource = false;
  semiReplica = false;
  acks = 1;

  readonly sessions = new Map<number, ServerSession>();
  readonly locks = new Map<string, ServerSession>();
  #lastId = 10;
  #flushing = new Set<Commit>();
  #waiting: Commit[] = [];
  #held: Commit[] = [];
  #closings: Closing[] = [];
  /** By replica: the position it has acknowledged, also after it has gone. */
  #acked = new Map<number, number>();
  readonly dumps = new Set<Dump>();
  #waits = new Set<{ set: Range[]; done: () => void }>();

  constructor(o: MysqldOptions) {
    this.o = o;
    this.index = o.index;
    this.name = o.name;
    this.uuid = uuidOf(o.index);
    this.logged = [...o.base];
    this.executed = [...o.base];
    this.beyond = new Beyond(o.base.length);
    this.life = new Actor(o.name, o.network.timeline);
    this.channel = new Channel(this);
  }

  get host(): string {
    return this.name;
  }
  get alive(): boolean {
    return !this.life.down;
  }
  get responsive(): boolean {
    return this.life.up;
  }
  get writable(): boolean {
    return this.alive && !this.readOnly && !this.superReadOnly;
  }
  get timeline() {
    return this.o.network.timeline;
  }

  after(ms: number, run: () => void): { cancelled: boolean } {
    return this.timeline.after(ms, this.life, run);
  }

  trace(text: string): void {
    this.o.trace(this, text);
  }

  // ---- life

  crash(): void {
    if (!this.alive) return;
    this.trace("dies");
    this.life.die();
    this.pausedSinceMs = null;
    // The kernel tears it down before its sockets close.
    const teardownMs = this.o.random.between(1, 100);
    for (const session of this.sessions.values()) session.serverGone(teardownMs);
    for (const dump of this.dumps) this.#hangUp(dump, teardownMs);
    this.sessions.clear();
    this.locks.clear();
    this.dumps.clear();
    this.#flushing.clear();
    this.#waiting = [];
    this.#held = [];
    this.#closings = [];
    this.#acked.clear();
    this.#waits.clear();
    this.channel.serverDied();
    // What is in the binlog is committed by crash recovery.
    this.executed = [...this.logged];
    this.row = this.binlog.findLast((t) => t.row !== undefined)?.row ?? this.row;
  }

  /** Its disk is put back to what it was at `sinceMs`. It uses the lost numbers again. */
  loseTail(sinceMs: number): void {
    const kept = this.#writtenMs.findIndex((ms) => ms > sinceMs);
    if (this.alive || kept < 0) return;
    const lost = this.binlog.splice(kept);
    this.#writtenMs.splice(kept);
    this.logged = [...this.o.base];
    this.beyond.clear();
    for (const t of this.binlog) this.beyond.add(this.logged, t);
    this.executed = [...this.logged];
    this.canary = null;
    this.channel.loseRelayLog();
    this.trace(`comes back with an older disk: ${lost.length} transactions are lost`);
  }

  /** Boots as the lossless configuration says: read-only, replication standing still, semi-sync off. */
  boot(): void {
    if (this.alive) return;
    this.life = new Actor(this.name, this.timeline);
    this.startedMs = this.timeline.nowMs;
    this.readOnly = true;
    this.superReadOnly = true;
    this.semiSource = false;
    this.semiReplica = false;
    if (this.o.relayLogRecovery) this.channel.loseRelayLog();
    this.trace("boots");
  }

  pause(): void {
    if (!this.life.up) return;
    this.trace("is stopped (SIGSTOP)");
    this.life.pause();
    this.pausedSinceMs = this.timeline.nowMs;
    for (const dump of this.dumps) dump.channel.maybeSilent();
  }

  resume(): void {
    if (!this.life.paused) return;
    this.trace("goes on (SIGCONT)");
    this.pausedSinceMs = null;
    this.life.resume();
  }

  nextId(): number {
    return ++this.#lastId;
  }

  /** The row of a later epoch of the same cluster stays, whoever writes. */
  carriesLater({ installation, cluster, epoch }: EpochRow): boolean {
    const { row } = this;
    return row !== null && row.installation === installation && row.cluster === cluster && row.epoch > epoch;
  }

  // ---- commits

  /** A write by a client, or the canary. */
  commit(
    session: ServerSession | null,
    canary: Transaction["canary"],
    done: Commit["done"],
    row?: EpochRow,
  ): void {
    const commit: Commit = { session, canary, row, transaction: null, position: 0, done };
    if (this.#closings.length > 0) this.#held.push(commit);
    else if (this.readOnly || this.superReadOnly) done("read-only", null);
    else this.#flush(commit);
  }

  /** Somebody with all rights writes on a replica. */
  writeBehind(): void {
    const number = (this.logged[this.index] as number) + 1;
    this.apply({ origin: this.index, number, canary: null }, () => undefined);
  }

  #flush(commit: Commit): void {
    this.#flushing.add(commit);
    const { random, flushMs } = this.o;
    // Now and then a disk takes long.
    const slow = random.chance(0.002) ? random.between(50, 1_500) : 0;
    this.after(flushMs * random.between(0.5, 2) + slow, () => {
      if (!this.#flushing.delete(commit)) return;
      if (commit.session?.killed) {
        commit.done("killed", null);
        this.#settled();
        return;
      }
      const number = (this.logged[this.index] as number) + 1;
      commit.transaction = { origin: this.index, number, canary: commit.canary, row: commit.row };
      this.#log(commit);
    });
  }

  /** What a replica applies is a commit, too: with semi-sync source on it waits for acks like any other. */
  apply(transaction: Transaction, done: () => void): void {
    this.#log({ session: null, canary: transaction.canary, transaction, position: 0, done });
  }

  #log(commit: Commit): void {
    const t = commit.transaction as Transaction;
    this.binlog.push(t);
    this.#writtenMs.push(this.timeline.nowMs);
    this.beyond.add(this.logged, t);
    commit.position = this.binlog.length;
    if (this.semiSource) this.#waiting.push(commit);
    for (const dump of this.dumps) this.#send(dump, t, commit.position);
    if (!this.semiSource) this.#finish(commit);
    this.#settled();
  }

  /** As @@gtid_executed says it. */
  executedText(): string {
    return textOf(this.executed, null, this.beyond);
  }

  #finish(commit: Commit): void {
    const t = commit.transaction as Transaction;
    if (has(this.logged, t))
      this.executed[t.origin] = Math.max(
        this.executed[t.origin] as number,
        // What was applied behind the gap has been executed since long.
        this.#waiting.length === 0 ? (this.logged[t.origin] as number) : t.number,
      );
    if (t.canary !== null) this.canary = t.canary;
    if (t.row !== undefined) this.row = t.row;
    commit.done(commit.session?.killed ? "killed" : "ok", t);
    for (const wait of this.#waits)
      if (holds(this.executed, this.beyond, wait.set)) {
        this.#waits.delete(wait);
        wait.done();
      }
  }

  acknowledged(replica: number, position: number): void {
    if ((this.#acked.get(replica) ?? 0) >= position) return;
    this.#acked.set(replica, position);
    this.#release();
  }

  #release(): void {
    while (this.#waiting.length > 0) {
      const [first] = this.#waiting as [Commit];
      if (this.semiSource) {
        let count = 0;
        for (const position of this.#acked.values()) if (position >= first.position) count++;
        if (count < this.acks) break;
      }
      this.#waiting.shift();
      this.#finish(first);
    }
    this.#settled();
  }

  /** Transactions that are in the binlog and wait for acks. */
  ownedText(): string {
    return textOf(this.logged, this.executed);
  }

  get waiters(): number {
    return this.#waiting.length;
  }

  // ---- closing and opening

  /** As `SET GLOBAL super_read_only=ON`: new commits are held off at once, it returns when none is under way. */
  close(session: ServerSession, timeoutMs: number, done: (ok: boolean) => void): void {
    if (this.superReadOnly && this.readOnly) {
      done(true);
      return;
    }
    const closing: Closing = { sinceMs: this.timeline.nowMs, session, done, timer: { cancelled: false } };
    closing.timer = this.after(timeoutMs, () => this.#giveUp(closing));
    this.#closings.push(closing);
    this.superReadOnly = true;
    this.#settled();
  }

  /** While it waits, @@super_read_only is 1 already; given up, both are 0 again (measured). */
  #giveUp(closing: Closing): void {
    const at = this.#closings.indexOf(closing);
    if (at < 0) return;
    this.#closings.splice(at, 1);
    closing.timer.cancelled = true;
    if (this.#closings.length === 0 && !this.readOnly) this.superReadOnly = false;
    closing.done(false);
    this.#settled();
  }

  #settled(): void {
    const busy = this.#flushing.size > 0 || this.#waiting.some((c) => c.session !== null);
    if (this.#closings.length > 0 && !busy) {
      this.readOnly = true;
      this.superReadOnly = true;
      for (const closing of this.#closings.splice(0)) {
        closing.timer.cancelled = true;
        closing.done(true);
      }
    }
    if (this.#closings.length > 0) return;
    for (const commit of this.#held.splice(0)) {
      if (commit.session?.killed) commit.done("killed", null);
      else if (this.readOnly || this.superReadOnly) commit.done("read-only", null);
      else this.#flush(commit);
    }
  }

  get closing(): boolean {
    return (this.readOnly && this.superReadOnly) || this.#closings.length > 0;
  }

  /** The same, and it holds on for a while: whole seconds, rounded down, as the process list has them. */
  get surelyClosing(): boolean {
    const nowMs = this.timeline.nowMs;
    const sure = this.#closings.some(({ sinceMs }) => Math.floor((nowMs - sinceMs) / 1_000) <= 2);
    return (this.readOnly && this.superReadOnly) || sure;
  }

  setReadOnly(which: "read_only" | "super_read_only", on: boolean): void {
    const before = this.writable;
    if (which === "read_only") {
      this.readOnly = on;
      if (!on) this.superReadOnly = false;
    } else {
      this.superReadOnly = on;
      if (on) this.readOnly = true;
    }
    if (before || !this.writable) return;
    this.trace("accepts writes");
    this.o.onOpened(this);
  }

  /** Off, it lets everybody who waits commit; those who were not killed are told OK. */
  setSemiSource(on: boolean): void {
    this.semiSource = on;
    if (!on) this.#release();
  }

  waitFor(set: Range[], done: () => void): { cancel(): void } {
    const wait = { set, done };
    if (holds(this.executed, this.beyond, set)) done();
    else this.#waits.add(wait);
    return { cancel: () => this.#waits.delete(wait) };
  }

  // ---- sessions

  /** KILL CONNECTION; false: unknown thread id. */
  kill(id: number): boolean {
    const session = this.sessions.get(id);
    if (session === undefined) return false;
    session.kill();
    for (const closing of this.#closings.filter((c) => c.session === session)) this.#giveUp(closing);
    return true;
  }

  /** Sessions of clients that write now, but for those that wait for an ack. */
  drainHolders(): number[] {
    return [...this.#flushing].flatMap((c) => (c.session === null ? [] : [c.session.id]));
  }

  // ---- replicas

  attach(channel: Channel, semiSync: boolean): Dump {
    const { network } = this.o;
    const dump: Dump = {
      channel,
      semiSync,
      out: new Wire(network, this.host, channel.server.host),
      back: new Wire(network, channel.server.host, this.host),
      open: true,
    };
    this.dumps.add(dump);
    let position = 0;
    for (const t of this.binlog) {
      position++;
      // What the replica holds already is skipped, and nobody acknowledges it: a waiter waits for a later event (HOLES.md, measured).
      if (!channel.holds(t)) this.#send(dump, t, position);
    }
    return dump;
  }

  #send(dump: Dump, t: Transaction, position: number): void {
    dump.out.send(dump.channel.server.life, () => dump.channel.receive(dump, t, position, this));
  }

  #hangUp(dump: Dump, afterMs: number): void {
    dump.open = false;
    dump.out.send(dump.channel.server.life, () => dump.channel.lost(dump), afterMs);
  }

  detach(dump: Dump): void {
    this.dumps.delete(dump);
  }

  get semiClients(): number {
    let n = 0;
    for (const dump of this.dumps) if (dump.semiSync) n++;
    return n;
  }
}
