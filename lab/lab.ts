import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Flavour } from "@baton/contracts";
import { type Accounts, accounts } from "./accounts.ts";
import { findBinary } from "./binaries.ts";
import { type LabFlavour, labFlavour } from "./flavour.ts";
import { LabError } from "./lab-error.ts";
import { LabNatsServer } from "./lab-nats.ts";
import { LabNode } from "./lab-node.ts";
import { here, type Place } from "./place.ts";
import { Ports } from "./ports.ts";
import { Reaper } from "./reaper.ts";
import { attached } from "./replication.ts";
import { template } from "./template.ts";
import { startWriter, type Writer, type WriterOptions } from "./writer.ts";

export interface LabOptions {
  /** Letters, digits and dashes; by default made from the process id. */
  name?: string;
  /** Which server runs on the nodes. Default mysql. */
  flavour?: Flavour;
  /** How many nodes: n1 is the primary, the others are its replicas. Default 3. */
  nodes?: number;
  /** Semi-sync acknowledgements that a commit waits for (k). Default 1. */
  acks?: number;
  /** One server, or a cluster of three. Default 1. */
  natsServers?: 0 | 1 | 3;
  /** Handed out to the nodes in turn in `clusterDeclaration`. Default one region, "local". */
  regions?: string[];
  /** Ends the lab, as `stop` does. */
  signal?: AbortSignal;
  onProgress?: (line: string) => void;
  /** Further mysqld arguments by node name. */
  mysqldArgs?: Record<string, string[]>;
  /** True, as under systemd or mysqld_safe: a mysqld that ends to be restarted (RESTART, CLONE) is started again. Default true. */
  supervised?: boolean;
  /** Where each server runs, by its name (n1, nats1, …). Default: on this machine's loopback. */
  place?: (server: string) => Place;
  /** Each node has a wall clock of its own (`setClock`); MySQL only, and where `cannotSetClocks` says nothing. Default false. */
  ownClocks?: boolean;
  /** False: the servers are independent, empty and writable, with semi-sync off. Default true. */
  replication?: boolean;
}

export interface LabNats {
  urls: string[];
  servers: LabNatsServer[];
}

const primaryTimeoutMs = 1_000;

/**
 * Starts real mysqlds (and nats-servers) on free ports of this machine, replicating and attached.
 * Nothing of it outlives this process: a detached reaper cleans up even after a kill -9.
 * Errors: LabError with the codes of lab-error.ts; a failed start leaves nothing behind.
 */
export async function startLab(options: LabOptions = {}): Promise<Lab> {
  checkLabOptions(options);
  const name = options.name ?? `${process.pid}-${Math.random().toString(36).slice(2, 6)}`;
  const dir = await mkdtemp(join(tmpdir(), `baton-lab-${name}-`));
  const lab = new Lab(name, dir, options);
  try {
    await lab.open();
  } catch (error) {
    await lab.stop();
    throw error;
  }
  return lab;
}

export class Lab {
  readonly name: string;
  /** Holds one directory for each server; gone after `stop`. */
  readonly dir: string;
  readonly accounts: Accounts = accounts;
  readonly flavour: Flavour;
  readonly nodes: LabNode[] = [];
  readonly nats: LabNats = { urls: [], servers: [] };
  readonly #options: LabOptions;
  readonly #of: LabFlavour;
  readonly #ports = new Ports();
  readonly #reaper = new Reaper();
  readonly #writers = new Set<Writer>();
  readonly #stopping = new AbortController();
  #opening: Promise<unknown> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(name: string, dir: string, options: LabOptions) {
    this.name = name;
    this.dir = dir;
    this.#options = options;
    this.flavour = options.flavour ?? "mysql";
    this.#of = labFlavour(this.flavour);
    this.#reaper.directory(dir);
    options.signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  readonly #onAbort = () => void this.stop();

  /** Called once, by startLab. */
  async open(): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const say = this.#options.onProgress ?? (() => undefined);
    const parts = [this.#openNats(say), this.#openNodes(say)];
    this.#opening = Promise.allSettled(parts);
    await Promise.all(parts);
    say("the lab is ready");
  }

  node(name: string): LabNode {
    const node = this.nodes.find((each) => each.name === name);
    if (node) return node;
    throw new LabError("unknown-node", {
      found: name,
      expected: `one of ${this.nodes.map((each) => each.name).join(", ")}`,
      remedy: "name a node of this lab",
    });
  }

  /** The node that is writable now; null when none is. The first in order when several are. */
  async primary(): Promise<LabNode | null> {
    const answers = await Promise.all(
      this.nodes.map(async (node) => {
        if (!node.running || node.hung) return false;
        const answer = node.query<{ ro: number }>("SELECT @@GLOBAL.read_only AS ro").then(
          (rows) => rows[0]?.ro === 0,
          () => false,
        );
        return within(answer, primaryTimeoutMs, false);
      }),
    );
    return this.nodes[answers.indexOf(true)] ?? null;
  }

  /** The nodes as a Baton cluster declares them. */
  clusterDeclaration(): { nodes: Record<string, { host: string; port: number; region: string }> } {
    const regions = this.#options.regions?.length ? this.#options.regions : ["local"];
    const nodes = this.nodes.map((node, index) => {
      const region = regions[index % regions.length] as string;
      return [node.name, { host: node.host, port: node.port, region }] as const;
    });
    return { nodes: Object.fromEntries(nodes) };
  }

