/**
 * `pause`, `resume` and `ack`: a person's hand on the brake.
 */
import { ALL_CLUSTERS, type CommandReply, type CommandRequest } from "@baton/contracts";
import { describeBrake } from "@baton/protocol";
import { type BrakePorts, change, tell } from "./brake-record.ts";
import { requireKnown } from "./known-cluster.ts";

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
