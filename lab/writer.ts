import { LabError } from "./lab-error.ts";
import { Ledger } from "./ledger.ts";
import { monotonicMs } from "./monotonic.ts";
import { PrimaryFinder } from "./primary-finder.ts";
import { until } from "./until.ts";
import { type Account, identityOf, Link, type WriterNode } from "./writer-link.ts";

export interface Ack {
  id: string;
  /** The server_uuid that acknowledged. */
  server: string;
  /** Monotonic milliseconds: when it was sent, and when it was answered. */
  sentMs: number;
  atMs: number;
}

export interface WriterOptions {
  /** Inserts under way at the same time. Default 4. */
  connections?: number;
  /** Pause of a connection between an acknowledgement and its next insert. Default 5. */
  paceMs?: number;
  /** Silence of an insert after which the primary is looked for. Default 50. */
  answerTimeoutMs?: number;
  onAck?: (ack: Ack) => void;
  /** What is sent to this server in place of the insert of the id; the report's `lost` then means nothing. */
  statement?: (id: string, server: string) => string;
}

export interface WriterSnapshot {
  acknowledged: number;
  /** Acknowledgements in the last second. */
  rate: number;
  /** Name of the node that is written to; null while the writer looks for one. */
  node: string | null;
  /** Inserts without an answer at servers that the writer has left. */
  hanging: number;
  /** Of the last fault; null before a fault or while nothing was acknowledged since. */
  downtimeMs: number | null;
  /** Acknowledgements by node name. */
  perNode: Record<string, number>;
  errors: Record<string, number>;
}

export interface WriterReport {
  acknowledged: number;
  /** Of the last fault: first acknowledged insert sent after it, minus the fault. */
  downtimeMs: number | null;
  /** The same for every fault that was told, in order. */
  downtimesMs: (number | null)[];
  /** Acknowledged ids that the final primary does not have. */
  lost: string[];
  /** Acknowledgements by an earlier server of inserts sent after a later one had acknowledged, since the last fault before them. */
  split: { id: string; server: string; atMs: number }[];
  /** Answers of an earlier server to inserts that were under way when the pen passed on; in the history, or else lost. */
  late: number;
  /** Acknowledgements by server_uuid. */
  perServer: Record<string, number>;
  /** The node's name by server_uuid. */
  serverNames: Record<string, string>;
  /** Failed inserts by MySQL or socket error code; `no-answer` counts those slower than the answer timeout. */
  errors: Record<string, number>;
  /** The node whose rows were read; null when none was writable, and `lost` is then what no reachable node has. */
  finalPrimary: string | null;
}

/** A node where this many inserts were left behind gets no more: each of them holds a connection. */
const mostHanging = 12;
const tickMs = 5;
const reopenMs = 250;
const settleTimeoutMs = 1_000;
const finalPrimaryTimeoutMs = 5_000;
const readTimeoutMs = 60_000;

interface Place {
  node: WriterNode;
  /** One warm link for each worker. */
  links: (Link | undefined)[];
  /** Links that were left while an insert was under way: kept, since a late answer counts. */
  hanging: Set<Link>;
  reopenAtMs: number;
}

/**
 * Clients that insert unique ids as fast as they are acknowledged, keep warm links to every node and move to
 * another primary by themselves. An insert whose outcome is unknown is never sent again under the same id.
 */
export class Writer {
  readonly #account: Account;
  readonly #options: Required<Omit<WriterOptions, "onAck" | "statement">> &
    Pick<WriterOptions, "onAck" | "statement">;
  readonly #tag = Math.random().toString(36).slice(2, 10).padEnd(8, "0");
  readonly #ledger = new Ledger();
  readonly #places: Place[];
  readonly #finder: PrimaryFinder;
  readonly #errors: Record<string, number> = {};
  readonly #serverNames: Record<string, string> = {};
  readonly #ticker: NodeJS.Timeout;
  #target: Place | undefined;
  #waiting: Set<number>;
  #stopping = false;
  #report: Promise<WriterReport> | undefined;
  /** Count of acknowledgements in each of the last ten tenths of a second. */
  readonly #recent: { tenth: number; count: number }[] = [];

