/**
 * A wall clock of its own for one mysqld, which can be set while it runs: Debian's libfaketime between the server and its C library
 * (toolchain/debian.sh fetches it; https://github.com/wolfcw/libfaketime). The monotonic clock stays the machine's.
 */
import { existsSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findBinary } from "./binaries.ts";
import { LabError } from "./lab-error.ts";

/** How soon a running server sees that its clock was set. */
const rereadS = 1;

export class Clock {
  readonly #file: string;

  /** `file` need not be there; it says by how much the clock is off. */
  constructor(file: string) {
    this.#file = file;
    this.set(0);
  }

  /** For the server's process. */
  get env(): Record<string, string> {
    return {
      BATON_CLOCK: this.#file,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_CACHE_DURATION: String(rereadS),
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      // Left to itself it takes waits by the monotonic clock for over at once: mysqld then starts in 25 s and burns a core (0.9.12).
      FAKETIME_FORCE_MONOTONIC_FIX: "0",
      // Otherwise a server that is killed leaves its semaphore behind.
      FAKETIME_DISABLE_SHM: "1",
    };
  }

  /** Seconds ahead of the machine's clock; below zero: behind. */
  set(aheadS: number): void {
    // A server that reads half a file dies of it.
    writeFileSync(`${this.#file}.new`, `${aheadS < 0 ? "-" : "+"}${Math.abs(Math.trunc(aheadS))}\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}

/** What keeps servers of this machine from having clocks of their own; null when nothing does. */
export function cannotSetClocks(): LabError | null {
  const mysqld = findBinary("mysqld");
  const libraries = join(dirname(mysqld), "../root/usr/lib");
  const there =
    existsSync(libraries) &&
    readdirSync(libraries).some((folder) => existsSync(join(libraries, folder, "faketime")));
  if (there) return null;
  return new LabError("no-own-clock", {
    found: `${mysqld}, which did not come with libfaketime`,
    expected: "a mysqld whose clock can be set",
    remedy: "unset BATON_MYSQLD, remove .toolchain/mysql and run ./baton toolchain: it fetches both",
  });
}
