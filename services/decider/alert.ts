/** Which changes of diagnosis a person should hear of, in the words of the code book. */
import { type Alert, DIAGNOSES, type Diagnosis } from "@baton/contracts";

/** All deciders alert on the same diagnosis; the same id within two minutes is one alert (the stream's window). */
const SAME_WITHIN_MS = 120_000;

/** Null for changes that are no news: a fault's end is news only if the fault was. */
export function alertFor(d: Diagnosis, nowUnixMs: number): Alert | null {
  const entry = DIAGNOSES[d.code];
  const wasFault = d.previous !== null && DIAGNOSES[d.previous].severity !== "info";
  if (entry.severity === "info" && !(d.code === "healthy" && wasFault)) return null;
  const about = d.node ?? d.cluster;
  return {
    id: [d.cluster, d.epoch, d.code, d.node ?? "-", Math.floor(nowUnixMs / SAME_WITHIN_MS)].join("."),
    cluster: d.cluster,
    severity: entry.severity,
    code: d.code,
    title: d.code === "healthy" ? `${d.cluster}: healthy again` : `${d.cluster}: ${d.code} (${about})`,
    summary: d.summary,
    action: entry.action,
    node: d.node,
    epoch: d.epoch,
    operation: null,
    source: d.decider,
    atUnixMs: nowUnixMs,
  };
}
