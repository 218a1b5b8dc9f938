/** One connection at the server: runs what it is sent, one statement after another, also when nobody listens any more. */
import type { Row } from "@baton/mysql";
import { rangesOf, type Transaction } from "./history.ts";
import type { Mysqld } from "./mysqld.ts";
import type { Network } from "./network.ts";
import { Wire } from "./network.ts";
import { HELPER_LOCK, NODE_LOCK, read, type Statement } from "./statements.ts";
import { rowsOf } from "./status-rows.ts";
import type { Actor } from "./timeline.ts";

export interface Answer {
  rows: Row[][];
  error: { errno: number; message: string } | null;
}

/** The other end. */
export interface Client {
  readonly actor: Actor | null;
  readonly host: string;
  /** Baton's own sessions are told by their program name. */
  readonly baton: boolean;
  hungUp(): void;
}

/** What no session of Baton may do without the node's lock, or its helper's. KILL is how the lock is had. */
const CHANGES: ReadonlySet<Statement["type"]> = new Set<Statement["type"]>([
  "set-global",
  "let-waiters-go",
  "replica",
  "reset-replica",
  "change-source",
  "write",
]);
/** Parsing and running one statement. */
const STATEMENT_MS = 0.1;
const RUNNING_THREADS = {
  errno: 3081,
  message: "This operation cannot be performed with running replication threads",
};
const FOREVER_S = 31_536_000;

export class ServerSession {
  readonly server: Mysqld;
  readonly id: number;
  readonly client: Client;
  killed = false;
  readonly #toClient: Wire;
  #lockWaitS = FOREVER_S;
  #busy = false;
  /** Ends what a statement waits for. */
  #interrupt: (() => void) | null = null;
  #clientGone = false;
  #closedForClient = false;

  constructor(server: Mysqld, client: Client, network: Network) {
    this.server = server;
    this.client = client;
    this.id = server.nextId();
    this.#toClient = new Wire(network, server.host, client.host);
    server.sessions.set(this.id, this);
  }

