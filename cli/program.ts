/**
 * One program that is kept running: started, watched, started again with growing waits when it dies, and
 * ended within a bound. What it writes comes line by line.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

export interface ProgramSpec {
  name: string;
  command: string;
  args: readonly string[];
  env?: Record<string, string>;
  /** `ipc`: a Node program that ends when the channel closes. `stdin`: one that ends when its input does. */
  tether: "ipc" | "stdin";
  /** Between the polite signal and SIGKILL. */
  stopTimeoutMs: number;
  onLine(line: string): void;
  onExit?(exit: Exit): void;
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  livedMs: number;
  /** Until it is started again; null: it is not. */
  restartInMs: number | null;
}

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 10_000;
/** A program that lived for so long was well: its next death counts as the first. */
const WELL_AFTER_MS = 30_000;
/** Output that is still in the pipe when a program has ended. */
const LAST_WORDS_MS = 500;

/** 0.1 s, 0.2 s, 0.4 s … 10 s. */
export function restartWaitMs(deathsInARow: number): number {
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (deathsInARow - 1));
}

export class Program {
  readonly name: string;
  readonly #spec: ProgramSpec;
  #child: ChildProcess | null = null;
  #ended: Promise<void> = Promise.resolve();
  #wanted = false;
  #deathsInARow = 0;
  #restart: NodeJS.Timeout | null = null;
  #starts = 0;

  constructor(spec: ProgramSpec) {
    this.name = spec.name;
    this.#spec = spec;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }
  get running(): boolean {
    return this.#child !== null;
  }
  get starts(): number {
    return this.#starts;
  }

  start(): void {
    this.#wanted = true;
    if (this.#restart) clearTimeout(this.#restart);
    this.#restart = null;
    if (this.#child) return;
    this.#launch();
  }

  /** Sends a signal to it; returns the monotonic milliseconds just before. */
  signal(signal: NodeJS.Signals): number {
    const child = this.#child;
    if (child?.pid === undefined) throw new Error(`${this.name} is not running`);
    const at = Number(process.hrtime.bigint()) / 1e6;
    child.kill(signal);
    return at;
  }

  /** kill -9. It is started again unless `restart` is false. Returns the monotonic milliseconds just before. */
  kill(o: { restart?: boolean } = {}): number {
    if (o.restart === false) this.#wanted = false;
    return this.signal("SIGKILL");
  }

  hang(): number {
    return this.signal("SIGSTOP");
  }

  resume(): void {
    this.signal("SIGCONT");
  }

  /** Resolves when the present run is over; at once when there is none. */
  ended(): Promise<void> {
    return this.#ended;
  }

  /** SIGTERM, SIGKILL after the time-out; resolves when it is gone. It stays down until `start`. */
  async stop(): Promise<void> {
    this.#wanted = false;
    if (this.#restart) clearTimeout(this.#restart);
    this.#restart = null;
    const child = this.#child;
    if (!child) return;
    child.kill("SIGTERM");
    child.kill("SIGCONT");
    const timer = setTimeout(() => this.#finish(child), this.#spec.stopTimeoutMs);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Without waiting, for a process that is about to exit itself. */
  stopNow(): void {
    this.#wanted = false;
    if (this.#restart) clearTimeout(this.#restart);
    if (this.#child) this.#finish(this.#child);
  }

  #finish(child: ChildProcess): void {
    // A guarded program is ended by its guard: killed, the guard could not.
    if (this.#spec.tether === "stdin") child.stdin?.destroy();
    else child.kill("SIGKILL");
  }

  #launch(): void {
    const { command, args, env, tether } = this.#spec;
    const startedMs = performance.now();
    const stdio = ["pipe", "pipe", "pipe", ...(tether === "ipc" ? (["ipc"] as const) : [])] as const;
    // A session of its own: Ctrl-C in the terminal goes to `baton`, which then ends its programs in order.
    const child = spawn(command, args, {
      stdio: [...stdio],
      detached: true,
      env: { ...process.env, ...env },
    });
    this.#starts += 1;
    this.#child = child;
    child.stdin?.on("error", () => undefined);
    if (tether === "ipc") child.stdin?.end();
    // A full or broken channel is no reason for us to fall: the child's end is told by its exit.
    child.on("error", (error) => {
      if (child.pid === undefined) this.#spec.onLine(`cannot run ${command}: ${error.message}`);
    });
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface({ input: stream, crlfDelay: Infinity }).on("line", this.#spec.onLine);
    }
    this.#ended = new Promise((resolve) => {
      let told = false;
      const over = (code: number | null, signal: NodeJS.Signals | null) => {
        if (told) return;
        told = true;
        child.stdin?.destroy();
        if (this.#child === child) this.#child = null;
        this.#afterExit(code, signal, performance.now() - startedMs);
        resolve();
      };
      child.once("close", over);
      child.once("exit", (code, signal) => setTimeout(() => over(code, signal), LAST_WORDS_MS).unref());
      child.once("error", () => {
        if (child.pid === undefined) over(null, null);
      });
    });
  }

  #afterExit(code: number | null, signal: NodeJS.Signals | null, livedMs: number): void {
    let restartInMs: number | null = null;
    if (this.#wanted) {
      this.#deathsInARow = livedMs >= WELL_AFTER_MS ? 1 : this.#deathsInARow + 1;
      restartInMs = restartWaitMs(this.#deathsInARow);
      this.#restart = setTimeout(() => {
        this.#restart = null;
        if (this.#wanted && !this.#child) this.#launch();
      }, restartInMs);
    }
    this.#spec.onExit?.({ code, signal, livedMs, restartInMs });
  }
}
