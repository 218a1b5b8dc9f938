/**
 * A small disk for each node's binary logs, which can be filled. They are mounted in the mount namespace of this process (own-network.ts)
 * and go with it.
 */
import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const commandTimeoutMs = 10_000;
/** Room for the binary logs of hundreds of rounds. Only what is written takes memory. */
const sizeMb = 256;
/** Under the network's own mount (network.ts), so that nothing of it is seen outside. */
const folder = "/run/netns/.disks";

export class Disks {
  static async open(names: readonly string[]): Promise<Disks> {
    for (const name of names) {
      const path = join(folder, name);
      mkdirSync(path, { recursive: true });
      await run("mount", ["-t", "tmpfs", "-o", `size=${sizeMb}m`, "baton-chaos", path], {
        timeout: commandTimeoutMs,
      });
    }
    return new Disks();
  }

  path(name: string): string {
    return join(folder, name);
  }

  /** Takes every byte that is left on it; returns the way back. */
  async fill(name: string): Promise<() => Promise<void>> {
    const file = join(this.path(name), "filler");
    // Whole pages until there is none: that writing fails is what is wanted.
    await run("dd", ["if=/dev/zero", `of=${file}`, "bs=64k"], { timeout: commandTimeoutMs }).catch(
      () => undefined,
    );
    await writeFile(`${file}-rest`, Buffer.alloc(64 * 1024)).catch(() => undefined);
    return async () => {
      await rm(file, { force: true });
      await rm(`${file}-rest`, { force: true });
    };
  }

  /** Copies what is on it now; returns the way back to that. Its server must be stopped both times. */
  async keep(name: string, copy: string): Promise<() => Promise<void>> {
    await run("cp", ["-a", this.path(name), copy], { timeout: commandTimeoutMs });
    return async () => {
      await this.empty(name);
      await run("cp", ["-a", `${copy}/.`, this.path(name)], { timeout: commandTimeoutMs });
      await rm(copy, { recursive: true, force: true });
    };
  }

  /** Deletes what is on it. Its server must be stopped. */
  async empty(name: string): Promise<void> {
    await run("find", [this.path(name), "-type", "f", "-delete"], { timeout: commandTimeoutMs });
  }

  /** Empties all of them: a new lab begins with no logs. */
  async clear(): Promise<void> {
    await run("find", [folder, "-type", "f", "-delete"], { timeout: commandTimeoutMs });
  }
}