  constructor(nodes: WriterNode[], account: Account, options: WriterOptions) {
    this.#account = account;
    this.#options = { connections: 4, paceMs: 5, answerTimeoutMs: 50, ...options };
    this.#places = nodes.map((node) => ({ node, links: [], hanging: new Set(), reopenAtMs: 0 }));
    this.#waiting = new Set(Array.from({ length: this.#options.connections }, (_, worker) => worker));
    this.#finder = new PrimaryFinder(nodes, account, (node) => this.#found(node));
    for (const place of this.#places) this.#openLinks(place);
    this.#finder.search(undefined);
    this.#ticker = setInterval(() => this.#tick(), tickMs);
  }

  /** Tells that a fault was made at this monotonic time: downtime counts from here. */
  fault(atMs: number): void {
    this.#ledger.fault(atMs);
  }

  acknowledged(): number {
    return this.#ledger.acknowledged;
  }

  /** Acknowledgements in the last second. */
  rate(): number {
    const now = Math.floor(monotonicMs() / 100);
    return this.#recent.reduce((sum, each) => (now - each.tenth <= 10 ? sum + each.count : sum), 0);
  }

  snapshot(): WriterSnapshot {
    const perNode: Record<string, number> = {};
    for (const [server, count] of Object.entries(this.#ledger.perServer())) {
      const name = this.#serverNames[server] ?? server;
      perNode[name] = (perNode[name] ?? 0) + count;
    }
    return {
      acknowledged: this.#ledger.acknowledged,
      rate: this.rate(),
      node: this.#target?.node.name ?? null,
      hanging: this.#places.reduce((sum, place) => sum + place.hanging.size, 0),
      downtimeMs: this.#ledger.faults.at(-1)?.downtimeMs ?? null,
      perNode,
      errors: { ...this.#errors },
    };
  }

  /**
   * The downtime of the last fault, once a write that was sent after it is acknowledged.
   * Error: LabError `not-recovered` when that takes longer than `timeoutMs`.
   */
  recovered(timeoutMs: number): Promise<number> {
    return until(async () => this.#ledger.faults.at(-1)?.downtimeMs, {
      timeoutMs,
      everyMs: 5,
      onTimeout: () =>
        new LabError("not-recovered", {
          found: `no acknowledged write for ${timeoutMs} ms; errors so far: ${JSON.stringify(this.#errors)}`,
          expected: "a primary that acknowledges writes",
          remedy: "read the log of the servers and of whoever was to fail over",
        }),
    });
  }

  /** Stops writing, lets what is under way end, reads every id from the final primary and reports. */
  stop(): Promise<WriterReport> {
    this.#report ??= this.#stop();
    return this.#report;
  }

  /** Drops every connection at once, without a report. */
  abandon(): void {
    this.#stopping = true;
    this.#close();
  }

  #close(): void {
    clearInterval(this.#ticker);
    this.#finder.close();
    for (const place of this.#places) {
      for (const link of [...place.links, ...place.hanging]) link?.destroy();
      place.links = [];
      place.hanging.clear();
    }
  }

  #openLinks(place: Place): void {
    for (let worker = 0; worker < this.#options.connections; worker++) {
      if (place.links[worker] === undefined) place.links[worker] = this.#open(place, worker);
    }
  }

  #open(place: Place, worker: number): Link {
    return new Link(place.node, this.#account, {
      ready: (link) => {
        this.#serverNames[link.server] = place.node.name;
        if (this.#target === place) this.#wake(worker);
      },
      closed: (link, code) => {
        const wasWriting = place.hanging.delete(link) || link.insert !== undefined;
        if (wasWriting) this.#count(code);
        if (place.links[worker] !== link) return;
        place.links[worker] = undefined;
        place.reopenAtMs = Math.max(place.reopenAtMs, monotonicMs() + reopenMs);
        if (wasWriting) this.#free(worker, place);
        else this.#doubt(place);
      },
    });
  }

  /** The place has just failed a worker: the worker goes where the others are, or waits until that is known. */
  #free(worker: number, place: Place): void {
    this.#waiting.add(worker);
    if (this.#target === place) this.#doubt(place);
    else this.#wake(worker);
  }

  /** If writes went to this place, find out where they should go now. Its links and inserts stay as they are. */
  #doubt(place: Place): void {
    if (this.#target !== place) return;
    this.#target = undefined;
    this.#finder.search(place.node);
  }

