import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { createConnection } from "mysql2/promise";
import { Clock } from "./clock.ts";
import type { LabFlavour } from "./flavour.ts";
import { LabError } from "./lab-error.ts";
import type { Place } from "./place.ts";
import type { Reaper } from "./reaper.ts";
import { ServerProcess } from "./server-process.ts";
import { until } from "./until.ts";

const run = promisify(execFile);
const startTimeoutMs = 60_000;
const copyTimeoutMs = 60_000;
const connectTimeoutMs = 10_000;
const queryTimeoutMs = 60_000;
/** It sees within a second that its clock was set; the rest is for a busy machine. */
const clockTimeoutMs = 10_000;

export interface LabNodeSetup {
  flavour: LabFlavour;
  name: string;
  dir: string;
  place: Place;
  port: number;
  serverId: number;
  acks: number;
  mysqld: string;
  template: string;
  extra: string[];
  reaper: Reaper;
  supervised: boolean;
  /** It gets a wall clock of its own. */
  ownClock: boolean;
}

export interface RootSession {
  query<T = Record<string, unknown>>(sql: string, params?: unknown[]): Promise<T[]>;
  end(): void;
}

/** One real mysqld or mariadbd: its process, its data and the faults that can be done to it. */
export class LabNode {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly socket: string;
  readonly dir: string;
  #serverId: number;
  #extra: readonly string[];
  readonly #process: ServerProcess;
  readonly #template: string;
  readonly #clock: Clock | null;

  constructor(setup: LabNodeSetup) {
    this.name = setup.name;
    this.dir = setup.dir;
    this.host = setup.place.host;
    this.port = setup.port;
    this.#serverId = setup.serverId;
    this.#extra = setup.extra;
    this.socket = join(setup.dir, "mysqld.sock");
    this.#template = setup.template;
    mkdirSync(join(setup.dir, "tmp"), { recursive: true });
    const options = () =>
      setup.flavour.bootOptions({
        dataDir: this.#dataDir,
        socket: this.socket,
        pidFile: join(setup.dir, "mysqld.pid"),
        tmpDir: join(setup.dir, "tmp"),
        host: this.host,
        port: setup.port,
        serverId: this.#serverId,
        acks: setup.acks,
        extra: [...this.#extra],
      });
    const log = join(this.dir, "mysqld.log");
    const command = [...setup.place.enter, setup.mysqld];
    this.#clock = setup.ownClock ? new Clock(join(setup.dir, "clock")) : null;
    this.#process = new ServerProcess(
      this.name,
      command,
      options,
      log,
      setup.reaper,
      setup.supervised,
      this.#clock?.env,
    );
  }

