/**
 * `maintenance` and `downtime`: a person sets a time aside for a cluster or a node. Each has an end: what is forgotten ends by
 * itself.
 */
import {
  BatonError,
  type Brake,
  type CommandReply,
  type CommandRequest,
  WINDOWS_KEPT,
  type Window,
} from "@baton/contracts";
import { describeWindow, maintenanceOf, utc, windowsAhead } from "@baton/protocol";
import { nearest } from "@baton/runtime";
import type { SetAside } from "../brakes.ts";
import { planNow } from "../diagnose.ts";
import type { Picture } from "../picture.ts";
import type { VoteSettings } from "../votes.ts";
import { type BrakePorts, change, tell } from "./brake-record.ts";
import { requireKnown } from "./known-cluster.ts";

/** What is to be left alone for longer is better paused: `baton resume` then ends it when somebody has looked. */
const LONGEST_MS = 31 * 24 * 3_600_000;
/** A window planned for later than this is a slip of the year. */
const FURTHEST_MS = 366 * 24 * 3_600_000;

const ACTS_AGAIN = "Baton acts by itself again, and tells what is still wrong.";

/** @throws BatonError E_NOT_FOUND, E_USAGE, E_CONFLICT */
export async function maintenance(
  request: CommandRequest<"maintenance">,
  ports: BrakePorts,
): Promise<Omit<CommandReply<"maintenance">, "running">> {
  const { cluster, window: wanted, by, reason } = request;
  requireKnown(cluster, ports.declared(), "maintenance");
  const now = ports.nowUnixMs();
  if (wanted === null) return endMaintenance(request, now, ports);
  const window = windowOf(`maintenance ${cluster}`, wanted, by, reason, now);
  const { brake, revision } = await change(cluster, ports, (was) => {
    const kept = windowsAhead({ own: was }, now);
    if (kept.length >= WINDOWS_KEPT)
      throw new BatonError("E_CONFLICT", {
        place: `maintenance ${cluster}`,
        message: `${cluster} has ${kept.length} windows already.`,
        remedy: `Take some back: baton maintenance ${cluster} --end`,
      });
    return { ...was, maintenance: windowsAhead({ own: { ...was, maintenance: [...kept, window] } }, now) };
  });
  const on = maintenanceOf({ own: brake }, now) !== null;
  const from = on ? "" : ` from ${utc(window.fromUnixMs)}`;
  await tell(cluster, revision, ports, {
    severity: "info",
    title: `${cluster}: maintenance${from} until ${utc(window.untilUnixMs)}`,
    summary: describeWindow(`in maintenance${from}`, window) ?? "",
    action: "Meanwhile Baton does nothing by itself, and tells only what may cost data or stays down.",
    next: `baton maintenance ${cluster} --end`,
  });
  return { cluster, windows: [window], on };
}

/** All that is on; when nothing is, the next that was planned. */
async function endMaintenance(
  { cluster, by }: CommandRequest<"maintenance">,
  now: number,
  ports: BrakePorts,
): Promise<Omit<CommandReply<"maintenance">, "running">> {
  let windows: Window[] = [];
  let wasOn = false;
  const { revision } = await change(cluster, ports, (was) => {
    const ahead = windowsAhead({ own: was }, now);
    const on = ahead.filter((w) => w.fromUnixMs <= now);
    wasOn = on.length > 0;
    windows = wasOn ? on : ahead.slice(0, 1);
    return windows.length === 0 ? was : { ...was, maintenance: ahead.filter((w) => !windows.includes(w)) };
  });
  if (windows.length > 0)
    await tell(cluster, revision, ports, {
      severity: "info",
      title: `${cluster}: maintenance ${wasOn ? "ended" : "taken back"} by ${by}`,
      summary: windows.map((w) => describeWindow("in maintenance", w)).join("; "),
      action: wasOn ? ACTS_AGAIN : "The window does not come.",
      next: null,
    });
  return { cluster, windows, on: false };
}

