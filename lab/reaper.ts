import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * A small detached shell that outlives this process, however it ends (kill -9 too), and then kills what was
 * recorded and removes the lab's directory. A normal stop goes the same way: close the pipe and wait.
 */
export class Reaper {
  readonly #shell: ChildProcess;
  readonly #ended: Promise<void>;

  constructor() {
    this.#shell = spawn("/bin/sh", [join(import.meta.dirname, "reaper.sh")], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    this.#ended = new Promise((done) => this.#shell.once("exit", () => done()));
    this.#shell.stdin?.on("error", () => undefined);
    this.#shell.unref();
  }

  get pid(): number | undefined {
    return this.#shell.pid;
  }

  /** True once the cleaning has begun: nothing that starts now would be cleaned. */
  get closed(): boolean {
    return this.#shell.stdin?.writableEnded ?? true;
  }

  process(pid: number): void {
    const started = startTime(pid);
    if (started !== undefined) this.#shell.stdin?.write(`process ${pid} ${started}\n`);
  }

  directory(path: string): void {
    this.#shell.stdin?.write(`directory ${path}\n`);
  }

  /** Lets it do its work now; resolves when all is killed and removed. */
  async reap(): Promise<void> {
    this.#shell.ref();
    this.#shell.stdin?.end();
    await this.#ended;
  }
}

/** When a process started, in clock ticks since boot: with the pid it names one process for ever. */
export function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}
