import { type Connection, createConnection, type QueryError, type RowDataPacket } from "mysql2";

export interface WriterNode {
  name: string;
  host: string;
  port: number;
  /** The expression that tells servers apart. Default `@@server_uuid`, which MariaDB has not. */
  identity?: string;
}

export function identityOf(node: WriterNode): string {
  return node.identity ?? "@@server_uuid";
}

export interface Account {
  user: string;
  password: string;
}

export interface LinkEvents {
  ready(link: Link): void;
  closed(link: Link, code: string): void;
}

const connectTimeoutMs = 2_000;

/** One connection to one server: opening, then idle or busy, then closed for ever. Never reopens itself. */
export class Link {
  readonly node: WriterNode;
  /** The server at the other end, as its node's `identity` names it; known once ready. */
  server = "";
  /** What the server said when the link was opened. */
  writable = false;
  state: "opening" | "idle" | "busy" | "closed" = "opening";
  /** The number of the insert under way. */
  insert: number | undefined;
  /** Monotonic milliseconds of the statement under way. */
  busySinceMs = 0;
  /** Until this moment nobody doubted that the statement under way will be answered. */
  trustedMs = 0;
  readonly #connection: Connection;
  readonly #events: LinkEvents;

  constructor(node: WriterNode, account: Account, events: LinkEvents) {
    this.node = node;
    this.#events = events;
    this.#connection = createConnection({
      host: node.host,
      port: node.port,
      user: account.user,
      password: account.password,
      connectTimeout: connectTimeoutMs,
    });
    this.#connection.on("error", (error: NodeJS.ErrnoException) => this.#close(error.code ?? "error"));
    this.#connection.on("end", () => this.#close("end"));
    this.#connection.query<RowDataPacket[]>(
      `SELECT ${identityOf(node)} AS server, @@GLOBAL.read_only AS readOnly`,
      (error, rows) => {
        if (this.state === "closed") {
          this.#connection.destroy();
          return;
        }
        if (error) return this.#close(error.code ?? "error");
        this.server = rows[0]?.server;
        this.writable = rows[0]?.readOnly === 0;
        this.state = "idle";
        this.#events.ready(this);
      },
    );
  }

  /** Runs one statement; the answer comes once, or never when the link closes meanwhile (`closed` tells). */
  ask(sql: string, nowMs: number, answer: (error: QueryError | null, rows: RowDataPacket[]) => void): void {
    this.state = "busy";
    this.busySinceMs = nowMs;
    this.trustedMs = nowMs;
    this.#connection.query<RowDataPacket[]>(sql, (error, rows) => {
      if (this.state === "closed") return;
      if (error?.fatal) return this.#close(error.code ?? "error");
      this.state = "idle";
      answer(error, rows);
    });
  }

  destroy(): void {
    const opening = this.state === "opening";
    this.state = "closed";
    // A handshake that is cut makes mysql2 print a warning about packets out of order: let it end first.
    if (!opening) this.#connection.destroy();
  }

  #close(code: string): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.#connection.destroy();
    this.#events.closed(this, code);
  }
}
