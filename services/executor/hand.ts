/**
 * A hand on one node, for the length of one operation: a session that holds the node's lock. A successor that takes
 * the operation over kills this session, so nothing that a paused executor sends later takes effect; a lost hand
 * is never reopened inside the operation (SAFETY.md, "The executor that slept").
 */
import type { NodeStatus } from "@baton/contracts";
import { type Dialect, MysqlFault, type Row, type Session } from "@baton/mysql";
import { Refusal } from "./refusal.ts";

export interface Hand {
  readonly node: string;
  readonly dialect: Dialect;
  readonly closed: boolean;
  /** One round trip; the rows of each statement. @throws Refusal node-lost */
  run(sql: string | readonly string[], deadlineMs: number): Promise<Row[][]>;
  status(deadlineMs: number): Promise<NodeStatus>;
  /** Gives the lock back and the session to whoever keeps it warm. */
  release(): Promise<void>;
  destroy(): void;
}

/** A predecessor's killed session needs a moment to let its locks go. */
const KILLED_HOLDER_S = 2;
const RELEASE_MS = 1_000;

export class SessionHand implements Hand {
  readonly node: string;
  readonly dialect: Dialect;
  readonly #session: Session;
  readonly #giveBack: (session: Session) => void;

  private constructor(
    node: string,
    dialect: Dialect,
    session: Session,
    giveBack: (session: Session) => void,
  ) {
    this.node = node;
    this.dialect = dialect;
    this.#session = session;
    this.#giveBack = giveBack;
  }

  /** Takes the node's lock on this session; a predecessor that still holds it is killed first. */
  static async take(
    node: string,
    dialect: Dialect,
    session: Session,
    deadlineMs: number,
    giveBack: (session: Session) => void,
  ): Promise<SessionHand> {
    const hand = new SessionHand(node, dialect, session, giveBack);
    const [first] = await hand.run(dialect.takeNodeLock(0), deadlineMs);
    if (Number(first?.[0]?.taken) === 1) return hand;
    const holder = Number(first?.[0]?.holder ?? 0);
    if (holder > 0) {
      // It may be gone by now: "Unknown thread id" is as good as killed.
      await session.query(dialect.kill(holder), { deadlineMs }).catch(() => undefined);
      if (session.closed)
        throw new Refusal("node-lost", `${node}: the session was lost while taking its lock`);
    }
    const [second] = await hand.run(
      dialect.takeNodeLock(KILLED_HOLDER_S),
      deadlineMs + KILLED_HOLDER_S * 1_000,
    );
    if (Number(second?.[0]?.taken) === 1) return hand;
    throw new Refusal(
      "node-lost",
      `${node}: its lock is held by session ${second?.[0]?.holder ?? "?"} and was not let go`,
    );
  }

  /** A second session of the same operation, for what the locked one is too busy waiting to do. */
  static unlocked(node: string, dialect: Dialect, session: Session): SessionHand {
    return new SessionHand(node, dialect, session, (s) => s.destroy());
  }

  get closed(): boolean {
    return this.#session.closed;
  }

  async run(sql: string | readonly string[], deadlineMs: number): Promise<Row[][]> {
    try {
      return await this.#session.queryAll(typeof sql === "string" ? sql : sql.join(";"), { deadlineMs });
    } catch (error) {
      throw new Refusal(
        "node-lost",
        `${this.node}: ${error instanceof Error ? error.message : String(error)}`,
        error instanceof MysqlFault ? { errno: error.errno, outcome: error.outcome } : {},
      );
    }
  }

  async status(deadlineMs: number): Promise<NodeStatus> {
    return this.dialect.parseStatus(await this.run(this.dialect.statusSql, deadlineMs));
  }

  async release(): Promise<void> {
    if (this.#session.closed) return;
    try {
      await this.#session.query(this.dialect.releaseNodeLock, { deadlineMs: RELEASE_MS });
      this.#giveBack(this.#session);
    } catch {
      this.#session.destroy();
    }
  }

  destroy(): void {
    this.#session.destroy();
  }
}
