/**
 * Does JetStream write to the disk what it has answered? Only the server's monitoring endpoint says so (`/jsz`, `config.sync_always`, as
 * nats-server 2.11 to 2.15 give it); by its own default a write is on the disk within two minutes.
 */
import type { Config } from "@baton/contracts";
import { natsAddress } from "../nats-hello.ts";
import type { Finding } from "./finding.ts";

const ANSWER_MS = 1_000;
/** Where nats-server's documentation and its images have it. */
const USUAL_PORT = 8222;

/** True, false, or null: nothing there says it. */
export type Synced = boolean | null;

/** The endpoints to ask: those that are named, else each server's at the usual port. */
export function monitorsOf({ url, monitor }: Config["nats"]): string[] {
  if (monitor !== undefined) return [monitor].flat();
  return [url ?? []].flat().flatMap((u) => {
    const host = natsAddress(u)?.host;
    return host === undefined ? [] : [`http://${host.includes(":") ? `[${host}]` : host}:${USUAL_PORT}`];
  });
}

export async function askSynced(monitor: string): Promise<Synced> {
  try {
    const answer = await fetch(new URL("/jsz?config=true", monitor), {
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    if (!answer.ok) return null;
    const { config } = (await answer.json()) as { config?: { store_dir?: unknown; sync_always?: unknown } };
    return typeof config?.store_dir === "string" ? config.sync_always === true : null;
  } catch {
    return null;
  }
}

/** A monitor that is named and says nothing is a finding; a usual one that is not there is none. Pure. */
export function syncFindings(
  answers: readonly { monitor: string; synced: Synced }[],
  named: boolean,
): Finding[] {
  return answers.flatMap(({ monitor, synced }) => {
    if (synced === true || (synced === null && !named)) return [];
    const finding = (found: string, mend: string): Finding => ({
      level: "advice",
      code: "E_NATS_NOT_SYNCED",
      place: "nats",
      found: `${monitor}: ${found}`,
      why: "After a power cut the state of a cluster may go back by two minutes. Baton notices that on the nodes and stops, but then a person must say which state is right (baton recover).",
      mend,
    });
    return synced === null
      ? [
          finding(
            "nothing there says how JetStream writes.",
            "Mend nats.monitor, or set http_port in the server's configuration",
          ),
        ]
      : [
          finding(
            "JetStream answers before what it has stored is on the disk.",
            "jetstream { sync_interval: always } in the server's configuration",
          ),
        ];
  });
}