  /** Moves every worker to the node. Inserts under way elsewhere are left to their fate: a late answer counts. */
  #found(node: WriterNode): boolean {
    const place = this.#places.find((each) => each.node === node);
    if (!place || place.hanging.size >= mostHanging) return false;
    this.#target = place;
    for (const other of this.#places) if (other !== place) this.#leave(other);
    place.reopenAtMs = 0;
    this.#openLinks(place);
    for (const worker of [...this.#waiting]) this.#wake(worker);
    return true;
  }

  #leave(place: Place): void {
    for (const [worker, link] of place.links.entries()) {
      if (link?.insert === undefined) continue;
      place.hanging.add(link);
      place.links[worker] = undefined;
      this.#waiting.add(worker);
    }
  }

  #wake(worker: number): void {
    if (!this.#waiting.has(worker) || this.#stopping) return;
    const place = this.#target;
    const link = place?.links[worker];
    if (!place || link?.state !== "idle") return;
    this.#waiting.delete(worker);
    this.#insert(worker, place, link);
  }

  #insert(worker: number, place: Place, link: Link): void {
    const sentMs = monotonicMs();
    const number = this.#ledger.send(sentMs);
    link.insert = number;
    const id = this.#id(number);
    const sql =
      this.#options.statement?.(id, link.server) ??
      `INSERT INTO app.writes VALUES ('${id}', ${identityOf(place.node)}, ${sentMs})`;
    link.ask(sql, sentMs, (error, answer) => {
      link.insert = undefined;
      const late = place.hanging.delete(link);
      if (error) this.#count(error.code ?? String(error.errno));
      // An OK that changed no row waited for nobody.
      else if ((answer as { affectedRows?: number }).affectedRows === 0) this.#count("no-row");
      else this.#acknowledge(number, link.server, sentMs);
      if (late) return this.#keep(worker, place, link);
      if (error) return this.#free(worker, place);
      this.#waiting.add(worker);
      setTimeout(() => this.#wake(worker), this.#options.paceMs);
    });
  }

  #acknowledge(number: number, server: string, sentMs: number): void {
    const atMs = monotonicMs();
    this.#ledger.acknowledge(number, server, atMs);
    const tenth = Math.floor(atMs / 100);
    const last = this.#recent.at(-1);
    if (last?.tenth === tenth) last.count += 1;
    else this.#recent.push({ tenth, count: 1 });
    if (this.#recent.length > 11) this.#recent.shift();
    this.#options.onAck?.({ id: this.#id(number), server, sentMs, atMs });
  }

  /** A link that answered late is good again: it takes its old seat, if that is still free. */
  #keep(worker: number, place: Place, link: Link): void {
    const seated = place.links[worker];
    if (seated && seated.state !== "opening") {
      link.destroy();
      return;
    }
    seated?.destroy();
    place.links[worker] = link;
    if (this.#target === place) this.#wake(worker);
  }

  #tick(): void {
    const now = monotonicMs();
    for (const place of this.#places) {
      for (const link of place.links) {
        if (link?.insert === undefined || now - link.trustedMs < this.#options.answerTimeoutMs) continue;
        if (link.trustedMs === link.busySinceMs) this.#count("no-answer");
        link.trustedMs = now;
        this.#doubt(place);
      }
      if (now >= place.reopenAtMs && place.links.includes(undefined) && place.hanging.size < mostHanging) {
        this.#openLinks(place);
      }
    }
  }

  #count(code: string): void {
    this.#errors[code] = (this.#errors[code] ?? 0) + 1;
  }

  #id(number: number): string {
    return `${this.#tag}-${number}`;
  }

  async #stop(): Promise<WriterReport> {
    this.#stopping = true;
    const underWay = () =>
      this.#places.some(
        (place) => place.hanging.size > 0 || place.links.some((link) => link?.insert !== undefined),
      );
    await until(async () => !underWay(), {
      timeoutMs: settleTimeoutMs,
      everyMs: 5,
      onTimeout: () => new Error("still hanging"),
    }).catch(() => undefined);
    const primary = await this.#finder.current(finalPrimaryTimeoutMs, this.#target?.node);
    this.#close();
    const sources = primary ? [primary] : this.#places.map((place) => place.node);
    const rows = await Promise.all(sources.map((node) => this.#read(node, primary !== undefined)));
    const lost = this.#ledger.missing(new Set(rows.flat()));
    return {
      acknowledged: this.#ledger.acknowledged,
      downtimeMs: this.#ledger.faults.at(-1)?.downtimeMs ?? null,
      downtimesMs: this.#ledger.faults.map((fault) => fault.downtimeMs),
      lost: lost.map((number) => this.#id(number)),
      split: this.#ledger.splits.map(({ number, server, atMs }) => ({ id: this.#id(number), server, atMs })),
      late: this.#ledger.late.length,
      perServer: this.#ledger.perServer(),
      serverNames: { ...this.#serverNames },
      errors: { ...this.#errors },
      finalPrimary: primary?.name ?? null,
    };
  }

  /** The numbers of this writer's rows on a node. A node that does not answer has none, unless it must. */
  #read(node: WriterNode, must: boolean): Promise<number[]> {
    return new Promise((done, fail) => {
      const end = (code: string) => {
        clearTimeout(timer);
        link.destroy();
        if (!must) return done([]);
        const remedy = "look at the node's log";
        fail(
          new LabError("not-recovered", { found: `${code} at ${node.name}`, expected: "its rows", remedy }),
        );
      };
      const link = new Link(node, this.#account, {
        ready: () => {
          const sql = `SELECT SUBSTR(id, ${this.#tag.length + 2}) AS number FROM app.writes WHERE id LIKE '${this.#tag}-%'`;
          link.ask(sql, monotonicMs(), (error, rows) => {
            if (error) return end(error.code ?? "error");
            clearTimeout(timer);
            link.destroy();
            done(rows.map((row) => Number(row.number)));
          });
        },
        closed: (_, code) => end(code),
      });
      const timer = setTimeout(() => end("no answer"), must ? readTimeoutMs : settleTimeoutMs * 5);
    });
  }
}

export function startWriter(nodes: WriterNode[], account: Account, options: WriterOptions = {}): Writer {
  return new Writer(nodes, account, options);
}
