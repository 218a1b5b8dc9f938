/** How a command finds NATS and speaks to it. */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { type Bus, connectBus } from "@baton/bus";
import { BatonError, type Config } from "@baton/contracts";
import { natsAddress, natsHello } from "./nats-hello.ts";
import type { LogEntry } from "./view/log-line.ts";

export const DEFAULT_NATS_URL = "nats://127.0.0.1:4222";
const CONNECT_MS = 5_000;
const HELLO_MS = 1_000;

export interface NatsChoice {
  urls: string[];
  user?: string | undefined;
  password?: string | undefined;
  token?: string | undefined;
  replicas: 1 | 3 | 5;
}

/** --nats, else -c, else BATON_NATS_URL, else the configuration that lies here, else the default address. */
export async function chooseNats(
  o: { nats?: string | undefined; config?: string | undefined },
  env: NodeJS.ProcessEnv = process.env,
): Promise<NatsChoice> {
  if (o.nats !== undefined) return { urls: o.nats.split(","), replicas: 1 };
  const file =
    o.config ?? (env.BATON_NATS_URL ? undefined : existsSync("baton.yaml") ? "baton.yaml" : undefined);
  if (file === undefined) return { urls: (env.BATON_NATS_URL ?? DEFAULT_NATS_URL).split(","), replicas: 1 };
  const { loadConfig } = await import("@baton/runtime");
  return natsOf(loadConfig({ file, env }).config.nats);
}

export function natsOf(nats: Config["nats"]): NatsChoice {
  const { url, port, user, password, token, replicas } = nats;
  return { urls: [url ?? `nats://127.0.0.1:${port}`].flat(), user, password, token, replicas };
}

export interface OpenOptions {
  name: string;
  signal?: AbortSignal;
  log(entry: LogEntry): void;
}

/** A bus that keeps trying for ever, as a service's does. */
export function openBus(
  nats: Omit<Config["nats"], "url" | "port" | "store"> & { url: string[] },
  o: OpenOptions,
): Promise<Bus> {
  const { url, user, password, token, replicas } = nats;
  const say = (level: LogEntry["level"]) => (fields: object, message: string) =>
    o.log({ level, timeUnixMs: null, message, fields: { ...fields } });
  return connectBus(
    {
      servers: url,
      name: o.name,
      source: `baton/cli/${o.name}`,
      ...(user === undefined ? {} : { user }),
      ...(password === undefined ? {} : { password }),
      ...(token === undefined ? {} : { token }),
      replicas,
      log: { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") },
    },
    o.signal,
  );
}

/**
 * A bus for one command: connected within five seconds, or an error that says what was found there instead.
 * The caller drains it.
 */
export async function reachBus(choice: NatsChoice): Promise<Bus> {
  const { urls, ...rest } = choice;
  const found = await Promise.all(urls.map(lookAt));
  if (found.every((each) => each !== null)) throw unreachable(urls, [...new Set(found)].join(" "));
  const timeout = AbortSignal.timeout(CONNECT_MS);
  let last = `no session could be opened in ${CONNECT_MS / 1000} s`;
  try {
    return await openBus(
      { url: urls, ...rest },
      {
        name: `cli-${hostname().split(".")[0]}-${process.pid}`,
        signal: timeout,
        log: (entry) => {
          if (entry.level === "warn" || entry.level === "error") last = entry.message;
        },
      },
    );
  } catch (error) {
    if (!timeout.aborted) throw error;
    throw unreachable(urls, `A NATS server answers there, but: ${last}.`, error);
  }
}

/** What is wrong with an address; null when a NATS server answers there. */
async function lookAt(url: string): Promise<string | null> {
  const address = natsAddress(url);
  if (!address) return `${url} is no NATS address.`;
  return natsHello(address, HELLO_MS).then(
    () => null,
    (error: NodeJS.ErrnoException) => `No NATS server there: ${error.code ?? error.message}.`,
  );
}

function unreachable(urls: readonly string[], message: string, cause?: unknown): BatonError {
  return new BatonError("E_NATS_UNREACHABLE", {
    place: urls.join(", "),
    message,
    remedy: "Start it (baton up), or say where it is: --nats URL, -c baton.yaml or BATON_NATS_URL.",
    cause,
  });
}
