/**
 * Baton on one machine: NATS, when the configuration names none, and every service as a child process.
 * `baton up`, the demo and the integration tests all start it here.
 */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import type { Bus } from "@baton/bus";
import { BatonError, type Config, ErrorCode, type Presence, ServiceName } from "@baton/contracts";
import { type Change, declare } from "./declare.ts";
import { type EmbeddedNats, startEmbeddedNats } from "./embedded-nats.ts";
import { type Exit, Program } from "./program.ts";
import { openBus } from "./reach.ts";
import { takeLeave } from "./take-leave.ts";
import { type LogEntry, parseLogLine, parseNatsLine } from "./view/log-line.ts";

const REPOSITORY = resolve(import.meta.dirname, "..");
/** A service ends within 10 s by itself (libs/runtime). */
const STOP_MS = 12_000;
const LOG_LINES_KEPT = 5_000;

/**
 * Small young generations: a service makes little garbage, and the default semi-space alone would cost it
 * tens of megabytes.
 */
const NODE_FLAGS = [
  "--enable-source-maps=false",
  "--max-semi-space-size=2",
  "--disable-warning=ExperimentalWarning",
];

/** What may stand in baton.yaml: settings with a default may be left out. */
export type ConfigInput = (typeof Config)["_zod"]["input"];

/** One service process, or `nats`. */
export interface Instance {
  readonly name: string;
  readonly service: ServiceName | "nats";
  readonly program: Program;
}

export interface SystemOptions {
  config: Config;
  /** The file that the services read; what they need that is not in it comes by environment. */
  file: string;
  /** How many of each; one where nothing is said, none for 0. */
  services?: Partial<Record<ServiceName, number>>;
  /** The regions of a service's instances, in order. */
  regions?: Partial<Record<ServiceName, readonly string[]>>;
  /** More environment for a service's processes. */
  env?: Partial<Record<ServiceName, Record<string, string>>>;
  /** Another program in place of a service's own main.ts: one with a bug, to see that it is found. */
  mains?: Partial<Record<ServiceName, string>>;
  /** Where an instance runs: what its command is run through, and its environment there. */
  place?(instance: string): { enter: readonly string[]; env: Record<string, string> };
  /** Every line that a program logs. */
  onLog?(instance: string, entry: LogEntry, raw: string): void;
  onExit?(instance: string, exit: Exit): void;
  /** What the declaration of the configuration's clusters changed. */
  onDeclared?(changes: Change[], warnings: string[]): void;
  signal?: AbortSignal;
}

/** Where the embedded server keeps its streams: relative paths count from the configuration's folder. */
export function storeOf(config: Config, file: string): string {
  const { store } = config.nats;
  return isAbsolute(store) ? store : resolve(dirname(file), store);
}

/**
 * Starts everything and returns as soon as the processes run; `ready` waits until they serve. Throws a
 * BatonError, with nothing left running, when the embedded NATS cannot be started.
 */
export async function startSystem(o: SystemOptions): Promise<System> {
  const system = new System(o);
  try {
    await system.open();
    return system;
  } catch (error) {
    await system.stop();
    throw error;
  }
}

export class System {
  readonly #o: SystemOptions;
  readonly #instances = new Map<string, Instance>();
  readonly #logs = new Map<string, { entry: LogEntry; raw: string }[]>();
  readonly #presences = new Map<string, Presence>();
  readonly #stopping = new AbortController();
  readonly #failed = Promise.withResolvers<never>();
  #nats: EmbeddedNats | null = null;
  #bus: Promise<Bus> | null = null;
  #ready = false;
  #stopped: Promise<void> | null = null;

  constructor(o: SystemOptions) {
    this.#o = o;
    this.#failed.promise.catch(() => undefined);
  }

