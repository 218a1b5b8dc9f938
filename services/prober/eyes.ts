/** The thin shell round one ClusterWatch: its sessions, its one timer, and the carrying out of its effects. */
import type { DeclaredCluster, MysqlAccess, Sample } from "@baton/contracts";
import { classify, type MysqlFault, openSession, readStatus, type Session, type Target } from "@baton/mysql";
import { ClusterWatch, type Effect, type Input } from "./cluster-watch.ts";
import type { Fault, LinkName, Settings } from "./node-watch.ts";

export interface EyesOptions extends Settings {
  cluster: string;
  connectTimeoutMs: number;
  access: MysqlAccess;
  /** Of an incident that is news: all its samples, of whatever node, carry one trace. */
  publish(sample: Sample, traceparent: string | null): void;
  startTrace(): string;
  /** A node's outcome changed. */
  onTurn(sample: Sample): void;
  /** A question was put to a node. */
  onQuestion?(kind: "ping" | "status"): void;
}

/** A read that takes longer than this is given up, and its session with it. */
const READ_MS = 10_000;
/** The core judges a silence; this only keeps a hopeless session from living for ever. */
const PING_MS = 60_000;

/** The sessions to one node. What belongs to an older generation of a link is ignored. */
interface Links {
  target: Target;
  sessions: Partial<Record<LinkName, Session>>;
  opening: Partial<Record<LinkName, AbortController>>;
  outcome: string | null;
}

export class Eyes {
  readonly #o: EyesOptions;
  readonly #watch: ClusterWatch;
  readonly #links = new Map<string, Links>();
  readonly #asks = new Map<number, (samples: Sample[]) => void>();
  #lastAsk = 0;
  #timer: NodeJS.Timeout | undefined;
  #trace: string | null = null;
  #ended = false;

  constructor(o: EyesOptions) {
    this.#o = o;
    this.#watch = new ClusterWatch(o.cluster, o);
  }

  declare(declared: DeclaredCluster | null): void {
    this.#feed({ type: "declared", declared });
  }

  /** Looks at once. An empty list means all nodes. `traceparent`: whose incident this look belongs to. */
  lookNow(nodes: readonly string[], traceparent: string | null): Promise<Sample[]> {
    return new Promise((resolve) => {
      if (this.#ended) return resolve([]);
      this.#trace ??= traceparent;
      const ask = ++this.#lastAsk;
      this.#asks.set(ask, resolve);
      this.#feed({ type: "look-now", nodes, ask });
    });
  }

  async end(): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#timer);
    for (const answer of this.#asks.values()) answer([]);
    this.#asks.clear();
    await Promise.all([...this.#links.keys()].map((node) => this.#remove(node)));
  }

  #feed(input: Input): void {
    if (this.#ended) return;
    for (const effect of this.#watch.on(input, performance.now())) this.#carryOut(effect);
    this.#arm();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const now = performance.now();
    const at = this.#watch.wakeAt(now);
    if (at === Number.POSITIVE_INFINITY) return;
    // After the timers comes the reading of sockets, then setImmediate: an answer that already lies there is taken
    // before its absence is judged.
    const wake = () => setImmediate(() => this.#feed({ type: "wake", plannedAt: at }));
    this.#timer = setTimeout(wake, Math.max(0, Math.ceil(at - now)));
  }

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case "add": {
        const target = { host: effect.host, port: effect.port };
        this.#links.set(effect.node, { target, sessions: {}, opening: {}, outcome: null });
        return;
      }
      case "remove":
        void this.#remove(effect.node);
        return;
      case "publish":
        this.#publish(effect.sample, effect.incident);
        return;
      case "reply":
        this.#asks.get(effect.ask)?.(effect.samples);
        this.#asks.delete(effect.ask);
        return;
      default: {
        const links = this.#links.get(effect.node);
        if (links) this.#act(effect.node, links, effect);
      }
    }
  }

  #act(
    node: string,
    links: Links,
    effect: Extract<Effect, { type: "open" | "close" | "adopt" | "ping" | "read" }>,
  ): void {
    switch (effect.type) {
      case "open":
        void this.#open(node, links, effect.link);
        return;
      case "close":
        links.opening[effect.link]?.abort();
        delete links.opening[effect.link];
        links.sessions[effect.link]?.destroy();
        delete links.sessions[effect.link];
        return;
      case "adopt": {
        const { pulse, fresh } = links.sessions;
        pulse?.destroy();
        delete links.sessions.fresh;
        if (fresh) this.#hold(node, links, "pulse", fresh);
        return;
      }
      case "ping":
        if (links.sessions.pulse) void this.#ping(node, links, links.sessions.pulse);
        return;
      case "read":
        if (links.sessions.status) void this.#read(node, links, links.sessions.status);
    }
  }

  async #open(node: string, links: Links, link: LinkName): Promise<void> {
    const began = performance.now();
    const aborter = new AbortController();
    links.opening[link] = aborter;
    const took = () => performance.now() - began;
    try {
      const session = await openSession(links.target, this.#o.access, {
        connectTimeoutMs: this.#o.connectTimeoutMs,
        name: `baton-prober ${this.#o.prober}`,
        signal: aborter.signal,
      });
      if (links.opening[link] !== aborter) return session.destroy();
      delete links.opening[link];
      this.#hold(node, links, link, session);
      this.#feed({ type: "opened", node, link, fault: null, tookMs: took() });
    } catch (error) {
      if (links.opening[link] !== aborter) return;
      delete links.opening[link];
      const fault = told(classify(error, "connect"));
      this.#feed({ type: "opened", node, link, fault, tookMs: took() });
    }
  }

