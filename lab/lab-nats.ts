import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LabError } from "./lab-error.ts";
import type { Place } from "./place.ts";
import type { Reaper } from "./reaper.ts";
import { ServerProcess } from "./server-process.ts";
import { until } from "./until.ts";

/** The first election of a cluster's meta leader may take several seconds. */
const readyTimeoutMs = 30_000;
const askTimeoutMs = 1_000;

export interface NatsPorts {
  client: number;
  monitor: number;
  /** Route to the other servers; unused when there is one server only. */
  route: number;
}

export interface NatsSetup {
  name: string;
  dir: string;
  place: Place;
  binary: string;
  ports: NatsPorts;
  /** `host:port` of the routes of the whole cluster; one entry means a single server. */
  routes: string[];
  cluster: string;
  reaper: Reaper;
}

/** One real nats-server with JetStream on. */
export class LabNatsServer {
  readonly name: string;
  readonly host: string;
  readonly url: string;
  readonly port: number;
  readonly monitorPort: number;
  readonly #process: ServerProcess;

  constructor(setup: NatsSetup) {
    this.name = setup.name;
    this.port = setup.ports.client;
    this.monitorPort = setup.ports.monitor;
    this.host = setup.place.host;
    this.url = `nats://${this.host}:${this.port}`;
    mkdirSync(setup.dir, { recursive: true });
    const file = join(setup.dir, "nats.conf");
    writeFileSync(file, configuration(setup));
    const log = join(setup.dir, "nats.log");
    const command = [...setup.place.enter, setup.binary];
    this.#process = new ServerProcess(this.name, command, () => ["-c", file], log, setup.reaper);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get running(): boolean {
    return this.#process.running;
  }

  /** True between `hang` and `resume`. */
  get hung(): boolean {
    return this.#process.hung;
  }

  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void> {
    return this.#process.kill();
  }

  /** A graceful end, which hands stream leadership over first. */
  terminate(): Promise<void> {
    return this.#process.terminate();
  }

  /** SIGSTOP; returns the monotonic milliseconds of that moment. */
  hang(): number {
    return this.#process.signal("SIGSTOP");
  }

  /** SIGCONT. */
  resume(): void {
    this.#process.signal("SIGCONT");
  }

  launch(): Promise<void> {
    return this.#process.launch();
  }

  /** Starts with the same store and ports; resolves when it accepts clients. JetStream may need its peers. */
  async start(): Promise<void> {
    await this.#process.launch();
    await this.#wait("/varz", "a server that accepts clients");
  }

  /** Resolves when JetStream can be used: the store is recovered and, in a cluster, the meta leader is known. */
  async ready(cluster: boolean, signal?: AbortSignal): Promise<void> {
    await this.#wait("/healthz", "a healthy JetStream", signal);
    if (cluster) await this.#wait("/jsz", "a JetStream meta leader", signal, hasLeader);
  }

  log(): string {
    return this.#process.log();
  }

  async #wait(
    path: string,
    expected: string,
    signal?: AbortSignal,
    accept: (body: unknown) => boolean = () => true,
  ): Promise<void> {
    await until(
      async () => {
        if (!this.running) throw this.#process.death();
        const url = `http://${this.host}:${this.monitorPort}${path}`;
        const response = await fetch(url, { signal: AbortSignal.timeout(askTimeoutMs) });
        const body: unknown = await response.json();
        return response.ok && accept(body);
      },
      {
        timeoutMs: readyTimeoutMs,
        everyMs: 25,
        signal,
        giveUp: (error) => error instanceof LabError,
        onTimeout: (cause) =>
          new LabError("server-slow", {
            found: `${this.name} is not there after ${readyTimeoutMs} ms; its log: ${this.log().slice(-600)}`,
            expected,
            remedy: "if its peers are down, start them: JetStream needs a majority",
            cause,
          }),
      },
    );
  }
}

function hasLeader(body: unknown): boolean {
  const meta = (body as { meta_cluster?: { leader?: string } }).meta_cluster;
  return typeof meta?.leader === "string" && meta.leader !== "";
}

function configuration(setup: NatsSetup): string {
  const { host } = setup.place;
  const lines = [
    `server_name: ${setup.name}`,
    `listen: "${host}:${setup.ports.client}"`,
    `http: "${host}:${setup.ports.monitor}"`,
    `jetstream { store_dir: ${JSON.stringify(join(setup.dir, "store"))}, sync_interval: always, max_memory_store: 64MB, max_file_store: 1GB }`,
  ];
  if (setup.routes.length > 1) {
    const routes = setup.routes.map((route) => `"nats://${route}"`).join(", ");
    lines.push(
      `cluster { name: ${JSON.stringify(setup.cluster)}, listen: "${host}:${setup.ports.route}", routes: [ ${routes} ] }`,
    );
  }
  return `${lines.join("\n")}\n`;
}
