/** The life of a service: configured, watched over HTTP and gRPC, connected, started, stopped. */

import { hostname } from "node:os";
import { setFlagsFromString } from "node:v8";
import { type Bus, connectBus } from "@baton/bus";
import { BatonError, type Config, type MysqlAccess, type ServiceName } from "@baton/contracts";
import { parseArguments, type ServiceArguments } from "./arguments.ts";
import { accessTo, loadConfig } from "./config.ts";
import { type GrpcServer, serveGrpc } from "./grpc.ts";
import { type HttpServer, type Readiness, serveHttp } from "./http.ts";
import { type Logger, logBatonError, openLog } from "./log.ts";
import { busMetrics, type Metrics, openMetrics } from "./metrics.ts";
import own from "./package.json" with { type: "json" };
import { openSpans, type Spans } from "./spans.ts";

export interface ServiceSpec {
  service: ServiceName;
  /** Resolves when the service works. What it throws ends the process with one clear line. */
  start(context: ServiceContext): Promise<Running>;
}

export interface Running {
  /** Asked often: it must be quick. `why` is shown at `/readyz`. */
  ready(): Readiness;
  /** Ends the work: no new, what is begun is ended or handed over. */
  stop(): Promise<void>;
}

export interface ServiceContext {
  config: Config;
  instance: string;
  region: string;
  log: Logger;
  metrics: Metrics;
  bus: Bus;
  /** Aborts when the service is to stop. */
  signal: AbortSignal;
  /** Says the one clear line, shuts down, exits with 1. */
  fail(error: BatonError): void;
  /** The account for a cluster's nodes. */
  access(cluster: string): MysqlAccess;
  span: Spans["span"];
}

const STOP_MS = 10_000;
const READY_EVERY_MS = 500;

/** What every services/<name>/main.ts calls. Ends the process itself; resolves when the service has started. */
export async function runService(spec: ServiceSpec): Promise<void> {
  // V8 throws away the bytecode of what was not called for some collections: in hours of calm all that a failover needs.
  setFlagsFromString("--no-flush-bytecode");
  let given: ServiceArguments;
  let config: Config;
  let file: string | null;
  try {
    given = parseArguments(spec.service, process.argv.slice(2));
    ({ config, file } = loadConfig({ file: given.file }));
  } catch (error) {
    const known = error instanceof BatonError;
    process.stderr.write(`${known ? error.line() : ((error as Error).stack ?? error)}\n`);
    process.exit(known ? error.exitCode : 1);
  }
  const who = { service: spec.service, instance: given.instance, region: config.region };
  const life = new Life(spec, config, who);
  life.log.info({ file, version: own.version, pid: process.pid }, `${who.service} ${who.instance} starts`);
  await life.run();
}

class Life {
  readonly log: Logger;
  private readonly spec: ServiceSpec;
  private readonly config: Config;
  private readonly who: { service: ServiceName; instance: string; region: string };
  private readonly aborter = new AbortController();
  private readonly metrics: Metrics;
  private http: HttpServer | undefined;
  private grpc: GrpcServer | undefined;
  private spans: Spans | undefined;
  private bus: Bus | undefined;
  private running: Running | undefined;
  private stopping = false;
  private waitingFor = "it is starting";

  constructor(
    spec: ServiceSpec,
    config: Config,
    who: { service: ServiceName; instance: string; region: string },
  ) {
    this.spec = spec;
    this.config = config;
    this.who = who;
    this.log = openLog(who, config.log.level, () => void this.stop(0, "nobody reads the log"));
    this.metrics = openMetrics(who);
    this.listen();
  }

  async run(): Promise<void> {
    try {
      await this.start();
    } catch (error) {
      if (this.stopping) return;
      if (error instanceof BatonError) this.fail(error);
      else this.crash(error);
    }
  }

  private async start(): Promise<void> {
    const { config, who, log } = this;
    this.http = await serveHttp({
      host: config.http.host,
      port: config.http.ports[who.service],
      key: `http.ports.${who.service}`,
      ready: () => this.ready(),
      metrics: this.metrics,
    });
    log.info(
      { http: this.http.address },
      `Health and metrics at http://${this.http.address}/readyz and /metrics`,
    );
    const grpc = this.startGrpc();

    this.waitingFor = "NATS is not connected yet";
    const bus = await this.connect();
    this.bus = bus;
    bus.onStatus(() => this.showReady());
    this.waitingFor = "the streams in NATS are not there yet";
    await this.ensure(bus);
    this.spans = await openSpans(process.env, { ...who, version: own.version });
    await grpc;

    this.waitingFor = "the service is starting";
    this.running = await this.spec.start({
      config,
      instance: who.instance,
      region: who.region,
      log,
      metrics: this.metrics,
      bus,
      signal: this.aborter.signal,
      fail: (error) => this.fail(error),
      access: (cluster) => accessTo(config, cluster),
      span: this.spans.span,
    });
    if (this.stopping) return;
    bus.announce({
      service: who.service,
      instance: who.instance,
      region: who.region,
      version: own.version,
      startedUnixMs: Date.now(),
      host: hostname(),
      pid: process.pid,
      http: this.http.address,
    });
    this.showReady();
    const { ok, why } = this.ready();
    log.info(
      { ready: ok },
      ok ? `${who.instance} is ready` : `${who.instance} works and is not ready yet: ${why}`,
    );
  }

