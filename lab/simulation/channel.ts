/** The replica's side: the receiver and its relay log, the applier, and what CHANGE and RESET take away. */
import { Beyond, type Held, has, type Transaction, textOf, union } from "./history.ts";
import type { Dump, Mysqld } from "./mysqld.ts";

const HEARTBEAT_MS = 200;
/** replica_net_timeout of the lossless configuration. */
const NET_TIMEOUT_MS = 4_000;
const CONNECT_RETRY_MS = 1_000;

export class Channel {
  readonly server: Mysqld;
  source: { host: string; port: number; uuid: string } | null = null;
  receiver: "on" | "connecting" | "off" = "off";
  receiverError: { errno: number; text: string } | null = null;
  applier: "on" | "off" = "off";
  #relay: Transaction[] = [];
  #received: Held;
  readonly #beyond: Beyond;
  /** Where this relay log begins. */
  #from: Held;
  #dump: Dump | null = null;
  #of: Mysqld | null = null;
  #heardMs: number | null = null;
  /** rpl_semi_sync_replica_enabled is read when the receiver starts. */
  #semiSync = false;
  #applying = false;
  /** Of the receiver's starts: what an older one still tries is void. */
  #start = 0;

  constructor(server: Mysqld) {
    this.server = server;
    this.#beyond = new Beyond(server.logged.length);
    this.#received = [...server.logged];
    this.#from = [...server.logged];
  }

