/** Baton's end of a connection: `Session` of libs/mysql, over the model's wires and the process's virtual timers. */
import {
  MysqlFault,
  type OpenOptions,
  type QueryOptions,
  type Row,
  type Session,
  type Target,
} from "@baton/mysql";
import { VERSION } from "./dialect.ts";
import type { Mysqld } from "./mysqld.ts";
import type { Network } from "./network.ts";
import { Wire } from "./network.ts";
import type { Process } from "./process.ts";
import { type Answer, ServerSession } from "./server-session.ts";

const DEFAULT_DEADLINE_MS = 10_000;

export type Servers = (host: string, port: number) => Mysqld | null;

/** As `openSession`, for one process of the model. */
export function opener(process: Process, network: Network, servers: Servers) {
  return (target: Target, _access: unknown, o: OpenOptions): Promise<Session> =>
    new Promise((resolve, reject) => {
      const { timeline } = network;
      const server = servers(target.host, target.port);
      let settled = false;
      const settle = (run: () => void): void => {
        if (settled) return;
        settled = true;
        timer.cancelled = true;
        run();
      };
      const timer = timeline.after(o.connectTimeoutMs, process, () =>
        settle(() => reject(new MysqlFault("timeout-connect", `nothing within ${o.connectTimeoutMs} ms`))),
      );
      process.emit(() => {
        if (server === null || !network.open(process.host, server.host)) return;
        const there = new Wire(network, process.host, server.host);
        if (!server.alive) {
          there.send(null, () =>
            timeline.after(network.delayMs(), process, () =>
              settle(() => reject(new MysqlFault("refused", "connect ECONNREFUSED"))),
            ),
          );
          return;
        }
        // TCP, login and session settings are three round trips.
        const trips = 2 * (network.delayMs() + network.delayMs());
        timeline.after(trips, server.life, () => {
          if (settled || process.down) return;
          const session = new ModelSession(target, process, network, there);
          session.at = new ServerSession(server, session, network);
          timeline.after(network.delayMs(), process, () => {
            if (settled) session.destroy();
            else settle(() => resolve(session));
          });
        });
      });
    });
}

interface Query {
  sql: string;
  resolve: (rows: Row[][]) => void;
  reject: (error: unknown) => void;
  timer: { cancelled: boolean };
}

class ModelSession implements Session {
  readonly target: Target;
  readonly version = VERSION;
  readonly actor: Process;
  readonly baton = true;
  at!: ServerSession;
  readonly #wire: Wire;
  readonly #network: Network;
  readonly #listeners = new Set<(fault: MysqlFault) => void>();
  #queue: Query[] = [];
  #asked: Query | null = null;
  #ended: MysqlFault | null = null;

  constructor(target: Target, process: Process, network: Network, wire: Wire) {
    this.target = target;
    this.actor = process;
    this.#network = network;
    this.#wire = wire;
    process.onDeath.push((silently) => {
      if (!silently && this.#ended === null) this.#sayGoodbye();
    });
  }

  get host(): string {
    return this.actor.host;
  }
  get threadId(): number {
    return this.at.id;
  }
  get closed(): boolean {
    return this.#ended !== null;
  }

  async query<T = Row>(sql: string, o?: QueryOptions): Promise<T[]> {
    return ((await this.queryAll(sql, o))[0] ?? []) as T[];
  }

  queryAll(sql: string, o: QueryOptions = {}): Promise<Row[][]> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== null) return reject(this.#ended);
      const deadlineMs = o.deadlineMs ?? DEFAULT_DEADLINE_MS;
      const query: Query = { sql, resolve, reject, timer: { cancelled: false } };
      query.timer = this.#network.timeline.after(deadlineMs, this.actor, () => {
        const fault = new MysqlFault("timeout-query", `no answer within ${deadlineMs} ms`);
        if (o.keep) query.reject(fault);
        else this.#close(fault, true);
      });
      this.#queue.push(query);
      this.#ask();
    });
  }

  #ask(): void {
    if (this.#asked !== null) return;
    const query = this.#queue.shift();
    if (query === undefined) return;
    this.#asked = query;
    this.actor.emit(() => {
      if (this.#ended !== null) return;
      this.#wire.send(this.at.server.life, () =>
        this.at.run(query.sql, (answer) => this.#answered(query, answer)),
      );
    });
  }

  #answered(query: Query, { rows, error }: Answer): void {
    if (this.#asked !== query) return;
    this.#asked = null;
    query.timer.cancelled = true;
    if (error === null) query.resolve(rows);
    else query.reject(new MysqlFault("error", error.message, { errno: error.errno }));
    this.#ask();
  }

  async ping(deadlineMs: number): Promise<void> {
    await this.queryAll("SELECT VERSION() AS version", { deadlineMs, keep: true });
  }

  onClosed(callback: (fault: MysqlFault) => void): () => void {
    const ended = this.#ended;
    if (ended !== null) queueMicrotask(() => callback(ended));
    else this.#listeners.add(callback);
    return () => this.#listeners.delete(callback);
  }

  destroy(): void {
    this.#listeners.clear();
    this.#close(new MysqlFault("closed", "destroyed by us"), true);
  }

  async end(): Promise<void> {
    this.destroy();
  }

  hungUp(): void {
    this.#close(new MysqlFault("closed", "the server closed the connection"), false);
  }

  #sayGoodbye(): void {
    const { at } = this;
    this.#wire.send(at.server.life, () => at.clientGone());
  }

  #close(fault: MysqlFault, tell: boolean): void {
    if (this.#ended !== null) return;
    this.#ended = fault;
    if (tell) this.actor.emit(() => this.#sayGoodbye());
    for (const query of [...(this.#asked === null ? [] : [this.#asked]), ...this.#queue]) {
      query.timer.cancelled = true;
      query.reject(fault);
    }
    this.#asked = null;
    this.#queue = [];
    for (const told of this.#listeners) told(fault);
    this.#listeners.clear();
  }
}