  private async startGrpc(): Promise<void> {
    const { config, who } = this;
    const key = `grpc.ports.${who.service}`;
    try {
      this.grpc = await serveGrpc({
        host: config.grpc.host,
        port: config.grpc.ports[who.service],
        key,
        service: who.service,
      });
    } catch (error) {
      if (error instanceof BatonError) this.fail(error);
      else this.crash(error);
      return;
    }
    this.log.info({ grpc: this.grpc.address }, `gRPC health at ${this.grpc.address}`);
    setInterval(() => this.showReady(), READY_EVERY_MS).unref();
    this.showReady();
  }

  private connect(): Promise<Bus> {
    const { nats } = this.config;
    const servers = nats.url === undefined ? [`127.0.0.1:${nats.port || 4222}`] : [nats.url].flat();
    return connectBus(
      {
        servers,
        name: this.who.instance,
        source: `baton/${this.who.service}/${this.who.instance}`,
        user: nats.user,
        password: nats.password,
        token: nats.token,
        replicas: nats.replicas,
        log: this.log,
        metrics: busMetrics(this.metrics),
      },
      this.aborter.signal,
    );
  }

  /** For ever: a service waits for its NATS cluster to become whole. */
  private async ensure(bus: Bus): Promise<void> {
    for (;;) {
      try {
        await bus.ensure();
        bus.guard();
        return;
      } catch (error) {
        if (!(error instanceof BatonError) || error.code !== "E_NATS_UNREACHABLE") throw error;
        if (this.stopping) return;
        this.waitingFor = error.message;
        this.log.warn({ code: error.code, place: error.place }, `${error.line()} Baton keeps trying`);
      }
    }
  }

  private ready(): Readiness {
    if (this.stopping) return { ok: false, why: "it is stopping" };
    if (!this.running) return { ok: false, why: this.waitingFor };
    if (!this.bus?.connected) return { ok: false, why: "the connection to NATS is lost" };
    try {
      return this.running.ready();
    } catch (error) {
      return { ok: false, why: `its readiness cannot be told: ${String(error)}` };
    }
  }

  private showReady(): void {
    this.grpc?.set(this.ready());
  }

  private listen(): void {
    const onSignal = (signal: string): void => {
      if (this.stopping) {
        this.log.warn({ signal }, `${signal} again: exits at once`);
        process.exit(1);
      }
      void this.stop(0, signal);
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
    // `baton up` holds this channel: without a parent nobody would stop us.
    if (process.channel) process.on("disconnect", () => void this.stop(0, "the parent process has gone"));
    process.on("uncaughtException", (error) => this.crash(error));
    process.on("unhandledRejection", (error) => this.crash(error));
  }

  private fail(error: BatonError): void {
    logBatonError(this.log, error);
    void this.stop(error.exitCode, error.code);
  }

  private crash(error: unknown): never {
    const message = error instanceof Error ? error.message : String(error);
    this.log.fatal({ err: error }, `${this.who.instance} ends: an error that nobody expected: ${message}`);
    process.exit(1);
  }

  private async stop(exitCode: number, why: string): Promise<void> {
    if (this.stopping) return;
    this.stopping = true;
    this.showReady();
    this.log.info({ why }, `${this.who.instance} stops: ${why}`);
    setTimeout(() => {
      this.log.error(
        { stopMs: STOP_MS },
        `${this.who.instance} has not stopped within ${STOP_MS} ms and exits`,
      );
      process.exit(exitCode || 1);
    }, STOP_MS).unref();
    this.aborter.abort(new Error("the service stops"));
    for (const [part, end] of [
      ["the service", () => this.running?.stop()],
      ["the bus", () => this.bus?.drain()],
      ["the spans", () => this.spans?.stop()],
    ] as const) {
      try {
        await end();
      } catch (error) {
        this.log.error({ err: error }, `${part} did not stop cleanly: ${String(error)}`);
      }
    }
    this.grpc?.close();
    this.http?.close();
    this.log.info({ exitCode }, `${this.who.instance} has stopped`);
    process.exit(exitCode);
  }
}
