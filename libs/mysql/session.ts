/**
 * One warm connection to one mysqld. It tells at once when it closes, even when idle, and every wait has
 * a deadline. It never reconnects: a lost session is a fact for whoever holds it (SAFETY.md, "The
 * executor that slept").
 */
import { connect, isIP, type Socket } from "node:net";
import type { MysqlAccess } from "@baton/contracts";
import {
  type Connection,
  type ConnectionOptions,
  createConnection,
  type QueryError,
  type SslOptions,
} from "mysql2";
import { addresses } from "./addresses.ts";
import { classify, MysqlFault } from "./fault.ts";

export interface Target {
  host: string;
  port: number;
}

export type Access = Pick<MysqlAccess, "user" | "password" | "tls">;

export interface OpenOptions {
  /** From the host's name to a session ready for use: addresses, TCP, TLS, login, session settings. */
  connectTimeoutMs: number;
  /** Shown in `performance_schema.session_connect_attrs` as `program_name`. */
  name: string;
  signal?: AbortSignal;
}

export interface QueryOptions {
  /** Default 10 s. When it passes the promise rejects with outcome `timeout-query`. */
  deadlineMs?: number;
  /** Values for `?` places, escaped here. */
  params?: unknown[];
  /** Keep the session when the deadline passes: the late answer goes to nobody. Default: destroy it. */
  keep?: boolean;
}

export type Row = Record<string, unknown>;

export interface Session {
  readonly target: Target;
  readonly threadId: number;
  /** What `SELECT VERSION()` says. */
  readonly version: string;
  readonly closed: boolean;
  /** The rows of one statement; empty for a statement without a result set. */
  query<T = Row>(sql: string, o?: QueryOptions): Promise<T[]>;
  /** Several statements in one round trip, one list of rows each. At the first error the rest is not run. */
  queryAll(sql: string, o?: QueryOptions): Promise<Row[][]>;
  /** COM_PING: answered by the connection's thread without any lock. Keeps the session at a deadline. */
  ping(deadlineMs: number): Promise<void>;
  /**
   * Calls back once when the session ends without `destroy` or `end`: outcome `closed`, `shutting-down`
   * or, after a deadline, `timeout-query`. Returns how to stop listening.
   */
  onClosed(callback: (fault: MysqlFault) => void): () => void;
  /** Drops the connection now; what still waits is rejected. */
  destroy(): void;
  /** Says good-bye, with a bound of one second. */
  end(): Promise<void>;
}

const DEFAULT_DEADLINE_MS = 10_000;
const END_MS = 1_000;

/**
 * Settings that a server's own defaults or `init_connect` must not change under us: escapes (sql_mode),
 * transactions left open (autocommit), timestamps that jump with daylight saving (time_zone), and an
 * idle warm session that the server ends (wait_timeout).
 */
const SESSION_SQL =
  "SET SESSION sql_mode='NO_ENGINE_SUBSTITUTION', autocommit=1, time_zone='+00:00', wait_timeout=86400; " +
  "SELECT VERSION() AS version";

/** Opens a session. @throws MysqlFault; its outcome is what a sample says. */
export function openSession(target: Target, access: Access, o: OpenOptions): Promise<Session> {
  return new Promise((resolve, reject) => {
    if (o.signal?.aborted) return reject(new MysqlFault("error", "aborted before connecting"));
    // While there is no address, whatever fails says nothing about the server.
    let resolved = isIP(target.host) !== 0;
    let stage = resolved ? "no TCP connection" : `the name ${target.host} was not resolved`;
    let settled = false;
    const lookup = addresses.lookup(o.connectTimeoutMs, () => {
      resolved = true;
      stage = "no TCP connection";
    });
    const { host, port } = target;
    const socket = connect({ host, port, lookup, noDelay: true, keepAlive: true });
    const connection = createConnection(options(target, access, o.name, socket));

    const settle = (fault: MysqlFault | null, session?: Session) => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      o.signal?.removeEventListener("abort", onAbort);
      socket.off("end", onHangUp);
      if (fault) {
        connection.destroy();
        socket.destroy();
        reject(fault);
      } else {
        connection.off("error", onError);
        resolve(session!);
      }
    };
    const timer = setTimeout(
      () =>
        settle(
          new MysqlFault(resolved ? "timeout-connect" : "error", `${stage} within ${o.connectTimeoutMs} ms`),
        ),
      o.connectTimeoutMs,
    );
    const onAbort = () => settle(new MysqlFault("error", "aborted while connecting"));
    // The server's last words, if any, came before its FIN: leave the driver one turn to read them.
    const onHangUp = () =>
      setImmediate(() => settle(new MysqlFault("closed", `the server hung up: ${stage}`)));
    const onError = (error: unknown) => {
      const fault = classify(error, "connect");
      const lost = fault.outcome === "tls" && fault.errno === null && socket.readableEnded;
      settle(lost ? new MysqlFault("closed", `hung up in the TLS handshake: ${fault.message}`) : fault);
    };

    o.signal?.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", () => {
      stage = "connected, but no greeting or login answer";
    });
    socket.on("error", onError);
    socket.on("end", onHangUp);
    connection.on("error", onError);
    connection.once("connect", () => {
      stage = "logged in, but no answer to the session settings";
      connection.query(SESSION_SQL, (error: unknown, answers: unknown) => {
        if (error) return onError(error);
        const [, [row] = []] = answers as [unknown, { version: string }[]];
        if (!settled) settle(null, new HeldSession(target, connection, socket, row?.version ?? ""));
      });
    });
  });
}

