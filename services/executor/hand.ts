/**
 * A hand on one node, for the length of one operation: a session that holds the node's lock. A successor that takes
 * the operation over kills this session, so nothing that a paused executor sends later takes effect; a lost hand
 * is never reopened inside the operation (SAFETY.md, "The executor that slept").
 */
import type { EpochRow, NodeStatus } from "@baton/contracts";
import { type Dialect, isMissingTable, MysqlFault, parseEpoch, type Row, type Session } from "@baton/mysql";
import { Refusal } from "./refusal.ts";

export interface Hand {
  readonly node: string;
  readonly dialect: Dialect;
  readonly threadId: number;
  readonly closed: boolean;
  /** One round trip; the rows of each statement. @throws Refusal node-lost */
  run(sql: string | readonly string[], deadlineMs: number): Promise<Row[][]>;
  status(deadlineMs: number): Promise<NodeStatus>;
  /** The row of `baton.epoch`: null, there is none; undefined, it could not be read. Never throws. */
  epoch(deadlineMs: number): Promise<EpochRow | null | undefined>;
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
  /** The session may be another operation's by now. */
  #released = false;

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

  /** Takes the node's lock on this session; a predecessor that still holds it, or whose helper is left, is killed first. */
  static async take(
    node: string,
    dialect: Dialect,
    session: Session,
    deadlineMs: number,
    giveBack: (session: Session) => void,
  ): Promise<SessionHand> {
    const hand = new SessionHand(node, dialect, session, giveBack);
    const first = await hand.#lock(0, deadlineMs);
    if (first.taken) {
      await hand.#endHelper(first.helper, deadlineMs);
      return hand;
    }
    if (first.holder > 0) await hand.#kill(first.holder, deadlineMs);
    const second = await hand.#lock(KILLED_HOLDER_S, deadlineMs);
    if (!second.taken)
      throw new Refusal(
        "node-lost",
        `${node}: its lock is held by session ${second.holder || "?"} and was not let go`,
      );
    await hand.#endHelper(second.helper, deadlineMs);
    return hand;
  }

  /** Takes the node's lock if nobody holds it: null, with the session given back, if somebody does. Nobody is killed. */
  static async takeFree(
    node: string,
    dialect: Dialect,
    session: Session,
    deadlineMs: number,
    giveBack: (session: Session) => void,
  ): Promise<SessionHand | null> {
    const hand = new SessionHand(node, dialect, session, giveBack);
    const { taken, helper } = await hand.#lock(0, deadlineMs);
    if (taken && helper === 0) return hand;
    await hand.release();
    return null;
  }

  /**
   * A second session of the operation that holds `of`, for what that one is too busy waiting to do. It has a lock of its own, by
   * which a successor finds it; and it sees that `of` still holds the node after it has that lock, so that the successor cannot miss it.
   */
  static async second(of: Hand, session: Session, deadlineMs: number): Promise<SessionHand> {
    const helper = new SessionHand(of.node, of.dialect, session, (s) => s.destroy());
    const [rows] = await helper.run(
      of.dialect.takeHelperLock(KILLED_HOLDER_S),
      deadlineMs + KILLED_HOLDER_S * 1_000,
    );
    if (Number(rows?.[0]?.taken) !== 1)
      throw new Refusal("node-lost", `${of.node}: another helper is at work on it`);
    if (Number(rows?.[0]?.holder ?? 0) !== of.threadId)
      throw new Refusal("node-lost", `${of.node}: its lock has passed to another session`);
    return helper;
  }

  /** A session that only looks. */
  static looking(node: string, dialect: Dialect, session: Session): SessionHand {
    return new SessionHand(node, dialect, session, (s) => s.destroy());
  }

  async #lock(
    waitS: number,
    deadlineMs: number,
  ): Promise<{ taken: boolean; holder: number; helper: number }> {
    const [rows] = await this.run(this.dialect.takeNodeLock(waitS), deadlineMs + waitS * 1_000);
    const { taken, holder, helper } = rows?.[0] ?? {};
    return { taken: Number(taken) === 1, holder: Number(holder ?? 0), helper: Number(helper ?? 0) };
  }

  async #kill(threadId: number, deadlineMs: number): Promise<void> {
    const { groupWaits } = this.dialect;
    if (groupWaits !== null) {
      const [rows] = await this.run(groupWaits.committing(threadId), deadlineMs);
      if (rows?.[0] !== undefined)
        throw new Refusal(
          "node-lost",
          `${this.node}: session ${threadId} of the last holder commits, and to kill it may answer clients without an ack`,
        );
    }
    // It may be gone by now: "Unknown thread id" is as good as killed.
    await this.#session.query(this.dialect.kill(threadId), { deadlineMs }).catch(() => undefined);
    if (this.#session.closed)
      throw new Refusal("node-lost", `${this.node}: the session was lost while taking its lock`);
  }

  /** A helper that the last holder left behind has ended when its lock can be had. */
  async #endHelper(threadId: number, deadlineMs: number): Promise<void> {
    if (threadId === 0) return;
    await this.#kill(threadId, deadlineMs);
    const [rows] = await this.run(
      [this.dialect.takeHelperLock(KILLED_HOLDER_S), this.dialect.releaseHelperLock],
      deadlineMs + KILLED_HOLDER_S * 1_000,
    );
    if (Number(rows?.[0]?.taken) !== 1)
      throw new Refusal("node-lost", `${this.node}: session ${threadId} of its last holder did not end`);
  }

  get threadId(): number {
    return this.#session.threadId;
  }

  get closed(): boolean {
    return this.#released || this.#session.closed;
  }

  async run(sql: string | readonly string[], deadlineMs: number): Promise<Row[][]> {
    if (this.#released) throw new Refusal("node-lost", `${this.node}: its lock was given back`);
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

  async epoch(deadlineMs: number): Promise<EpochRow | null | undefined> {
    if (this.#released) return undefined;
    try {
      const [row] = await this.#session.query(this.dialect.readEpoch, { deadlineMs, keep: true });
      return parseEpoch(row);
    } catch (error) {
      return error instanceof MysqlFault && isMissingTable(error.errno) ? null : undefined;
    }
  }

  async release(): Promise<void> {
    if (this.closed) return;
    this.#released = true;
    try {
      await this.#session.query(this.dialect.releaseNodeLock, { deadlineMs: RELEASE_MS });
      this.#giveBack(this.#session);
    } catch {
      this.#session.destroy();
    }
  }

  destroy(): void {
    if (!this.#released) this.#session.destroy();
  }
}
