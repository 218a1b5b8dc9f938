/** Which changes of diagnosis a person should hear of, in the words of the code book. */
import { type Loss, lossInWords } from "@baton/bus";
import {
  type Alert,
  DIAGNOSES,
  type Diagnosis,
  type DiagnosisCode,
  REFUSALS,
  RepairCode,
} from "@baton/contracts";
import type { Advice } from "./advise.ts";
import { DEATHS } from "./diagnose.ts";
import type { Picture } from "./picture.ts";

/** All deciders alert on the same diagnosis; the same id within two minutes is one alert (the stream's window). */
const SAME_WITHIN_MS = 120_000;

/** Longer than a planned restart takes: what stays down in a maintenance was not meant to. */
const IN_MAINTENANCE_MS = 60_000;

/** No work on a cluster is meant to bring these about: they may cost data, and get worse the later they are seen. */
const DATA_AT_RISK: ReadonlySet<DiagnosisCode> = new Set<DiagnosisCode>([
  "replica-writable",
  "split-brain",
  "semi-sync-off",
  "state-went-back",
  "foreign-installation",
]);

/**
 * What the state and the nodes say comes on two ways, and a decider that remembers puts a lost state back at once: who is told must have
 * something to do.
 */
const STATE_MS = 2_000;

/**
 * Where another decider has just failed over, what is seen of it comes before the state that explains it: for that moment no failover is
 * possible, and nobody need be woken.
 */
const REFUSED_MS = 1_000;

/**
 * A critical fault is told at once. A lesser one is told when it has stood for so long: what Baton mends by itself in a
 * second, a node on its way home above all, wakes nobody. In a maintenance the people who are at it know of what they do: null
 * for what is not told before it is over.
 */
export function alertAfterMs(d: Diagnosis, inMaintenance: boolean): number | null {
  const ofState = d.code === "state-went-back" || d.code === "foreign-installation";
  const afterMs = ofState
    ? STATE_MS
    : d.code === "failover-not-possible"
      ? REFUSED_MS
      : d.severity === "critical"
        ? 0
        : 5_000;
  if (!inMaintenance || d.code === "healthy" || DATA_AT_RISK.has(d.code)) return afterMs;
  return d.severity === "critical" ? IN_MAINTENANCE_MS : null;
}

/** Codes whose action Baton takes by itself. */
const ACTED_ON: ReadonlySet<DiagnosisCode> = new Set<DiagnosisCode>([
  ...DEATHS,
  "primary-read-only",
  "errant-gtid",
  ...RepairCode.options,
]);

/**
 * Null for what is no news. That all is well again is news only to who was told that it was not. `heldBack`: why Baton will
 * not do what the code book says it does; `left`: why it leaves this repair to a person.
 */
export function alertFor(
  d: Diagnosis,
  o: { faultWasTold: boolean; heldBack: string | null; left?: string | null },
  nowUnixMs: number,
): Alert | null {
  const { faultWasTold, heldBack, left = null } = o;
  const entry = DIAGNOSES[d.code];
  if (entry.severity === "info" && !(d.code === "healthy" && faultWasTold)) return null;
  const about = d.node ?? d.cluster;
  return {
    id: [d.cluster, d.epoch, d.code, d.node ?? "-", window(nowUnixMs)].join("."),
    cluster: d.cluster,
    severity: entry.severity,
    code: d.code,
    title: d.code === "healthy" ? `${d.cluster}: healthy again` : `${d.cluster}: ${d.code} (${about})`,
    summary: d.summary,
    action: [
      entry.action,
      ...(left === null ? [] : [left]),
      ...(heldBack !== null && ACTED_ON.has(d.code) ? [`But not now: ${heldBack}.`] : []),
    ].join(" "),
    node: d.node,
    epoch: d.epoch,
    operation: null,
    source: d.decider,
    atUnixMs: nowUnixMs,
  };
}

function window(nowUnixMs: number): number {
  return Math.floor(nowUnixMs / SAME_WITHIN_MS);
}

export function adviceAlert(
  picture: Picture | undefined,
  { about, ...advice }: Advice,
  decider: string,
  nowUnixMs: number,
): Alert | null {
  if (picture === undefined) return null;
  const epoch = picture.state?.value.epoch ?? 0;
  return {
    ...advice,
    id: [picture.cluster, epoch, "advice", advice.code, about.replaceAll(" ", "-"), window(nowUnixMs)].join(
      ".",
    ),
    title: advice.title.slice(0, 200),
    cluster: picture.cluster,
    epoch,
    operation: null,
    source: decider,
    atUnixMs: nowUnixMs,
  };
}

export function flapAlert(
  picture: Picture | undefined,
  reason: string,
  decider: string,
  nowUnixMs: number,
): Alert | null {
  if (picture === undefined) return null;
  const { cluster } = picture;
  const state = picture.state?.value;
  return {
    id: [cluster, state?.epoch ?? 0, "flapping", state?.failovers.at(-1) ?? 0].join("."),
    cluster,
    severity: "warning",
    code: "flapping",
    title: `${cluster}: the flap limit is reached, the next failover will be refused`,
    summary: `${reason}.`,
    action: REFUSALS.flapping.action,
    node: null,
    epoch: state?.epoch ?? 0,
    operation: null,
    source: decider,
    atUnixMs: nowUnixMs,
  };
}

export function repairLimitAlert(
  picture: Picture | undefined,
  of: { code: RepairCode; node: string },
  decider: string,
  nowUnixMs: number,
): Alert | null {
  if (picture === undefined) return null;
  const { cluster } = picture;
  const state = picture.state?.value;
  const perHour = picture.declared?.policy.repairs.perHour ?? 0;
  return {
    id: [cluster, state?.epoch ?? 0, "repair-limit", of.code, of.node, state?.last?.id ?? ""].join("."),
    cluster,
    severity: REFUSALS["repair-limit"].severity,
    code: "repair-limit",
    title: `${cluster}: ${of.code} on ${of.node} comes back again and again`,
    summary: `Baton has mended it ${perHour} times within an hour. It leaves it alone until that hour has passed.`,
    action: `Find out who undoes it. \`baton repair ${cluster} ${of.node}\` mends it once more.`,
    node: of.node,
    epoch: state?.epoch ?? 0,
    operation: null,
    source: decider,
    atUnixMs: nowUnixMs,
  };
}

/** NATS has lost something while Baton ran. What a decider remembers of it, it puts back by itself. */
export function lossAlert(picture: Picture, loss: Loss, decider: string, nowUnixMs: number): Alert {
  const { cluster } = picture;
  return {
    id: [cluster, "nats-lost-data", loss.stream, loss.how, window(nowUnixMs)].join("."),
    cluster,
    severity: "critical",
    code: "nats-lost-data",
    title: `${cluster}: NATS has lost data of Baton (${loss.stream})`,
    summary: `${lossInWords(loss)}. What the deciders remember is put back, the cluster's state only if the nodes carry the same epoch.`,
    action: `Find out who deleted or restored NATS's data. Then look whether all is as it was: baton status ${cluster}, and baton apply for the declarations.`,
    node: null,
    epoch: picture.state?.value.epoch ?? 0,
    operation: null,
    source: decider,
    atUnixMs: nowUnixMs,
  };
}
