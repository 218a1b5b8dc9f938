/**
 * The record of a cluster's brakes, changed by compare-and-set, so that two persons at once do not overwrite each other; what was
 * changed is told as an event and an alert.
 */
import {
  ALL_CLUSTERS,
  type Alert,
  BatonError,
  type Brake,
  type ClusterState,
  type Event,
} from "@baton/contracts";

/** What the commands about brakes need of the outside. */
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

/** `make` gives the same object back when there is nothing to change. */
export async function change(
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

/** `about` tells one change from another: the record's revision, where there is one. */
export async function tell(
  cluster: string,
  about: number | string,
  ports: BrakePorts,
  said: Pick<Alert, "severity" | "title" | "summary" | "action"> & { next: string | null },
): Promise<void> {
  const epoch = (await ports.state(cluster).catch(() => null))?.epoch ?? 0;
  const { next, ...alert } = said;
  const id = `brake.${cluster}.${about}`;
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
