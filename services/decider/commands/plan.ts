/** `baton switchover --at` and `--cancel`: a switchover is planned or taken back. What it finds when its time comes is in plans.ts. */
import { randomBytes } from "node:crypto";
import {
  type Alert,
  BatonError,
  type CommandReply,
  type CommandRequest,
  type EventType,
  type Planned,
} from "@baton/contracts";
import { utc } from "@baton/protocol";
import type { Picture } from "../picture.ts";
import { LATE_MS } from "../plans.ts";
import type { VoteSettings } from "../votes.ts";
import type { BrakePorts } from "./brake-record.ts";
import { planOrder } from "./switchover.ts";

/** What is planned for later than this is a slip of the year. */
const FURTHEST_MS = 366 * 24 * 3_600_000;

export interface PlanPorts extends BrakePorts {
  planned(cluster: string): Promise<{ value: Planned; revision: number } | null>;
  /** Null when there is one already. */
  create(plan: Planned): Promise<number | null>;
  remove(cluster: string, revision: number): Promise<boolean>;
}

/** @throws BatonError E_NOT_FOUND, E_USAGE, E_CONFLICT, E_LOCKED */
export async function plan(
  { cluster, switchover, by }: CommandRequest<"plan">,
  picture: Picture,
  nowMs: number,
  s: VoteSettings,
  ports: PlanPorts,
): Promise<CommandReply<"plan">> {
  if (switchover === null) return takeBack(cluster, by, ports);
  const { atUnixMs, to, force } = switchover;
  const place = `switchover ${cluster} --at`;
  const now = ports.nowUnixMs();
  if (atUnixMs <= now || atUnixMs - now > FURTHEST_MS)
    throw new BatonError("E_USAGE", {
      place,
      message: `${utc(atUnixMs)} ${atUnixMs <= now ? "is over" : "is more than a year away"}: it is ${utc(now)} now.`,
      remedy: "Give a time that lies ahead.",
    });
  const asItIs = foresee(picture, { cluster, to, force, dryRun: false }, nowMs, s);
  const planned: Planned = {
    cluster,
    id: `plan-${randomBytes(4).toString("hex")}`,
    atUnixMs,
    to,
    force,
    by,
    order: null,
  };
  if ((await ports.create(planned)) === null) {
    const other = (await ports.planned(cluster))?.value;
    throw new BatonError("E_CONFLICT", {
      place,
      message: `A switchover of ${cluster}${other === undefined ? "" : ` to ${other.to ?? "whom Baton chooses"}`} is planned already${other === undefined ? "" : ` for ${utc(other.atUnixMs)}, by ${other.by}`}.`,
      remedy: `Take it back first: baton switchover ${cluster} --cancel`,
    });
  }
  await tellPlan(planned, ports, {
    type: "switchover-planned",
    severity: "info",
    title: `${cluster}: a switchover is planned for ${utc(atUnixMs)}`,
    summary: `${by} planned a switchover to ${to ?? "whom Baton chooses then"}${force ? ", with force" : ""}, for ${utc(atUnixMs)}.`,
    action: `Baton does it then if the cluster is fit for it, at most ${LATE_MS / 60_000} minutes late, else says why not.`,
  });
  return { cluster, planned, ...asItIs };
}

/** What would come of it if it were done now. @throws BatonError E_NOT_FOUND for a node that there is not */
function foresee(
  picture: Picture,
  request: CommandRequest<"switchover">,
  nowMs: number,
  s: VoteSettings,
): Pick<CommandReply<"plan">, "candidate" | "against"> {
  try {
    return { candidate: planOrder(picture, request, nowMs, s).reply.to, against: null };
  } catch (error) {
    if (!(error instanceof BatonError) || error.code === "E_NOT_FOUND") throw error;
    return { candidate: null, against: error.message };
  }
}

async function takeBack(cluster: string, by: string, ports: PlanPorts): Promise<CommandReply<"plan">> {
  const found = await ports.planned(cluster);
  const none = { cluster, candidate: null, against: null };
  if (found === null) return { ...none, planned: null };
  const { value, revision } = found;
  if (value.order !== null || !(await ports.remove(cluster, revision)))
    throw new BatonError("E_LOCKED", {
      place: `switchover ${cluster} --cancel`,
      message: `The planned switchover${value.order === null ? "" : ` to ${value.order.candidate}`} is being ordered at this very moment.`,
      remedy: "Wait until it has ended; `baton status` shows it.",
    });
  await tellPlan(value, ports, {
    type: "switchover-skipped",
    severity: "info",
    title: `${cluster}: the planned switchover is taken back by ${by}`,
    summary: `${by} took back the switchover that ${value.by} had planned for ${utc(value.atUnixMs)}.`,
    action: "Nothing.",
  });
  return { ...none, planned: value };
}

/** Every decider says it under the same id: it is stored once. */
export async function tellPlan(
  { cluster, id }: Planned,
  ports: BrakePorts,
  said: Pick<Alert, "severity" | "title" | "summary" | "action"> & {
    type: Extract<EventType, "switchover-planned" | "switchover-skipped">;
  },
): Promise<void> {
  const { type, ...alert } = said;
  const epoch = (await ports.state(cluster).catch(() => null))?.epoch ?? 0;
  const about = { cluster, epoch, operation: null, node: null };
  await ports.event(
    {
      ...about,
      type,
      kind: "switchover",
      outcome: null,
      code: null,
      summary: said.summary,
      primary: null,
      previous: null,
      next: null,
      detail: { plan: id },
    },
    `${type}.${cluster}.${id}`,
  );
  await ports.alert({
    ...about,
    ...alert,
    id: `${type}.${cluster}.${id}`,
    code: type,
    source: ports.decider,
    atUnixMs: ports.nowUnixMs(),
  });
}