/** @throws BatonError E_NOT_FOUND, E_USAGE, E_CONFLICT */
export async function downtime(
  request: CommandRequest<"downtime">,
  picture: Picture,
  nowMs: number,
  s: VoteSettings,
  ports: BrakePorts,
): Promise<CommandReply<"downtime">> {
  const { cluster, node, untilUnixMs, forMs, by, reason } = request;
  const place = `downtime ${cluster} ${node}`;
  const nodes = Object.keys(picture.declared?.nodes ?? {});
  if (!nodes.includes(node)) {
    const near = nearest(node, nodes);
    throw new BatonError("E_NOT_FOUND", {
      place,
      message: `No node of ${cluster} is called ${JSON.stringify(node)}.${near === null ? "" : ` Did you mean ${near}?`}`,
      remedy: `Its nodes are ${nodes.join(", ")}.`,
    });
  }
  const now = ports.nowUnixMs();
  const ends = untilUnixMs === null && forMs === null;
  const state = await ports.state(cluster);
  // Silence about a dead primary, or a cluster that may not replace it, is not what anybody means by a node's downtime.
  if (!ends && state?.primary === node)
    throw new BatonError("E_CONFLICT", {
      place,
      message: `${node} is the primary: its downtime would be the whole cluster's.`,
      remedy: `Pass the baton on first: baton switchover ${cluster}. If the cluster is to stand still: baton maintenance ${cluster} --for 30m`,
    });
  const window = ends ? null : windowOf(place, { fromUnixMs: null, untilUnixMs, forMs }, by, reason, now);
  let was: Window | null = null;
  const { brake, revision } = await change(cluster, ports, (brakeWas) => {
    const downtimes = Object.fromEntries(
      Object.entries(brakeWas.downtimes ?? {}).filter(([, w]) => now < w.untilUnixMs),
    );
    was = downtimes[node] ?? null;
    delete downtimes[node];
    if (window === null && was === null) return brakeWas;
    return { ...brakeWas, downtimes: { ...downtimes, ...(window === null ? {} : { [node]: window }) } };
  });
  const told = window ?? was;
  if (told !== null)
    await tell(cluster, revision, ports, {
      severity: "info",
      title: `${cluster}: ${node} ${window === null ? `back from downtime, by ${by}` : `in downtime until ${utc(told.untilUnixMs)}`}`,
      summary: describeWindow(`${node} in downtime`, told) ?? "",
      action:
        window === null
          ? `Baton mends ${node} by itself again, and may promote it.`
          : `Meanwhile Baton leaves ${node} alone: it is not promoted or mended, and its outage is no news.`,
      next: window === null ? null : `baton downtime ${cluster} ${node} --end`,
    });
  return { cluster, node, window: told, on: window !== null, refusal: refusalWith(picture, brake, nowMs, s) };
}

/** With the brake as it is from now on, which this decider's picture may not have heard of yet. */
function refusalWith(picture: Picture, own: Brake, nowMs: number, s: VoteSettings): string | null {
  const plan = planNow({ ...picture, brakes: { ...picture.brakes, own } }, nowMs, s);
  return plan === null || plan.possible ? null : `${plan.refusal}: ${plan.reason}`;
}

/** What ended by itself. All deciders notice it, and say it in the same words under the same id. */
export async function tellEnded(
  cluster: string,
  { node, window }: SetAside,
  ports: BrakePorts,
): Promise<void> {
  await tell(cluster, `${node ?? "maintenance"}.${window.untilUnixMs}`, ports, {
    severity: "info",
    title: `${cluster}: ${node === null ? "the maintenance" : `${node}'s downtime`} is over`,
    summary: describeWindow(node === null ? "in maintenance" : `${node} in downtime`, window) ?? "",
    action: node === null ? ACTS_AGAIN : `Baton mends ${node} by itself again, and may promote it.`,
    next: null,
  });
}

/** @throws BatonError E_USAGE when it is over before it begins, or lies beyond all reason */
function windowOf(
  place: string,
  wanted: NonNullable<CommandRequest<"maintenance">["window"]>,
  by: string,
  reason: string,
  now: number,
): Window {
  const fromUnixMs = wanted.fromUnixMs ?? now;
  const untilUnixMs = wanted.untilUnixMs ?? fromUnixMs + (wanted.forMs ?? 0);
  const refuse = (message: string, remedy: string) => new BatonError("E_USAGE", { place, message, remedy });
  if (untilUnixMs <= Math.max(now, fromUnixMs))
    throw refuse(
      `It would be over at ${utc(untilUnixMs)}: ${untilUnixMs <= now ? `it is ${utc(now)} now` : "that is before it begins"}.`,
      "Give an end that lies ahead: --for 2h, or --until with a time.",
    );
  if (untilUnixMs - fromUnixMs > LONGEST_MS || fromUnixMs - now > FURTHEST_MS)
    throw refuse(
      `${utc(fromUnixMs)} to ${utc(untilUnixMs)} is too long or too far away.`,
      "At most 31 days, beginning within a year. For as long as it takes: baton pause.",
    );
  return { fromUnixMs, untilUnixMs: Math.round(untilUnixMs), by, reason };
}
