/**
 * One warm session to every declared node, so that no operation waits for a login. A session that an operation
 * takes is replaced in the background; one that closes is opened again, sooner or later, for ever.
 */
import type { DeclaredCluster, MysqlAccess } from "@baton/contracts";
import { type Dialect, dialectFor, type openSession, type Session } from "@baton/mysql";

export type OpenSession = typeof openSession;

export interface WarmOptions {
  name: string;
  open: OpenSession;
  access(cluster: string): MysqlAccess;
  onNote(cluster: string, node: string, text: string): void;
}

interface Slot {
  cluster: string;
  node: string;
  host: string;
  port: number;
  session: Session | null;
  dialect: Dialect | null;
  opening: boolean;
  failures: number;
  timer: NodeJS.Timeout | null;
  gone: boolean;
}

const CONNECT_MS = 1_000;
const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 5_000;
/** Routers and firewalls forget idle connections after a minute or more. */
const KEEPALIVE_MS = 20_000;

export class WarmSessions {
  readonly #slots = new Map<string, Slot>();
  readonly #o: WarmOptions;
  readonly #keepalive: NodeJS.Timeout;

  constructor(o: WarmOptions) {
    this.#o = o;
    this.#keepalive = setInterval(() => this.#pingAll(), KEEPALIVE_MS);
    this.#keepalive.unref();
  }

  /** Follows the declaration: new nodes are opened, moved and removed ones are let go. */
  declare(cluster: string, declared: DeclaredCluster | null): void {
    for (const [key, slot] of this.#slots) {
      if (slot.cluster !== cluster) continue;
      const d = declared?.nodes[slot.node];
      if (d !== undefined && d.host === slot.host && d.port === slot.port) continue;
      this.#slots.delete(key);
      this.#close(slot);
    }
    for (const [node, d] of Object.entries(declared?.nodes ?? {})) {
      const key = `${cluster}.${node}`;
      if (this.#slots.has(key)) continue;
      const slot: Slot = {
        cluster,
        node,
        host: d.host,
        port: d.port,
        session: null,
        dialect: null,
        opening: false,
        failures: 0,
        timer: null,
        gone: false,
      };
      this.#slots.set(key, slot);
      void this.#open(slot);
    }
  }

  /** A session to the node, the warm one if it is open, else a new one within `connectMs`. @throws MysqlFault */
  async take(
    cluster: string,
    node: string,
    connectMs: number,
  ): Promise<{ session: Session; dialect: Dialect }> {
    const slot = this.#slots.get(`${cluster}.${node}`);
    if (slot === undefined) throw new Error(`${cluster}.${node} is not declared`);
    const { session, dialect } = slot;
    if (session !== null && dialect !== null && !session.closed) {
      slot.session = null;
      return { session, dialect };
    }
    return this.#connect(slot, connectMs);
  }

  /** Takes a session back after an operation; a second one is closed. */
  giveBack(cluster: string, node: string, session: Session): void {
    const slot = this.#slots.get(`${cluster}.${node}`);
    if (slot === undefined || slot.gone || slot.session !== null || session.closed) void session.end();
    else this.#keep(slot, session);
  }

  warm(): { open: number; declared: number } {
    const slots = [...this.#slots.values()];
    return { open: slots.filter((s) => s.session !== null).length, declared: slots.length };
  }

  async stop(): Promise<void> {
    clearInterval(this.#keepalive);
    const slots = [...this.#slots.values()];
    this.#slots.clear();
    await Promise.all(slots.map((slot) => this.#close(slot)));
  }

  async #connect(slot: Slot, connectMs: number): Promise<{ session: Session; dialect: Dialect }> {
    const session = await this.#o.open({ host: slot.host, port: slot.port }, this.#o.access(slot.cluster), {
      connectTimeoutMs: connectMs,
      name: this.#o.name,
    });
    try {
      return { session, dialect: dialectFor(session.version) };
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  async #open(slot: Slot): Promise<void> {
    if (slot.gone || slot.opening || slot.session !== null) return;
    slot.opening = true;
    try {
      const { session, dialect } = await this.#connect(slot, CONNECT_MS);
      slot.dialect = dialect;
      if (slot.gone || slot.session !== null) {
        void session.end();
        return;
      }
      if (slot.failures > 0) this.#o.onNote(slot.cluster, slot.node, "its session is open again");
      slot.failures = 0;
      this.#keep(slot, session);
    } catch (error) {
      slot.failures++;
      if (slot.failures === 1)
        this.#o.onNote(
          slot.cluster,
          slot.node,
          `no session (${error instanceof Error ? error.message : error}); Baton keeps trying`,
        );
      this.#later(slot, Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(slot.failures, 10)));
    } finally {
      slot.opening = false;
    }
  }

  #keep(slot: Slot, session: Session): void {
    slot.session = session;
    session.onClosed(() => {
      if (slot.session !== session) return;
      slot.session = null;
      this.#later(slot, RETRY_MIN_MS);
    });
  }

  #later(slot: Slot, ms: number): void {
    if (slot.gone) return;
    if (slot.timer !== null) clearTimeout(slot.timer);
    slot.timer = setTimeout(() => void this.#open(slot), ms);
    slot.timer.unref();
  }

  #pingAll(): void {
    for (const slot of this.#slots.values()) {
      if (slot.session === null) void this.#open(slot);
      else slot.session.ping(CONNECT_MS).catch(() => slot.session?.destroy());
    }
  }

  async #close(slot: Slot): Promise<void> {
    slot.gone = true;
    if (slot.timer !== null) clearTimeout(slot.timer);
    await slot.session?.end();
  }
}
