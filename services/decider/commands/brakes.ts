/**
 * `pause`, `resume` and `ack`: a person's hand on the brake. Each is a compare-and-set on one key, so that two at once do not
 * overwrite each other; what was changed is told as an event and an alert.
 */
import {
  ALL_CLUSTERS,
  type Alert,
  BatonError,
  type Brake,
  type ClusterState,
  type CommandReply,
  type CommandRequest,
  type Event,
} from "@baton/contracts";
import { describeBrake } from "@baton/protocol";
import { requireKnown } from "./known-cluster.ts";

/** What this file needs of the outside. */
export interface BrakePorts {
  readonly decider: string;
  nowUnixMs(): number;
  /** Every declared cluster. */
  declared(): string[];
  /** Read afresh: what is acknowledged must be what is there. */
  state(cluster: string): Promise<ClusterState | null>;
  get(key: string): Promise<{ value: Brake; revision: number } | null>;
  /** Compare-and-set; null when somebody was first. */
  update(key: string, brake: Brake, revision: number): Promise<number | null>;
  event(event: Event, id: string): Promise<void>;
  alert(alert: Alert): Promise<void>;
}

const TRIES = 8;
const NONE: Brake = { paused: false, by: "", reason: "", sinceUnixMs: 0, acknowledgedUnixMs: 0 };

export async function pause(
  { cluster, by, reason }: CommandRequest<"pause">,
  ports: BrakePorts,
): Promise<CommandReply<"pause">> {
  const about = aboutWhom(cluster, ports, "pause");
  const { brake, revision } = await change(cluster ?? ALL_CLUSTERS, ports, (was) => ({
    ...was,
    paused: true,
    by,
    reason,
    // Said again it is the same pause with another reason.
    sinceUnixMs: was.paused ? was.sinceUnixMs : ports.nowUnixMs(),
  }));
  const said = describeBrake(brake, cluster === null) ?? "";
  await Promise.all(
    about.map((name) =>
      tell(name, revision, ports, {
        severity: "warning",
        title: `${name}: paused by ${by}`,
        summary: said,
        action: "Baton watches and warns but does nothing by itself until it is resumed.",
        next: cluster === null ? "baton resume --all" : `baton resume ${name}`,
      }),
    ),
  );
  return { paused: about };
}

/** Releases exactly the brake that is named: whoever holds a cluster by another brake keeps holding it. */
export async function resume(
  { cluster, by }: CommandRequest<"resume">,
  ports: BrakePorts,
): Promise<CommandReply<"resume">> {
  const about = aboutWhom(cluster, ports, "resume");
  const key = cluster ?? ALL_CLUSTERS;
  const before = (await ports.get(key))?.value ?? null;
  const { revision } = await change(key, ports, (was) => (was.paused ? { ...was, paused: false, by } : was));
  const held = await Promise.all(
    about.map(async (name) => {
      const other = (await ports.get(cluster === null ? name : ALL_CLUSTERS))?.value ?? null;
      const brake = describeBrake(other, cluster !== null);
      const next = cluster === null ? `baton resume ${name}` : "baton resume --all";
      return brake === null ? [] : [{ cluster: name, brake, next }];
    }),
  );
  const stillPaused = held.flat();
  if (before?.paused !== true) return { resumed: [], stillPaused };
  const free = about.filter((name) => !stillPaused.some((s) => s.cluster === name));
  await Promise.all(
    about.map((name) => {
      const still = stillPaused.find((s) => s.cluster === name);
      return tell(name, revision, ports, {
        severity: "info",
        title: `${name}: ${still === undefined ? "resumed" : "one brake released"} by ${by}`,
        summary:
          still === undefined
            ? `resumed by ${by}; it was ${describeBrake(before, cluster === null)}`
            : still.brake,
        action: still === undefined ? "Baton acts by itself again." : "Another brake still holds it.",
        next: still?.next ?? null,
      });
    }),
  );
  return { resumed: free, stillPaused };
}

/** The failovers so far no longer count. Their own dates are kept, not the time of day: nobody's clock is compared. */
export async function ack(
  { cluster, by }: CommandRequest<"ack">,
  ports: BrakePorts,
): Promise<CommandReply<"ack">> {
  requireKnown(cluster, ports.declared(), "ack");
  const failovers = (await ports.state(cluster))?.failovers ?? [];
  let acknowledged = 0;
  const { revision } = await change(cluster, ports, (was) => {
    acknowledged = failovers.filter((t) => t > was.acknowledgedUnixMs).length;
    return acknowledged === 0
      ? was
      : { ...was, acknowledgedUnixMs: failovers.at(-1) ?? was.acknowledgedUnixMs };
  });
  if (acknowledged > 0)
    await tell(cluster, revision, ports, {
      severity: "info",
      title: `${cluster}: ${acknowledged} failovers acknowledged by ${by}`,
      summary: `${by} acknowledged ${acknowledged} failovers: they count neither for the cooldown nor for the flap limit.`,
      action: "Baton may fail over again by itself.",
      next: null,
    });
  return { cluster, acknowledged };
}

function aboutWhom(cluster: string | null, ports: BrakePorts, place: string): string[] {
  const declared = ports.declared();
  if (cluster === null) return declared.sort();
  requireKnown(cluster, declared, place);
  return [cluster];
}

/** `make` gives the same object back when there is nothing to change. */
async function change(
  key: string,
  ports: BrakePorts,
  make: (was: Brake) => Brake,
): Promise<{ brake: Brake; revision: number }> {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const found = await ports.get(key);
    const was = found?.value ?? NONE;
    const brake = make(was);
    if (brake === was) return { brake, revision: found?.revision ?? 0 };
    const revision = await ports.update(key, brake, found?.revision ?? 0);
    if (revision !== null) return { brake, revision };
  }
  throw new BatonError("E_CONFLICT", {
    place: `brake of ${key === ALL_CLUSTERS ? "all clusters" : key}`,
    message: `It was changed by others ${TRIES} times while this was tried.`,
    remedy: "Look at `baton status`, then say it again.",
  });
}

async function tell(
  cluster: string,
  revision: number,
  ports: BrakePorts,
  said: Pick<Alert, "severity" | "title" | "summary" | "action"> & { next: string | null },
): Promise<void> {
  const epoch = (await ports.state(cluster).catch(() => null))?.epoch ?? 0;
  const { next, ...alert } = said;
  const id = `brake.${cluster}.${revision}`;
  await Promise.all([
    ports.event(
      {
        cluster,
        type: "brake-changed",
        epoch,
        operation: null,
        kind: null,
        node: null,
        outcome: null,
        code: null,
        summary: said.summary,
        primary: null,
        previous: null,
        next,
        detail: {},
      },
      id,
    ),
    ports.alert({
      ...alert,
      title: said.title.slice(0, 200),
      id,
      code: "brake-changed",
      cluster,
      node: null,
      epoch,
      operation: null,
      source: ports.decider,
      atUnixMs: ports.nowUnixMs(),
    }),
  ]);
}