  /** Clients that write until they are stopped, and find the primary by themselves. */
  writer(options: WriterOptions = {}): Writer {
    const writer = startWriter(
      this.nodes.map(({ name, host, port }) => ({ name, host, port, identity: this.#of.identity })),
      accounts.app,
      options,
    );
    this.#writers.add(writer);
    return writer;
  }

  /** Kills every server and removes the directory. Never throws; may be called twice. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#stopping.abort(
      new LabError("lab-stopped", {
        found: `lab ${this.name} was stopped while starting`,
        expected: "a lab that lives until it is ready",
        remedy: "start it again",
      }),
    );
    for (const writer of this.#writers) writer.abandon();
    // A half-done start must have ended before the directory goes, or it would write into it again.
    await this.#opening;
    await Promise.all(
      [...this.nodes, ...this.nats.servers].map((server) => server.kill().catch(() => undefined)),
    );
    await this.#reaper.reap();
    this.#ports.release();
  }

  async #openNodes(say: (line: string) => void): Promise<void> {
    const mysqld = findBinary(this.#of.binary);
    const data = await template(this.#of, mysqld, say);
    const count = this.#options.nodes ?? 3;
    for (let number = 1; number <= count; number++) {
      const name = `n${number}`;
      const node = new LabNode({
        flavour: this.#of,
        name,
        dir: join(this.dir, name),
        place: this.#place(name),
        port: await this.#ports.take(),
        serverId: number,
        acks: this.#options.acks ?? 1,
        mysqld,
        template: data,
        extra: this.#options.mysqldArgs?.[name] ?? [],
        reaper: this.#reaper,
        supervised: this.#options.supervised ?? true,
        ownClock: this.#options.ownClocks ?? false,
      });
      this.nodes.push(node);
    }
    say(`starting ${count} ${this.#of.binary}`);
    await allEnded(
      this.nodes.map(async (node) => {
        await node.seed();
        await this.#start(node);
      }),
    );
    const [primary, ...replicas] = this.nodes;
    if (!primary) return;
    if (this.#options.replication === false) {
      await allEnded(this.nodes.map((node) => node.query(this.#of.open)));
      return;
    }
    await primary.query(this.#of.openPrimary);
    await allEnded(replicas.map((replica) => replica.query(this.#of.follow(primary))));
    await attached(primary, replicas.length, this.#stopping.signal, this.#of.attached);
    say(`${primary.name} is the primary, ${replicas.length} semi-sync replicas are attached`);
  }

  #place(server: string): Place {
    return this.#options.place?.(server) ?? here;
  }

  async #start(node: LabNode): Promise<void> {
    this.#stopping.signal.throwIfAborted();
    await node.start(this.#stopping.signal);
  }

  async #openNats(say: (line: string) => void): Promise<void> {
    const count = this.#options.natsServers ?? 1;
    if (count === 0) return;
    const binary = findBinary("nats-server");
    const ports = [];
    for (let number = 1; number <= count; number++) {
      const client = await this.#ports.take();
      ports.push({ client, monitor: await this.#ports.take(), route: await this.#ports.take() });
    }
    for (const [index, each] of ports.entries()) {
      const server = new LabNatsServer({
        name: `nats${index + 1}`,
        dir: join(this.dir, `nats${index + 1}`),
        place: this.#place(`nats${index + 1}`),
        binary,
        ports: each,
        routes: ports.map((port, at) => `${this.#place(`nats${at + 1}`).host}:${port.route}`),
        cluster: `lab-${this.name}`,
        reaper: this.#reaper,
      });
      this.nats.servers.push(server);
      this.nats.urls.push(server.url);
    }
    this.#stopping.signal.throwIfAborted();
    await allEnded(this.nats.servers.map((server) => server.launch()));
    await allEnded(this.nats.servers.map((server) => server.ready(count > 1, this.#stopping.signal)));
    say(count === 1 ? "nats-server is up" : `${count} nats-servers are up and have a leader`);
  }
}

/** Throws a LabError `bad-option` for a value that no lab can have. */
export function checkLabOptions(options: LabOptions): void {
  const refuse = (found: string, expected: string) => {
    throw new LabError("bad-option", { found, expected, remedy: "correct the option" });
  };
  const nodes = options.nodes ?? 3;
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > 9) refuse(`nodes: ${nodes}`, "1 to 9 nodes");
  const acks = options.acks ?? 1;
  if (!Number.isInteger(acks) || acks < 1 || acks > 8) refuse(`acks: ${acks}`, "1 to 8 acknowledgements");
  const nats = options.natsServers ?? 1;
  if (![0, 1, 3].includes(nats)) refuse(`natsServers: ${nats}`, "0, 1 or 3 NATS servers");
  if (options.name !== undefined && !/^[a-z0-9][a-z0-9-]{0,30}$/i.test(options.name)) {
    refuse(`name: ${options.name}`, "up to 31 letters, digits and dashes");
  }
}

/** Like Promise.all, but a failure is told only when all have ended: none may still write into what is then removed. */
async function allEnded(parts: readonly Promise<unknown>[]): Promise<void> {
  for (const part of await Promise.allSettled(parts)) if (part.status === "rejected") throw part.reason;
}

function within<T>(answer: Promise<T>, timeoutMs: number, otherwise: T): Promise<T> {
  return new Promise((done) => {
    const timer = setTimeout(() => done(otherwise), timeoutMs);
    void answer.then((value) => {
      clearTimeout(timer);
      done(value);
    });
  });
}