  get #dataDir(): string {
    return join(this.dir, "data");
  }

  /** Its `server_id`; another one after each `reseed`. */
  get serverId(): number {
    return this.#serverId;
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
  async kill(): Promise<void> {
    await this.#process.kill();
  }

  /** Sends SIGKILL and returns the monotonic milliseconds of that moment, without waiting. */
  killNow(): number {
    return this.#process.signal("SIGKILL");
  }

  /** SIGSTOP; returns the monotonic milliseconds of that moment. */
  hang(): number {
    return this.#process.signal("SIGSTOP");
  }

  /** SIGCONT. */
  resume(): void {
    this.#process.signal("SIGCONT");
  }

  /** A graceful shutdown; kills it if it takes more than 30 s. */
  async terminate(): Promise<void> {
    await this.#process.terminate();
  }

  /**
   * Sets its wall clock, in seconds ahead of the machine's; resolves when the running server goes by it. The lab must have been started
   * with `ownClocks`.
   */
  async setClock(aheadS: number): Promise<void> {
    if (this.#clock === null) throw new Error(`${this.name} has no clock of its own`);
    this.#clock.set(aheadS);
    if (!this.running) return;
    const goesByIt = async () => {
      const [row] = await this.query<{ nowMs: number }>("SELECT 1000 * UNIX_TIMESTAMP(NOW(3)) AS nowMs");
      const isAheadS = (Number(row?.nowMs) - Date.now()) / 1_000;
      return Math.abs(isAheadS - aheadS) < 1 ? true : null;
    };
    await until(goesByIt, {
      timeoutMs: clockTimeoutMs,
      everyMs: 20,
      onTimeout: () => new Error(`${this.name} does not go by its clock after ${clockTimeoutMs} ms`),
    });
  }

  /** Further mysqld arguments from the next start on, instead of those it has. Returns these. */
  bootWith(extra: readonly string[]): readonly string[] {
    const before = this.#extra;
    this.#extra = extra;
    return before;
  }

  /** Starts on the same data directory and port; resolves when it accepts connections. */
  async start(signal?: AbortSignal): Promise<void> {
    await this.#process.launch();
    await until(
      async () => {
        if (!this.running) throw this.#process.death();
        return this.query("SELECT 1").then(() => true);
      },
      {
        timeoutMs: startTimeoutMs,
        everyMs: 20,
        signal,
        giveUp: (error) => error instanceof LabError,
        onTimeout: (cause) =>
          new LabError("server-slow", {
            found: `${this.name} accepts no connection after ${startTimeoutMs} ms`,
            expected: "a server that accepts connections",
            remedy: `read ${join(this.dir, "mysqld.log")}`,
            cause,
          }),
      },
    );
  }

  /** Stops it, gives it a fresh copy of the template and starts it: an empty node with all accounts. */
  async reseed(): Promise<void> {
    await this.kill();
    await this.seed();
    // A receiver drops events of its own server_id: under the old one it would never get back what it once wrote.
    this.#serverId += 100;
    await this.start();
  }

  /** Copies its data as they are now; returns the way back to that. The node must be stopped both times. */
  async keepData(): Promise<() => Promise<void>> {
    const copy = join(this.dir, "data-kept");
    await run("cp", ["-a", "--sparse=always", "--reflink=auto", this.#dataDir, copy], {
      timeout: copyTimeoutMs,
    });
    return async () => {
      await rm(this.#dataDir, { recursive: true, force: true });
      await rename(copy, this.#dataDir);
    };
  }

  /** Puts a fresh copy of the template in place of its data. The node must be stopped. */
  async seed(): Promise<void> {
    await rm(this.#dataDir, { recursive: true, force: true });
    await mkdir(this.dir, { recursive: true });
    await run("cp", ["-a", "--sparse=always", "--reflink=auto", this.#template, this.#dataDir], {
      timeout: copyTimeoutMs,
    });
  }

  /** Runs statements as root over the socket file, on a connection of its own; several may be joined by `;`. */
  async query<T = Record<string, unknown>>(sql: string, params: unknown[] = []): Promise<T[]> {
    const connection = await createConnection({
      socketPath: this.socket,
      user: "root",
      multipleStatements: true,
      connectTimeout: connectTimeoutMs,
    });
    try {
      const [rows] = await connection.query({ sql, values: params, timeout: queryTimeoutMs });
      return (Array.isArray(rows) ? rows : []) as T[];
    } finally {
      connection.destroy();
    }
  }

  /** A connection as root that stays open: for locks that are to be kept, and for what must be undone where nobody gets in any more. */
  async attach(): Promise<RootSession> {
    const connection = await createConnection({
      socketPath: this.socket,
      user: "root",
      multipleStatements: true,
      connectTimeout: connectTimeoutMs,
    });
    // It may end with its server: then it holds nothing any more.
    connection.on("error", () => undefined);
    return {
      query: async <T>(sql: string, params: unknown[] = []) => {
        const [rows] = await connection.query({ sql, values: params, timeout: queryTimeoutMs });
        return (Array.isArray(rows) ? rows : []) as T[];
      },
      end: () => connection.destroy(),
    };
  }

  /** Runs statements as root on a connection that stays open, and so keeps the locks that they took. Returns its end. */
  async hold(sql: string): Promise<() => Promise<void>> {
    const session = await this.attach();
    try {
      await session.query(sql);
    } catch (error) {
      session.end();
      throw error;
    }
    return async () => session.end();
  }

  /** The text of its error log so far. */
  log(): string {
    return this.#process.log();
  }
}
