/** A client: writes one row after another to whichever server takes it, and remembers what it was told. */
import type { Transaction } from "./history.ts";
import type { Mysqld } from "./mysqld.ts";
import type { Network } from "./network.ts";
import { Wire } from "./network.ts";
import { ServerSession } from "./server-session.ts";
import { Actor } from "./timeline.ts";

export interface WriterOptions {
  name: string;
  host: string;
  network: Network;
  servers: readonly Mysqld[];
  /** Between an answer and the next write, on average. */
  thinkMs: () => number;
  acked(server: Mysqld, transaction: Transaction, sentMs: number): void;
}

const PATIENCE_MS = 2_000;
const RETRY_MS = 20;

export class Writer {
  readonly baton = false;
  readonly host: string;
  readonly actor: Actor;
  readonly #o: WriterOptions;
  #at = 0;
  #session: ServerSession | null = null;
  #wire: Wire | null = null;
  /** Of the write under way; an answer to an older one is only noted. */
  #turn = 0;
  acknowledged = 0;
  refused = 0;

  constructor(o: WriterOptions) {
    this.#o = o;
    this.host = o.host;
    this.actor = new Actor(o.name, o.network.timeline);
    this.#later(o.thinkMs(), () => this.#write());
  }

  #later(ms: number, run: () => void): void {
    this.#o.network.timeline.after(ms, this.actor, run);
  }

  /** The server closed the connection. */
  hungUp(): void {
    this.#session = null;
    this.#elsewhere();
  }

  #elsewhere(): void {
    const turn = ++this.#turn;
    const { servers } = this.#o;
    this.#leave();
    this.#at = (this.#at + 1) % servers.length;
    this.#later(RETRY_MS, () => {
      if (turn === this.#turn) this.#write();
    });
  }

  #leave(): void {
    const session = this.#session;
    this.#session = null;
    if (session !== null) this.#wire?.send(session.server.life, () => session.clientGone());
  }

  #write(): void {
    const { network, servers } = this.#o;
    const { timeline } = network;
    const server = servers[this.#at] as Mysqld;
    const turn = ++this.#turn;
    if (this.#session === null) {
      if (!server.alive || !network.open(this.host, server.host)) {
        this.#elsewhere();
        return;
      }
      this.#wire = new Wire(network, this.host, server.host);
      this.#session = new ServerSession(server, this, network);
    }
    const session = this.#session;
    const sentMs = timeline.nowMs;
    this.#later(PATIENCE_MS, () => {
      if (turn === this.#turn) this.#elsewhere();
    });
    (this.#wire as Wire).send(server.life, () =>
      session.write((outcome, transaction) => {
        if (outcome === "ok" && transaction !== null) {
          this.acknowledged++;
          this.#o.acked(server, transaction, sentMs);
        } else this.refused++;
        if (turn !== this.#turn) return;
        if (outcome !== "ok") this.#elsewhere();
        else {
          this.#turn++;
          this.#later(this.#o.thinkMs(), () => this.#write());
        }
      }),
    );
  }
}
