/**
 * Runs a program in a network and a mount namespace of its own, where it may build a network (network.ts). Root is not needed where the
 * kernel lets users make namespaces: then the program is root there and nobody outside.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { LabError } from "../lab-error.ts";

const checkTimeoutMs = 10_000;
const needed = ["ip", "tc", "unshare", "nsenter", "mount"] as const;
const packages: Record<(typeof needed)[number], string> = {
  ip: "iproute2",
  tc: "iproute2",
  unshare: "util-linux",
  nsenter: "util-linux",
  mount: "mount",
};

/**
 * Says what keeps this machine from having networks of its own; null when nothing does. Tries it out, and leaves nothing.
 */
export function cannotNetwork(): LabError | null {
  for (const program of needed) {
    try {
      execFileSync(program, [program === "ip" || program === "tc" ? "-V" : "--version"], {
        stdio: "ignore",
        timeout: checkTimeoutMs,
        env: withSystemPath(),
      });
    } catch {
      return refusal(
        `no program ${program}`,
        `install ${packages[program]} (apt-get install ${packages[program]})`,
      );
    }
  }
  try {
    const [command, ...args] = inside(["sh", "-c", "ip link set lo up && mount -t tmpfs none /mnt"]);
    execFileSync(command as string, args, { stdio: "pipe", timeout: checkTimeoutMs, env: withSystemPath() });
    return null;
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr ?? error).trim();
    return refusal(
      `unshare failed: ${said}`,
      isRoot()
        ? "give this container CAP_SYS_ADMIN and CAP_NET_ADMIN"
        : "run it as root, or allow user namespaces",
    );
  }
}

/** Starts it with an IPC channel and this process's terminal. */
export function spawnInOwnNetwork(program: string, args: readonly string[]): ChildProcess {
  const [command, ...rest] = inside([program, ...args]);
  return spawn(command as string, rest, {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    // A session of its own: Ctrl-C comes from us, once, and not from the terminal as well.
    detached: true,
    env: withSystemPath(),
  });
}

function inside(command: readonly string[]): string[] {
  const user = isRoot() ? [] : ["--user", "--map-root-user"];
  return ["unshare", ...user, "--net", "--mount", "--propagation", "private", "--", ...command];
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** `ip` and `tc` are in /usr/sbin, which is not on everybody's PATH. */
function withSystemPath(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` };
}

function refusal(found: string, remedy: string): LabError {
  return new LabError("no-own-network", {
    found,
    expected: "a machine where this user can make network namespaces with ip, tc, unshare and nsenter",
    remedy,
  });
}
