/**
 * Names that only what is run through `enter` knows: a hosts file and a resolver of its own, in a mount namespace for each
 * process, edited in place while it runs. Root or user namespaces, `unshare` and `mount` are needed.
 */

import { execFileSync, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = process.getuid?.() === 0;
/** Nobody listens there: the resolver refuses. */
const REFUSES = "127.0.0.98";
/** `Silent` listens there: the resolver never answers. */
const HANGS = "127.0.0.99";

const SCRIPT = `dir=$1; shift
mount --bind "$dir/hosts" /etc/hosts && mount --bind "$dir/resolv.conf" /etc/resolv.conf || exit 1
[ ! -e /etc/nsswitch.conf ] || mount --bind "$dir/nsswitch.conf" /etc/nsswitch.conf || exit 1
exec "$@"`;

export class OwnNames {
  readonly #dir: string;
  readonly #hosts: Readonly<Record<string, string>>;

  /** `hosts`: name → address. */
  constructor(hosts: Readonly<Record<string, string>>) {
    this.#hosts = hosts;
    this.#dir = mkdtempSync(join(tmpdir(), "baton-names-"));
    writeFileSync(join(this.#dir, "nsswitch.conf"), "hosts: files dns\n");
    this.restore();
  }

  /** What a command is run through; it execs, so that its pid is the program's. */
  get enter(): string[] {
    const user = ROOT ? [] : ["--user", "--map-root-user"];
    return [
      "unshare",
      ...user,
      ...["--mount", "--propagation", "private", "--", "sh", "-c", SCRIPT, "sh", this.#dir],
    ];
  }

  restore(): void {
    this.#write(REFUSES, this.#hosts);
  }

  /** No name is known any more, and the resolver refuses or never answers. */
  vanish(resolver: "refuses" | "hangs"): void {
    this.#write(resolver === "refuses" ? REFUSES : HANGS, {});
  }

  /** What a process that starts there now is told of the name: its address, or the resolver's error. */
  ask(name: string): string {
    const program = `require("node:dns").lookup(${JSON.stringify(name)}, (e, a) => console.log(e?.code ?? a))`;
    const [command = "", ...args] = [...this.enter, process.execPath, "-e", program];
    return execFileSync(command, args, { encoding: "utf8" }).trim();
  }

  remove(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #write(resolver: string, hosts: Readonly<Record<string, string>>): void {
    const lines = Object.entries(hosts).map(([name, address]) => `${address} ${name}\n`);
    // In this order a name that is gone is asked of no resolver but the one that is to be asked.
    writeFileSync(join(this.#dir, "resolv.conf"), `nameserver ${resolver}\noptions timeout:2 attempts:1\n`);
    writeFileSync(join(this.#dir, "hosts"), lines.join(""));
  }
}

/** Why this machine cannot do that; null when it can. */
export function whyNoOwnNames(): string | null {
  const names = new OwnNames({ "a.baton.test": "127.0.0.7" });
  try {
    const [command = "", ...args] = [...names.enter, "cat", "/etc/hosts"];
    const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
    if (status === 0 && stdout.includes("a.baton.test")) return null;
    return `no mount namespace: ${(error?.message ?? stderr).trim().slice(0, 200)}`;
  } finally {
    names.remove();
  }
}

/** A resolver that hears every question and answers none. */
export class Silent {
  readonly #socket = createSocket("udp4");
  heard = 0;

  /** Rejects where port 53 is not ours to take. */
  listen(): Promise<void> {
    this.#socket.on("message", () => this.heard++);
    return new Promise((resolve, reject) => {
      this.#socket.once("error", reject);
      this.#socket.bind(53, HANGS, () => resolve());
    });
  }

  close(): void {
    this.#socket.close();
  }
}