  /** The whole text is run although its client may have gone meanwhile. */
  run(sql: string, answer: (a: Answer) => void): void {
    const statements = read(sql);
    this.server.o.heard?.(this.server, this.client, sql);
    const rows: Row[][] = [];
    this.#busy = true;
    const finish = (error: Answer["error"]): void => {
      this.#busy = false;
      this.#interrupt = null;
      if (this.#clientGone || this.killed) this.#end();
      if (!this.#closedForClient) this.#toClient.send(this.client.actor, () => answer({ rows, error }));
    };
    const next = (at: number): void => {
      if (this.killed) {
        finish({ errno: 1317, message: "Query execution was interrupted" });
        return;
      }
      const statement = statements[at];
      if (statement === undefined) {
        finish(null);
        return;
      }
      this.server.after(STATEMENT_MS, () =>
        this.#execute(
          statement,
          (result) => {
            rows.push(result);
            next(at + 1);
          },
          finish,
        ),
      );
    };
    next(0);
  }

  /** A client's write: an autocommitted INSERT. */
  write(answer: (outcome: "ok" | "read-only", transaction: Transaction | null) => void): void {
    this.#busy = true;
    this.server.commit(this, null, (outcome, transaction) => {
      this.#busy = false;
      if (this.#clientGone || this.killed) this.#end();
      if (outcome !== "killed" && !this.#closedForClient)
        this.#toClient.send(this.client.actor, () => answer(outcome, transaction));
    });
  }

  kill(): void {
    if (this.killed) return;
    this.killed = true;
    this.#hangUp(0);
    this.#interrupt?.();
    if (!this.#busy) this.#end();
  }

  /** The client's FIN has come. */
  clientGone(): void {
    this.#clientGone = true;
    if (!this.#busy) this.#end();
  }

  serverGone(teardownMs: number): void {
    this.killed = true;
    this.#hangUp(teardownMs);
  }

  #hangUp(afterMs: number): void {
    if (this.#closedForClient) return;
    this.#closedForClient = true;
    this.#toClient.send(this.client.actor, () => this.client.hungUp(), afterMs);
  }

  #end(): void {
    this.server.sessions.delete(this.id);
    for (const [name, holder] of this.server.locks) if (holder === this) this.#unlock(name);
  }

  #holdsLock(): boolean {
    const { locks } = this.server;
    return locks.get(NODE_LOCK) === this || locks.get(HELPER_LOCK) === this;
  }

  #unlock(name: string): void {
    this.server.locks.delete(name);
    for (const session of this.server.sessions.values()) session.onUnlocked?.();
  }

  /** While it waits for a lock. */
  onUnlocked: (() => void) | null = null;

  #execute(s: Statement, done: (rows: Row[]) => void, fail: (error: Answer["error"]) => void): void {
    const { server } = this;
    // Baton's own rows may wait for their acks for ever, and must not keep the lock meanwhile; none takes the place of a later one.
    const proves = s.type === "write";
    if (this.client.baton && CHANGES.has(s.type) && !proves && !this.#holdsLock())
      server.o.onHandless(server, this.client, s);
    const { channel } = server;
    const interrupted = () => fail({ errno: 1317, message: "Query execution was interrupted" });
    switch (s.type) {
      case "select":
        done(rowsOf(server, s.what));
        return;
      case "set-session":
        if (s.name === "lock_wait_timeout")
          this.#lockWaitS = s.value === "DEFAULT" ? FOREVER_S : Number(s.value);
        done([]);
        return;
      case "set-global":
        this.#setGlobal(s.name, s.value, done, fail);
        return;
      case "let-waiters-go":
        if (server.surelyClosing) this.#setGlobal("rpl_semi_sync_source_enabled", "OFF", done, fail);
        else done([]);
        return;
      case "replica": {
        if (s.verb === "start" && channel.source === null) {
          fail({ errno: 1200, message: "The server is not configured as replica" });
          return;
        }
        if (s.verb === "start") {
          if (s.applier) channel.setApplier(true);
          if (s.receiver) channel.startReceiver();
          done([]);
          return;
        }
        const ms = s.receiver ? channel.stopReceiver() : 0;
        if (s.applier) channel.setApplier(false);
        server.after(ms, () => done([]));
        return;
      }
      case "reset-replica":
        if (channel.reset()) done([]);
        else fail(RUNNING_THREADS);
        return;
      case "change-source":
        if (channel.change(s.host, s.port, s.autoPosition)) done([]);
        else fail(RUNNING_THREADS);
        return;
      case "wait": {
        let over = false;
        const end = (late: number) => {
          if (over) return;
          over = true;
          timer.cancelled = true;
          wait.cancel();
          this.#interrupt = null;
          done([{ late }]);
        };
        const timer = server.after(s.timeoutMs, () => end(1));
        const wait = { cancel: () => {} };
        this.#interrupt = () => {
          if (over) return;
          over = true;
          timer.cancelled = true;
          wait.cancel();
          interrupted();
        };
        wait.cancel = server.waitFor(rangesOf(s.set), () => end(0)).cancel;
        return;
      }
      case "kill":
        if (server.kill(s.id)) done([]);
        else fail({ errno: 1094, message: `Unknown thread id: ${s.id}` });
        return;
      case "get-lock":
        this.#getLock(s, done, interrupted);
        return;
      case "release-lock": {
        const mine = server.locks.get(s.name) === this;
        if (mine) this.#unlock(s.name);
        done([{ released: mine ? 1 : 0 }]);
        return;
      }
      case "write":
        if (s.row !== undefined && server.carriesLater(s.row)) {
          done([]);
          return;
        }
        server.commit(
          this,
          s.canary,
          (outcome) => {
            if (outcome === "ok") done([]);
            else if (outcome === "killed") interrupted();
            else
              fail({ errno: 1290, message: "The MySQL server is running with the --super-read-only option" });
          },
          s.row,
        );
    }
  }

  #getLock(
    s: Extract<Statement, { type: "get-lock" }>,
    done: (rows: Row[]) => void,
    interrupted: () => void,
  ): void {
    const { locks } = this.server;
    const answer = (taken: number) =>
      done([{ taken, ...Object.fromEntries(s.columns.map((c) => [c.as, locks.get(c.lock)?.id ?? null])) }]);
    const take = (): boolean => {
      const holder = locks.get(s.name);
      if (holder !== undefined && holder !== this) return false;
      locks.set(s.name, this);
      return true;
    };
    if (take()) {
      answer(1);
      return;
    }
    if (s.timeoutS === 0) {
      answer(0);
      return;
    }
    const end = () => {
      timer.cancelled = true;
      this.onUnlocked = null;
      this.#interrupt = null;
    };
    const timer = this.server.after(s.timeoutS * 1_000, () => {
      end();
      answer(0);
    });
    this.onUnlocked = () => {
      if (!take()) return;
      end();
      answer(1);
    };
    this.#interrupt = () => {
      end();
      interrupted();
    };
  }

  #setGlobal(
    name: string,
    value: string,
    done: (rows: Row[]) => void,
    fail: (error: Answer["error"]) => void,
  ): void {
    const { server } = this;
    const on = value === "ON";
    switch (name) {
      case "super_read_only":
      case "read_only":
        if (on) {
          server.close(this, this.#lockWaitS * 1_000, (ok) =>
            ok ? done([]) : fail({ errno: 1205, message: "Lock wait timeout exceeded" }),
          );
          return;
        }
        server.setReadOnly(name, false);
        done([]);
        return;
      case "rpl_semi_sync_source_enabled": {
        const was = server.semiSource;
        server.setSemiSource(on);
        // Its ack thread sleeps up to a second before it sees that it is to end.
        if (was && !on && server.o.random.chance(0.3))
          server.after(server.o.random.between(0, 1_000), () => done([]));
        else done([]);
        return;
      }
      case "rpl_semi_sync_replica_enabled":
        server.semiReplica = on;
        done([]);
        return;
      case "rpl_semi_sync_source_wait_for_replica_count":
        server.acks = Number(value);
        done([]);
        return;
      case "rpl_semi_sync_source_timeout":
      case "rpl_semi_sync_source_wait_no_replica":
      case "rpl_semi_sync_source_wait_point":
        done([]);
        return;
      default:
        throw new Error(`the model server does not know the variable ${name}`);
    }
  }
}