  held(): Held {
    return union(this.server.logged, this.#received);
  }

  /** Committed or in the relay log. */
  holds(t: Transaction): boolean {
    const { logged, beyond } = this.server;
    return has(logged, t) || has(this.#received, t) || beyond.has(t) || this.#beyond.has(t);
  }

  get receivedText(): string {
    return textOf(this.#received, this.#from, this.#beyond);
  }

  get idle(): boolean {
    return this.#relay.length === 0;
  }

  get semiSyncActive(): boolean {
    return this.#dump !== null && this.#semiSync;
  }

  /** Since it last heard its source. */
  heardAgeMs(): number | null {
    const { nowMs } = this.server.timeline;
    if (this.#dump === null || this.#of === null)
      return this.#heardMs === null ? null : nowMs - this.#heardMs;
    const brokenMs = this.#brokenSince();
    const beatMs = (brokenMs ?? nowMs) - (((brokenMs ?? nowMs) + this.server.index * 37) % HEARTBEAT_MS);
    this.#heardMs = Math.max(this.#heardMs ?? 0, beatMs);
    return nowMs - this.#heardMs;
  }

  #brokenSince(): number | null {
    const of = this.#of as Mysqld;
    const cutMs = this.server.o.network.cutSince(of.host, this.server.host);
    if (of.pausedSinceMs === null) return cutMs;
    return cutMs === null ? of.pausedSinceMs : Math.min(cutMs, of.pausedSinceMs);
  }

  // ---- the receiver

  startReceiver(): void {
    if (this.receiver !== "off") return;
    this.receiverError = null;
    this.#semiSync = this.server.semiReplica;
    this.receiver = "connecting";
    this.#start++;
    this.#connect(this.#start);
  }

  #connect(start: number): void {
    const { server } = this;
    if (start !== this.#start || this.receiver !== "connecting" || this.source === null) return;
    const of = server.o.byAddress(this.source.host, this.source.port);
    const again = () => server.after(CONNECT_RETRY_MS, () => this.#connect(start));
    if (of === null || !of.alive || !server.o.network.open(server.host, of.host)) return void again();
    const { network } = server.o;
    // The login takes the source's answers: a stopped one lets it wait.
    network.timeline.after(network.delayMs() * 2, of.life, () => {
      if (of.dumps.size > 50) throw new Error(`${of.name} has too many replicas`);
      const reached = of.life;
      network.timeline.after(network.delayMs() * 2, server.life, () => {
        if (start !== this.#start || this.receiver !== "connecting") return;
        if (reached.down || !network.open(server.host, of.host)) return void again();
        this.#attach(of);
      });
    });
    // Whatever becomes of this attempt.
    server.after(NET_TIMEOUT_MS + CONNECT_RETRY_MS, () => this.#connect(start));
  }

  #attach(of: Mysqld): void {
    const held = this.held();
    if (of === this.server) this.#fail(13117, "source and replica have equal server ids");
    else if ((held[of.index] as number) > (of.logged[of.index] as number))
      this.#fail(13114, "the replica has more GTIDs than the source, of the source's own uuid");
    else this.#receiveFrom(of);
  }

  #receiveFrom(of: Mysqld): void {
    (this.source as { uuid: string }).uuid = of.uuid;
    this.receiver = "on";
    this.#of = of;
    this.#heardMs = this.server.timeline.nowMs;
    this.#dump = of.attach(this, this.#semiSync);
    this.maybeSilent();
  }

  #fail(errno: number, text: string): void {
    this.receiver = "off";
    this.receiverError = { errno, text };
  }

  receive(dump: Dump, t: Transaction, position: number, from: Mysqld): void {
    if (dump !== this.#dump) return;
    this.#heardMs = this.server.timeline.nowMs;
    // Its own server_id: dropped, and acknowledged all the same (manual, replicate_same_server_id; HOLES.md, T6).
    if (t.origin !== this.server.index && !this.holds(t)) {
      const last = Math.max(this.#received[t.origin] as number, this.server.logged[t.origin] as number);
      if (last < t.number - 1 && !from.o.gaps)
        throw new Error(`${this.server.name} received a transaction without the one before it`);
      this.#relay.push(t);
      this.#received[t.origin] = last;
      this.#beyond.add(this.#received, t);
      this.#apply();
    }
    if (!dump.semiSync) return;
    dump.back.send(from.life, () => from.acknowledged(this.server.index, position));
  }

  /** The source hung up. */
  lost(dump: Dump): void {
    if (dump !== this.#dump) return;
    this.heardAgeMs();
    this.#dump = null;
    this.#of = null;
    this.receiver = "connecting";
    this.#start++;
    this.#connect(this.#start);
  }

  /** After replica_net_timeout without a word the receiver gives the connection up and makes another. */
  maybeSilent(): void {
    const dump = this.#dump;
    if (dump === null || this.#brokenSince() === null) return;
    this.server.after(NET_TIMEOUT_MS, () => {
      if (dump !== this.#dump) return;
      const sinceMs = this.#brokenSince();
      if (sinceMs === null || this.server.timeline.nowMs - sinceMs < NET_TIMEOUT_MS - 1)
        return this.maybeSilent();
      this.#leave(dump);
      this.lost(dump);
    });
  }

  /** The source learns of it when it hears of it. */
  #leave(dump: Dump): void {
    const of = this.#of as Mysqld;
    dump.open = false;
    dump.back.send(of.life, () => of.detach(dump));
  }

  /** In how many milliseconds STOP REPLICA IO_THREAD returns: it may wait for a host that does not answer. */
  stopReceiver(): number {
    if (this.receiver === "off") return 0.1;
    const waits = this.receiver === "connecting" && this.#sourceIsMute();
    const ms = waits ? this.server.o.random.between(1, NET_TIMEOUT_MS) : 0.5;
    this.heardAgeMs();
    if (this.#dump !== null) this.#leave(this.#dump);
    this.#dump = null;
    this.#of = null;
    this.#start++;
    this.receiver = "off";
    this.receiverError = null;
    return ms;
  }

  #sourceIsMute(): boolean {
    if (this.source === null) return false;
    const of = this.server.o.byAddress(this.source.host, this.source.port);
    return of !== null && !this.server.o.network.open(this.server.host, of.host);
  }

  // ---- the applier

  setApplier(on: boolean): void {
    this.applier = on ? "on" : "off";
    if (on) this.#apply();
  }

  /** Several workers that do not preserve the commit order: now and then the second is done before the first. */
  #next(): Transaction | undefined {
    const [first, second] = this.#relay;
    const { outOfOrder, random } = this.server.o;
    return second !== undefined && outOfOrder && random.chance(0.3) ? second : first;
  }

  #apply(): void {
    if (this.applier === "off" || this.#applying) return;
    const next = this.#next();
    if (next === undefined) return;
    this.#applying = true;
    const { server } = this;
    server.after(server.o.applyMs * server.o.random.between(0.5, 2), () => {
      // Stopped in between: what was begun is rolled back and stays in the relay log.
      if (this.applier === "off" || !this.#relay.includes(next)) {
        this.#applying = false;
        return this.#apply();
      }
      server.apply(next, () => {
        this.#applying = false;
        const at = this.#relay.indexOf(next);
        if (at >= 0) this.#relay.splice(at, 1);
        this.#apply();
      });
    });
  }

  // ---- what takes something away

  /** Error 3081 unless both threads stand, but for a change that leaves the position alone while the applier runs. */
  change(host: string, port: number, autoPosition: boolean): boolean {
    if (this.receiver !== "off" || (autoPosition && this.applier === "on")) return false;
    // "If both threads are stopped, all relay log files are deleted" (manual, CHANGE REPLICATION SOURCE TO).
    if (this.applier === "off") this.loseRelayLog();
    this.source = { host, port, uuid: "" };
    this.#heardMs = null;
    return true;
  }

  reset(): boolean {
    if (this.receiver !== "off" || this.applier !== "off") return false;
    this.loseRelayLog();
    this.source = null;
    this.#heardMs = null;
    return true;
  }

  loseRelayLog(): void {
    this.#relay = [];
    this.#beyond.clear();
    this.#received = [...this.server.logged];
    this.#from = [...this.server.logged];
  }

  /** The relay log stays, both threads end. */
  serverDied(): void {
    this.#dump = null;
    this.#of = null;
    this.receiver = "off";
    this.receiverError = null;
    this.applier = "off";
    this.#applying = false;
    this.#start++;
    this.#heardMs = null;
    // What was being applied and had reached the binlog is recovered as committed.
    this.#relay = this.#relay.filter((t) => !has(this.server.logged, t) && !this.server.beyond.has(t));
  }
}
