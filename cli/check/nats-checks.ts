/** Whether NATS is there, new enough, with JetStream, and lets Baton in. */
import { BatonError, type Config } from "@baton/contracts";
import { findNatsServer } from "../embedded-nats.ts";
import { type NatsHello, natsAddress, natsHello, newEnough } from "../nats-hello.ts";
import { natsOf, reachBus } from "../reach.ts";
import type { Finding } from "./finding.ts";
import { askSynced, monitorsOf, syncFindings } from "./nats-sync.ts";

const HELLO_MS = 3_000;

/** `about`: what was found there, in a few words. */
export async function checkNats(config: Config): Promise<{ about: string; findings: Finding[] }> {
  const { url, port } = config.nats;
  if (url === undefined) {
    try {
      return { about: `baton up runs ${findNatsServer(process.env)} on port ${port || "any"}`, findings: [] };
    } catch (error) {
      return { about: "baton up is to run one", findings: [findingOf(error)] };
    }
  }
  const urls = [url].flat();
  const hellos = await Promise.all(urls.map(greet));
  const findings = hellos.flatMap((hello, i) => helloFindings(urls[i] as string, hello));
  if (findings.length === 0) {
    await reachBus(natsOf(config.nats)).then(
      (bus) => bus.drain(),
      (error) => findings.push(findingOf(error)),
    );
  }
  const monitors = monitorsOf(config.nats);
  const answers = await Promise.all(
    monitors.map(async (monitor) => ({ monitor, synced: await askSynced(monitor) })),
  );
  findings.push(...syncFindings(answers, config.nats.monitor !== undefined));
  const unsaid = answers.some(({ synced }) => synced === null) && config.nats.monitor === undefined;
  const versions = new Set(hellos.map((hello) => (hello instanceof Error ? "?" : hello.version)));
  const how = unsaid
    ? "  whether JetStream syncs each write is not known: nats.monitor names where to ask"
    : "";
  return { about: `${urls.join(", ")}  ${[...versions].join(", ")}${how}`, findings };
}

function greet(url: string): Promise<NatsHello | Error> {
  const address = natsAddress(url);
  if (!address) return Promise.resolve(new Error("it is no NATS address"));
  return natsHello(address, HELLO_MS).catch((error: Error) => error);
}

/** Pure. */
export function helloFindings(url: string, hello: NatsHello | Error): Finding[] {
  const finding = (code: Finding["code"], found: string, why: string, mend: string): Finding[] => [
    { level: "error", code, place: "nats", found: `${url}: ${found}`, why, mend },
  ];
  if (hello instanceof Error) {
    const reason = (hello as NodeJS.ErrnoException).code ?? hello.message;
    return finding(
      "E_NATS_UNREACHABLE",
      `no NATS server there (${reason}).`,
      "Without NATS the services do not hear each other, and nothing is decided.",
      "Start it there, or mend nats.url",
    );
  }
  if (!newEnough(hello.version)) {
    return finding(
      "E_NATS_TOO_OLD",
      `nats-server ${hello.version} is older than 2.11.`,
      "It ignores a key's time to live: a lock whose holder died would never be free.",
      "Install nats-server 2.11 or newer",
    );
  }
  if (!hello.jetstream) {
    return finding(
      "E_NATS_NO_JETSTREAM",
      "JetStream is off.",
      "Intents, events and the cluster's state are kept there.",
      "jetstream { store_dir: /var/lib/nats } in the server's configuration",
    );
  }
  return [];
}

function findingOf(error: unknown): Finding {
  const known = error instanceof BatonError;
  return {
    level: "error",
    code: known ? error.code : "E_NATS_UNREACHABLE",
    place: "nats",
    found: (error as Error).message,
    why: "Without NATS the services do not hear each other, and nothing is decided.",
    mend: known ? error.remedy : "",
  };
}