  #hold(node: string, links: Links, link: LinkName, session: Session): void {
    links.sessions[link] = session;
    session.onClosed((fault) => {
      if (links.sessions[link] !== session) return;
      delete links.sessions[link];
      this.#feed({ type: "closed", node, link, fault: told(fault) });
    });
  }

  async #ping(node: string, links: Links, session: Session): Promise<void> {
    const began = performance.now();
    let fault: MysqlFault | null = null;
    this.#o.onQuestion?.("ping");
    try {
      await session.ping(PING_MS);
    } catch (error) {
      fault = classify(error, "query");
    }
    if (links.sessions.pulse !== session) return;
    if (fault?.outcome === "timeout-query") {
      delete links.sessions.pulse;
      session.destroy();
      this.#feed({ type: "closed", node, link: "pulse", fault: told(fault) });
    } else if (!session.closed)
      this.#feed({
        type: "ponged",
        node,
        fault: fault && told(fault),
        tookMs: performance.now() - began,
      });
  }

  async #read(node: string, links: Links, session: Session): Promise<void> {
    this.#o.onQuestion?.("status");
    const answer = await readStatus(session, READ_MS).catch((error: unknown) =>
      told(classify(error, "query")),
    );
    if (links.sessions.status === session && !session.closed) this.#feed({ type: "answered", node, answer });
  }

  #publish(sample: Sample, incident: boolean): void {
    if (incident) this.#trace ??= this.#o.startTrace();
    else this.#trace = null;
    this.#o.publish(sample, this.#trace);
    const links = this.#links.get(sample.node);
    if (!links || links.outcome === sample.outcome) return;
    const first = links.outcome === null;
    links.outcome = sample.outcome;
    if (!first || sample.outcome !== "ok") this.#o.onTurn(sample);
  }

  async #remove(node: string): Promise<void> {
    const links = this.#links.get(node);
    this.#links.delete(node);
    if (!links) return;
    for (const aborter of Object.values(links.opening)) aborter.abort();
    links.opening = {};
    const sessions = Object.values(links.sessions);
    links.sessions = {};
    await Promise.all(sessions.map((session) => session.end()));
  }
}

function told(fault: MysqlFault): Fault {
  return { outcome: fault.outcome, errno: fault.errno, message: fault.message };
}