function options(target: Target, access: Access, name: string, socket: Socket): ConnectionOptions {
  return {
    host: target.host,
    port: target.port,
    user: access.user,
    password: access.password,
    stream: () => socket,
    multipleStatements: true,
    connectTimeout: 0, // one timer of ours covers every stage
    supportBigNumbers: true,
    dateStrings: true,
    charset: "utf8mb4_0900_ai_ci",
    flags: ["-LOCAL_FILES"], // a node must never be able to ask for our files
    connectAttributes: { program_name: name },
    // With a CA the server's certificate must be signed by it; the names in mysqld's own certificates
    // are no host names, so they are not compared (VERIFY_CA, as mysql --ssl-mode calls it).
    ...(access.tls ? { ssl: tlsOptions(access.tls) } : {}),
  };
}

function tlsOptions({ ca, cert, key }: NonNullable<Access["tls"]>): SslOptions {
  return {
    rejectUnauthorized: ca !== undefined,
    verifyIdentity: false,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

type Answer = (error: QueryError | null, result?: unknown) => void;

class HeldSession implements Session {
  readonly target: Target;
  readonly threadId: number;
  readonly version: string;
  readonly #connection: Connection;
  readonly #socket: Socket;
  readonly #waiting = new Set<(fault: MysqlFault) => void>();
  readonly #listeners = new Set<(fault: MysqlFault) => void>();
  #ended: MysqlFault | null = null;
  #leaving = false;

  constructor(target: Target, connection: Connection, socket: Socket, version: string) {
    this.target = target;
    this.version = version;
    this.threadId = connection.threadId;
    this.#connection = connection;
    this.#socket = socket;
    // An error packet in no command's turn (shutdown, KILL) comes here just before the socket's end.
    connection.on("error", (error: unknown) => this.#close(classify(error, "query")));
    socket.on("error", (error) => this.#close(classify(error, "query")));
    const gone = () => this.#close(new MysqlFault("closed", "the server closed the connection"));
    socket.on("end", () => setImmediate(gone));
    socket.on("close", gone);
    if (socket.destroyed) gone();
  }

  get closed(): boolean {
    return this.#ended !== null;
  }

  async query<T = Row>(sql: string, o: QueryOptions = {}): Promise<T[]> {
    return rowsOf(await this.#run(sql, o)) as T[];
  }

  async queryAll(sql: string, o: QueryOptions = {}): Promise<Row[][]> {
    const result = await this.#run(sql, o);
    return several(result) ? result.map(rowsOf) : [rowsOf(result)];
  }

  async ping(deadlineMs: number): Promise<void> {
    await this.#ask((answer) => this.#connection.ping(answer), deadlineMs, true, "COM_PING");
  }

  onClosed(callback: (fault: MysqlFault) => void): () => void {
    const ended = this.#ended;
    if (ended && !this.#leaving) queueMicrotask(() => callback(ended));
    else this.#listeners.add(callback);
    return () => this.#listeners.delete(callback);
  }

  destroy(): void {
    this.#leaving = true;
    this.#close(new MysqlFault("closed", "destroyed by us"));
  }

  async end(): Promise<void> {
    if (this.#ended) return;
    this.#leaving = true;
    await this.#ask((answer) => this.#connection.end(answer), END_MS, true, "COM_QUIT").catch(
      () => undefined,
    );
    this.destroy();
  }

  #run(sql: string, o: QueryOptions): Promise<unknown> {
    // Without parameters nothing is looked for in the text.
    const question = o.params === undefined ? { sql } : { sql, values: o.params };
    const ask = (answer: Answer) => void this.#connection.query(question, answer);
    return this.#ask(ask, o.deadlineMs ?? DEFAULT_DEADLINE_MS, o.keep ?? false, sql);
  }

  #ask(ask: (answer: Answer) => void, deadlineMs: number, keep: boolean, what: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(fail);
      };
      const fail = (fault: MysqlFault) => {
        done();
        reject(fault);
      };
      const timer = setTimeout(() => {
        const fault = new MysqlFault("timeout-query", `no answer within ${deadlineMs} ms to ${head(what)}`);
        fail(fault);
        if (!keep) this.#close(fault);
      }, deadlineMs);
      this.#waiting.add(fail);
      ask((error, result) => {
        if (error) return fail(classify(error, "query"));
        done();
        resolve(result);
      });
    });
  }

  #close(fault: MysqlFault): void {
    if (this.#ended) return;
    this.#ended = fault;
    this.#connection.destroy(); // sends a FIN and waits for the peer's, which a hung one never sends
    this.#socket.destroy();
    for (const fail of [...this.#waiting]) fail(fault);
    if (!this.#leaving) for (const tell of this.#listeners) tell(fault);
    this.#listeners.clear();
  }
}

/** mysql2 gives rows, or one header, or a list of either: and a list of rows holds neither lists nor headers. */
function several(result: unknown): result is unknown[] {
  return Array.isArray(result) && result.some((part) => Array.isArray(part) || isHeader(part));
}

function rowsOf(result: unknown): Row[] {
  return Array.isArray(result) ? (result as Row[]) : [];
}

function isHeader(part: unknown): boolean {
  return (part as object | null)?.constructor?.name === "ResultSetHeader";
}

function head(sql: string): string {
  const text = sql.replace(/\s+/g, " ").trim();
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
