import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { LabError } from "./lab-error.ts";
import { monotonicMs } from "./monotonic.ts";
import type { Reaper } from "./reaper.ts";

const terminateTimeoutMs = 30_000;
/**
 * How mysqld asks its parent for another start, after RESTART or at the end of CLONE; it does so only when told that
 * MYSQLD_PARENT_PID supervises it, and else stops (error 3707). mysqld_safe and systemd do the same.
 */
const RESTART_EXIT = 16;

/** One run after another of the same server program, with the faults that can be done to a process. */
export class ServerProcess {
  readonly name: string;
  readonly #command: string[];
  readonly #arguments: () => string[];
  readonly #logFile: string;
  readonly #reaper: Reaper;
  readonly #supervised: boolean;
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  #dying = false;
  #hung = false;
  #ended: Promise<void> = Promise.resolve();

  constructor(
    name: string,
    /** The program, after what it is run through (`nsenter …`), if anything. */
    command: string[],
    args: () => string[],
    logFile: string,
    reaper: Reaper,
    supervised = false,
    env: Readonly<Record<string, string>> = {},
  ) {
    this.name = name;
    this.#command = command;
    this.#arguments = args;
    this.#logFile = logFile;
    this.#reaper = reaper;
    this.#supervised = supervised;
    this.#env = env;
  }

  /** False from the moment of a SIGKILL, even while the kernel is still tearing the process down. */
  get running(): boolean {
    return this.#child !== undefined && !this.#dying;
  }

  /** True between SIGSTOP and SIGCONT. */
  get hung(): boolean {
    return this.#hung && this.running;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  async launch(): Promise<void> {
    if (this.#dying) await this.#ended;
    if (this.#child) {
      throw new LabError("node-running", {
        found: `${this.name} is running as process ${this.pid}`,
        expected: "a stopped server",
        remedy: "kill it first, or do not start it",
      });
    }
    if (this.#reaper.closed) {
      throw new LabError("lab-stopped", {
        found: `${this.name} is to start in a lab that was stopped`,
        expected: "a lab that is up",
        remedy: "start a new lab",
      });
    }
    const log = openSync(this.#logFile, "a");
    // A session of its own: Ctrl-C in the terminal goes to the lab, which then ends its servers in order.
    const parent = this.#supervised ? { MYSQLD_PARENT_PID: String(process.pid) } : {};
    const env = { ...process.env, ...parent, ...this.#env };
    const [program, ...before] = this.#command as [string, ...string[]];
    const child = spawn(program, [...before, ...this.#arguments()], {
      stdio: ["ignore", log, log],
      detached: true,
      env,
    });
    closeSync(log);
    this.#child = child;
    this.#dying = false;
    this.#hung = false;
    this.#ended = new Promise((done) => {
      const end = (code: unknown) => {
        const again = this.#supervised && code === RESTART_EXIT && !this.#dying && !this.#reaper.closed;
        if (this.#child === child) {
          this.#child = undefined;
          this.#dying = false;
        }
        if (again) void this.launch().then(done, () => done());
        else done();
      };
      child.once("exit", end);
      child.once("error", end);
    });
    if (child.pid !== undefined) this.#reaper.process(child.pid);
  }

  /** Sends a signal and returns the monotonic time just before it. */
  signal(signal: NodeJS.Signals): number {
    const child = this.#child;
    if (child?.pid === undefined) {
      throw new LabError("node-stopped", {
        found: `${this.name} is not running`,
        expected: "a running server",
        remedy: "start it first",
      });
    }
    const at = monotonicMs();
    process.kill(child.pid, signal);
    if (signal === "SIGKILL") this.#dying = true;
    if (signal === "SIGSTOP") this.#hung = true;
    if (signal === "SIGCONT") this.#hung = false;
    return at;
  }

  async kill(): Promise<void> {
    if (this.#child) this.signal("SIGKILL");
    await this.#ended;
  }

  /** Asks it to end in good order; kills it if it has not within 30 s. */
  async terminate(): Promise<void> {
    if (!this.#child) return;
    this.signal("SIGTERM");
    this.signal("SIGCONT");
    const timer = setTimeout(() => {
      if (this.#child) this.signal("SIGKILL");
    }, terminateTimeoutMs);
    await this.#ended;
    clearTimeout(timer);
  }

  log(): string {
    try {
      return readFileSync(this.#logFile, "utf8");
    } catch {
      return "";
    }
  }

  /** The error for a run that ended before it was ready, with the end of its log. */
  death(): LabError {
    return new LabError("server-died", {
      found: `${this.name} ended while starting; the end of its log:\n${this.log().split("\n").slice(-12).join("\n")}`,
      expected: "a server that accepts connections",
      remedy: `read ${this.#logFile}`,
    });
  }
}