  /** Called once, by startSystem. */
  async open(): Promise<void> {
    const { config, file, signal } = this.#o;
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => this.#stopping.abort(signal.reason), { once: true });
    if (config.nats.url === undefined) {
      this.#nats = await startEmbeddedNats({
        nats: config.nats,
        store: storeOf(config, file),
        env: process.env,
        onLine: (line) => this.#log("nats", parseNatsLine(line), line),
        onExit: (exit) => this.#ended("nats", exit),
        signal: this.#stopping.signal,
      });
      this.#instances.set("nats", { name: "nats", service: "nats", program: this.#nats.program });
    }
    for (const service of ServiceName.options) {
      const count = this.#o.services?.[service] ?? 1;
      for (let number = 1; number <= count; number++) this.#startService(service, number, count);
    }
    this.#bus = this.#connect();
    this.#bus.catch((error) => this.#failed.reject(error));
  }

  get natsUrls(): string[] {
    if (this.#nats) return [this.#nats.url];
    const { url } = this.#o.config.nats;
    return url === undefined ? [] : [url].flat();
  }

  /** The embedded server's folder. */
  get store(): string {
    return storeOf(this.#o.config, this.#o.file);
  }

  get instances(): Instance[] {
    return [...this.#instances.values()];
  }

  /** By its name: `nats`, `decider-1`. */
  instance(name: string): Instance {
    const found = this.#instances.get(name);
    if (found) return found;
    throw new Error(`no instance ${name}; there are ${[...this.#instances.keys()].join(", ")}`);
  }

  /** The program of an instance: kill, hang, resume, start, stop. */
  program(name: string): Program {
    return this.instance(name).program;
  }

  /** A connection of our own, once there is one. Ended by `stop`. */
  bus(): Promise<Bus> {
    if (!this.#bus) throw new Error("the system is not open");
    return this.#bus;
  }

  /** The last lines that an instance logged, over all its runs. */
  logs(name: string): LogEntry[] {
    return (this.#logs.get(name) ?? []).map(({ entry }) => entry);
  }

  presence(name: string): Presence | null {
    return this.#presences.get(name) ?? null;
  }

  /**
   * Resolves when every service says that it is ready. Rejects when one ends by its own error before that
   * (its message is the error's), when NATS refuses us, or after the time-out, naming who is not ready and why.
   */
  async ready(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const waiting = async () => {
      await this.bus();
      for (;;) {
        const states = await Promise.all(
          this.instances.filter(({ service }) => service !== "nats").map((each) => this.#notReady(each.name)),
        );
        const why = states.filter((state) => state !== null);
        if (why.length === 0) return;
        if (performance.now() > deadline) throw notReady(timeoutMs, why);
        this.#stopping.signal.throwIfAborted();
        await new Promise((done) => setTimeout(done, 25));
      }
    };
    const timer = Promise.withResolvers<never>();
    const timeout = setTimeout(
      () => timer.reject(notReady(timeoutMs, [this.#lastWord()])),
      timeoutMs + 1_000,
    );
    try {
      await Promise.race([waiting(), this.#failed.promise, timer.promise]);
      this.#ready = true;
    } finally {
      clearTimeout(timeout);
    }
  }

  /** Services first, then NATS; each within its bound. Never throws; may be called twice. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** kill -9 of everything, for a process that is about to exit. */
  stopNow(): void {
    for (const { program } of this.#instances.values()) program.stopNow();
  }

  async #stop(): Promise<void> {
    this.#stopping.abort(new Error("the system is being stopped"));
    const bus = this.#bus?.then((b) => b.drain()).catch(() => undefined);
    const services = this.instances.filter(({ service }) => service !== "nats");
    await Promise.all([bus, ...services.map(({ program }) => program.stop())]);
    await this.#nats?.program.stop();
    this.#nats?.release();
  }

  #startService(service: ServiceName, number: number, count: number): void {
    const { config, file } = this.#o;
    const name = `${service}-${number}`;
    const region = this.#o.regions?.[service]?.[number - 1];
    const several = count > 1;
    const place = this.#o.place?.(name);
    const [command = process.execPath, ...before] = [...(place?.enter ?? []), process.execPath];
    const program = new Program({
      name,
      command,
      args: [
        ...before,
        ...NODE_FLAGS,
        this.#o.mains?.[service] ?? join(REPOSITORY, "services", service, "main.ts"),
        ...["--config", file],
        ...["--instance", name],
      ],
      env: {
        NODE_COMPILE_CACHE: join(REPOSITORY, "node_modules/.cache/baton"),
        ...(this.#nats ? { BATON_NATS_URL: this.#nats.url } : {}),
        ...(region === undefined ? {} : { BATON_REGION: region }),
        // Instances of one machine cannot share the configured port.
        ...(several ? { BATON_HTTP_PORT: "0", BATON_GRPC_PORT: "0" } : {}),
        ...(several && service === "auditor"
          ? { BATON__AUDITOR__FILE: numbered(config.auditor.file, number) }
          : {}),
        ...this.#o.env?.[service],
        ...place?.env,
      },
      tether: "ipc",
      stopTimeoutMs: STOP_MS,
      onLine: (line) => this.#log(name, parseLogLine(line) ?? plain(line), line),
      onExit: (exit) => this.#serviceEnded(name, exit),
    });
    this.#instances.set(name, { name, service, program });
    program.start();
  }

  /** A service that refuses to start is an error of ours; one that dies later is started again. */
  #serviceEnded(name: string, exit: Exit): void {
    this.#presences.delete(name);
    const refused = !this.#ready && exit.code !== null && exit.code !== 0 && !this.#stopping.signal.aborted;
    if (refused) {
      void this.program(name).stop();
      this.#failed.reject(this.#refusal(name, exit.code ?? 1));
    }
    this.#ended(name, exit);
  }

  /** An end that we asked for ourselves is no news. */
  #ended(name: string, exit: Exit): void {
    if (!this.#stopping.signal.aborted) this.#o.onExit?.(name, exit);
  }

  #refusal(name: string, exitCode: number): BatonError {
    const lines = (this.#logs.get(name) ?? []).map(({ entry }) => entry);
    const last =
      lines.findLast(({ message }) => ERROR_LINE.test(message)) ??
      lines.findLast(({ message }) => /^\w*Error\b/.test(message)) ??
      lines.at(-1);
    return refusalOf(name, exitCode, last?.message ?? "it said nothing");
  }

  async #connect(): Promise<Bus> {
    const bus = await openBus(
      { ...this.#o.config.nats, url: this.natsUrls },
      {
        name: `up-${hostLabel()}`,
        signal: this.#stopping.signal,
        log: (entry) => this.#log("up", entry, ""),
      },
    );
    await bus.ensure();
    const stopWatching = await bus.bucket("baton_presence").watch({
      onChange: (key, presence) => {
        const name = key.slice(key.indexOf(".") + 1);
        if (presence) this.#presences.set(name, presence);
        else this.#presences.delete(name);
      },
    });
    this.#stopping.signal.addEventListener("abort", stopWatching, { once: true });
    const { changes, warnings, leaving } = await declare(bus, this.#o.config, { by: "up" });
    this.#o.onDeclared?.(changes, warnings);
    // Its deciders start only now; what has not left when it ends stays declared as leaving, and the next start goes on.
    for (const of of leaving) void takeLeave(bus, of, this.#stopping.signal).catch(() => undefined);
    return bus;
  }

  /** Why an instance is not ready; null when it is. */
  async #notReady(name: string): Promise<string | null> {
    const { program } = this.instance(name);
    if (!program.running) return `${name} is not running`;
    const http = this.#presences.get(name)?.http;
    if (!http) return `${name} has not said that it is there`;
    try {
      const answer = await fetch(`http://${http}/readyz`, { signal: AbortSignal.timeout(2_000) });
      if (answer.ok) return null;
      return `${name}: ${(await answer.text()).trim().slice(0, 300)}`;
    } catch (error) {
      return `${name}: ${(error as Error).message}`;
    }
  }

  #log(instance: string, entry: LogEntry, raw: string): void {
    let kept = this.#logs.get(instance);
    if (!kept) {
      kept = [];
      this.#logs.set(instance, kept);
    }
    kept.push({ entry, raw });
    if (kept.length > LOG_LINES_KEPT) kept.shift();
    this.#o.onLog?.(instance, entry, raw);
  }

  #lastWord(): string {
    const last = this.#logs.get("up")?.at(-1)?.entry.message;
    return last === undefined ? "NATS does not answer" : last;
  }
}

const ERROR_LINE = /^(E_[A-Z_]+) at (.*?): (.*)$/;

/** A service's own last line, as an error of ours: `E_PORT_IN_USE at prober-1, http.ports.prober: …`. */
export function refusalOf(name: string, exitCode: number, line: string): BatonError {
  const [, code, place, message] = ERROR_LINE.exec(line) ?? [];
  const known = ErrorCode.safeParse(code);
  return new BatonError(known.success ? known.data : "E_INTERNAL", {
    place: place === undefined ? name : `${name}, ${place}`,
    message: message ?? `It ended with code ${exitCode}: ${line}`,
    remedy: "",
    exitCode: exitCode === 2 ? 2 : 1,
  });
}

function notReady(timeoutMs: number, why: readonly string[]): BatonError {
  return new BatonError("E_NO_ANSWER", {
    place: "baton up",
    message: `Not ready after ${timeoutMs / 1000} s: ${why.join("; ")}.`,
    remedy: "Mend that, and look at the service's log.",
  });
}

function plain(line: string): LogEntry {
  return { level: "info", timeUnixMs: null, message: line, fields: {} };
}

/** `data/audit.sqlite` → `data/audit-2.sqlite`: each auditor has a file of its own. */
export function numbered(file: string, number: number): string {
  if (number === 1) return file;
  const dot = file.lastIndexOf(".");
  return dot > file.lastIndexOf("/") + 1
    ? `${file.slice(0, dot)}-${number}${file.slice(dot)}`
    : `${file}-${number}`;
}

function hostLabel(): string {
  return (
    hostname()
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-+|-+$/g, "")
      .slice(0, 30) || "host"
  );
}

/** Writes a configuration for a system of its own: every port free, every file in `dir`. Returns the file. */
export async function writeConfig(dir: string, config: ConfigInput): Promise<string> {
  const none = { prober: 0, decider: 0, executor: 0, notifier: 0, auditor: 0 };
  const whole = {
    ...config,
    nats: { port: 0, store: join(dir, "nats"), ...config.nats },
    auditor: { file: join(dir, "audit.sqlite"), ...config.auditor },
    http: { ports: none, ...config.http },
    grpc: { ports: none, ...config.grpc },
  };
  await mkdir(dir, { recursive: true });
  const file = join(dir, "baton.yaml");
  // JSON is YAML. It holds passwords.
  await writeFile(file, `${JSON.stringify(whole, null, 2)}\n`, { mode: 0o600 });
  await chmod(file, 0o600);
  return file;
}
