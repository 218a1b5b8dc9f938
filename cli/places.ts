/**
 * What `baton up` needs of this machine, looked at before anything is started: free ports, folders that
 * can be written. Nothing is left behind by looking.
 */
import { existsSync } from "node:fs";
import { mkdtemp, open, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { BatonError, type Config, ServiceName } from "@baton/contracts";

export interface Port {
  /** The setting that chooses it: `http.ports.prober`. */
  key: string;
  host: string;
  port: number;
}

/** Room that the archive and the streams need to start at all. */
const LEAST_ROOM_BYTES = 4 * 2 ** 20;

/** Every port that `baton up` will listen on; those that are 0 are chosen by the system and cannot be taken. */
export function portsOf(config: Config): Port[] {
  const ports: Port[] = [];
  if (config.nats.url === undefined)
    ports.push({ key: "nats.port", host: "127.0.0.1", port: config.nats.port });
  for (const kind of ["http", "grpc"] as const) {
    for (const service of ServiceName.options) {
      ports.push({
        key: `${kind}.ports.${service}`,
        host: config[kind].host,
        port: config[kind].ports[service],
      });
    }
  }
  return ports.filter(({ port }) => port !== 0);
}

/** Two settings that name the same port, if there are any. */
export function samePort(ports: readonly Port[]): [Port, Port] | null {
  const seen = new Map<string, Port>();
  for (const port of ports) {
    const address = `${port.host}:${port.port}`;
    const other = seen.get(address);
    if (other) return [other, port];
    seen.set(address, port);
  }
  return null;
}

/** Throws E_PORT_IN_USE for the first that is taken, E_CONFIG_INVALID for two settings with the same one. */
export async function checkPorts(ports: readonly Port[], file: string | null): Promise<void> {
  const same = samePort(ports);
  if (same) {
    throw new BatonError("E_CONFIG_INVALID", {
      place: `${file ?? "configuration"} ${same[1].key}`,
      message: `Port ${same[1].port} is also that of ${same[0].key}.`,
      remedy: "Give each a port of its own, or 0 for any free one.",
    });
  }
  const found = await Promise.all(ports.map(async (port) => ({ port, code: await cannotListen(port) })));
  for (const { port, code } of found) {
    if (code === null) continue;
    const taken = code === "EADDRINUSE";
    throw new BatonError(taken ? "E_PORT_IN_USE" : "E_CONFIG_INVALID", {
      place: `${file ?? "configuration"} ${port.key}`,
      message: taken
        ? `${port.host}:${port.port} is in use by another program.`
        : `Cannot listen on ${port.host}:${port.port} (${code}).`,
      remedy: taken
        ? `Stop that program (another baton up?), or set ${port.key} to a free port.`
        : `Set ${port.key} and its host to an address of this machine.`,
    });
  }
}

function cannotListen({ host, port }: Port): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

/** A port that was free a moment ago. */
export function freePort(host = "127.0.0.1"): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host, port: 0, exclusive: true }, () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/**
 * Checks that a folder can be made and a few megabytes written into it. Throws E_DISK_FULL or E_STORE.
 * @param key the setting that names it
 */
export async function checkFolder(folder: string, key: string, file: string | null): Promise<void> {
  let existing = folder;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  const place = `${file ?? "configuration"} ${key}`;
  try {
    if (!(await stat(existing)).isDirectory()) {
      throw Object.assign(new Error(), { code: "ENOTDIR" });
    }
    await writeSomething(existing);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    if (code === "ENOSPC" || code === "EDQUOT") {
      throw new BatonError("E_DISK_FULL", {
        place,
        message: `No ${LEAST_ROOM_BYTES / 2 ** 20} MB can be written in ${existing} (${code}).`,
        remedy: `Free some space there, or set ${key} to another disk.`,
        cause: error,
      });
    }
    throw new BatonError("E_STORE", {
      place,
      message:
        code === "ENOTDIR"
          ? `${existing} is not a folder.`
          : `Nothing can be written in ${existing} (${code}).`,
      remedy: `Make it writable for this user, or set ${key} to another folder.`,
      cause: error,
    });
  }
}

async function writeSomething(folder: string): Promise<void> {
  const trial = await mkdtemp(join(folder, ".baton-trial-"));
  try {
    const handle = await open(join(trial, "trial"), "wx", 0o600);
    try {
      const block = Buffer.alloc(2 ** 20, 1);
      for (let written = 0; written < LEAST_ROOM_BYTES; written += block.length) {
        const { bytesWritten } = await handle.write(block);
        if (bytesWritten < block.length) throw Object.assign(new Error(), { code: "ENOSPC" });
      }
      await handle.datasync();
    } finally {
      await handle.close();
    }
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}
