/** The nats-server that `baton up` runs as its own child: one server, JetStream on, on this machine only. */

import { createHash } from "node:crypto";
import { accessSync, constants } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { delimiter, join, resolve } from "node:path";
import { BatonError, type Config } from "@baton/contracts";
import { natsHello, newEnough } from "./nats-hello.ts";
import { freePort } from "./places.ts";
import { type Exit, Program } from "./program.ts";

const HOST = "127.0.0.1";
const READY_MS = 15_000;
const STOP_MS = 7_000;

export interface EmbeddedNats {
  url: string;
  program: Program;
  /** The server's own pid (the program's is its guard's). */
  pidFile: string;
  /** Gives up the store. */
  release(): void;
}

/** The first of BATON_NATS_SERVER, PATH and `.toolchain/mysql/bin` that can be run. */
export function findNatsServer(env: NodeJS.ProcessEnv): string {
  const runnable = (path: string) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  };
  if (env.BATON_NATS_SERVER) {
    if (runnable(env.BATON_NATS_SERVER)) return resolve(env.BATON_NATS_SERVER);
    throw new BatonError("E_NATS_UNREACHABLE", {
      place: "BATON_NATS_SERVER",
      message: `${env.BATON_NATS_SERVER} is no program that can be run.`,
      remedy: "Unset BATON_NATS_SERVER or name a nats-server of version 2.11 or newer.",
    });
  }
  const folders = (env.PATH ?? "").split(delimiter).filter(Boolean);
  folders.push(join(import.meta.dirname, "../.toolchain/mysql/bin"));
  for (const folder of folders) {
    const path = join(folder, "nats-server");
    if (runnable(path)) return path;
  }
  throw new BatonError("E_NATS_UNREACHABLE", {
    place: "nats.url",
    message:
      "No NATS server is given, and no nats-server program is in PATH or .toolchain/mysql/bin to run one.",
    remedy:
      "Set nats.url, or install nats-server 2.11 or newer, or run ./baton demo once, which fetches one.",
  });
}

/** The server's configuration. JSON strings are strings in NATS' own language too. */
export function natsConfiguration(o: {
  port: number;
  store: string;
  pidFile: string;
  nats: Pick<Config["nats"], "user" | "password" | "token">;
}): string {
  const { user, password, token } = o.nats;
  const lines = [
    `server_name: "baton"`,
    `listen: "${HOST}:${o.port}"`,
    `pid_file: ${JSON.stringify(o.pidFile)}`,
    `logtime: false`,
    // The states of clusters lie here: what was answered must survive the end of this host. Its default syncs every two minutes.
    `jetstream { store_dir: ${JSON.stringify(o.store)}, sync_interval: always }`,
  ];
  if (token !== undefined) lines.push(`authorization { token: ${JSON.stringify(token)} }`);
  else if (user !== undefined) {
    lines.push(
      `authorization { user: ${JSON.stringify(user)}, password: ${JSON.stringify(password ?? "")} }`,
    );
  }
  return `${lines.join("\n")}\n`;
}

/**
 * Starts it and waits until it answers with JetStream. Throws a BatonError, with nothing left running, when it
 * cannot: too old, the store is another Baton's, or it ends at once (its last line is in the message).
 */
export async function startEmbeddedNats(o: {
  nats: Config["nats"];
  store: string;
  env: NodeJS.ProcessEnv;
  onLine(line: string): void;
  onExit?(exit: Exit): void;
  signal?: AbortSignal | undefined;
}): Promise<EmbeddedNats> {
  const server = findNatsServer(o.env);
  const lock = await lockStore(o.store);
  const lastLines: string[] = [];
  let program: Program | null = null;
  try {
    await mkdir(o.store, { recursive: true });
    const port = o.nats.port === 0 ? await freePort(HOST) : o.nats.port;
    const pidFile = join(o.store, "nats.pid");
    const file = join(o.store, "nats.conf");
    await writeFile(file, natsConfiguration({ port, store: o.store, pidFile, nats: o.nats }), {
      mode: 0o600,
    });
    let answered = false;
    let died: Exit | null = null;
    program = new Program({
      name: "nats",
      command: "/bin/sh",
      args: [join(import.meta.dirname, "guard.sh"), server, "-c", file],
      tether: "stdin",
      stopTimeoutMs: STOP_MS,
      onLine: (line) => {
        lastLines.push(line);
        if (lastLines.length > 20) lastLines.shift();
        o.onLine(line);
      },
      onExit: (exit) => {
        if (!answered) died = exit;
        o.onExit?.(exit);
      },
    });
    program.start();
    await untilItAnswers(port, () => died !== null, lastLines, o.signal);
    answered = true;
    return { url: `nats://${HOST}:${port}`, program, pidFile, release: () => lock.close() };
  } catch (error) {
    await program?.stop();
    lock.close();
    throw error;
  }
}

async function untilItAnswers(
  port: number,
  isDead: () => boolean,
  lastLines: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const deadline = performance.now() + READY_MS;
  for (;;) {
    signal?.throwIfAborted();
    const hello = await natsHello({ host: HOST, port }, 1_000).catch(() => null);
    if (hello && !newEnough(hello.version)) {
      throw new BatonError("E_NATS_TOO_OLD", {
        place: "nats-server",
        message: `It is version ${hello.version}; Baton needs 2.11 or newer.`,
        remedy: "Install a newer one, or name one in BATON_NATS_SERVER.",
      });
    }
    if (hello?.jetstream) return;
    if (isDead() || performance.now() > deadline) {
      const why = lastLines.findLast((line) => /\[(FTL|ERR)\]|error|cannot/i.test(line)) ?? lastLines.at(-1);
      throw new BatonError("E_NATS_UNREACHABLE", {
        place: `embedded nats-server 127.0.0.1:${port}`,
        message: `${isDead() ? "It ended at once" : `It was not ready in ${READY_MS / 1000} s`}${why ? `: ${why.replace(/^\[\d+\] /, "")}` : ""}.`,
        remedy: "Mend what it says, or set nats.url to a server that runs.",
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Two servers in one store would ruin it. The lock is a name that the kernel frees when its holder dies. */
function lockStore(store: string): Promise<Server> {
  const name = `\0baton-nats-${createHash("sha256").update(resolve(store)).digest("hex")}`;
  return new Promise((done, fail) => {
    const server = createServer((socket) => socket.destroy());
    server.unref();
    server.once("error", () =>
      fail(
        new BatonError("E_STORE", {
          place: "nats.store",
          message: `${store} is in use by another baton up.`,
          remedy: "Stop that one, or set nats.store to another folder.",
        }),
      ),
    );
    server.listen(name, () => done(server));
  });
}
