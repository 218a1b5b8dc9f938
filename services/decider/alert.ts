/** Which changes of diagnosis a person should hear of, in the words of the code book. */
import { type Alert, DIAGNOSES, type Diagnosis } from "@baton/contracts";

/** All deciders alert on the same diagnosis; the same id within two minutes is one alert (the stream's window). */
const SAME_WITHIN_MS = 120_000;

/**
 * A critical fault is told at once. A lesser one is told when it has stood for so long: what Baton mends by itself in a
 * second, a node on its way home above all, wakes nobody.
 */
export function alertAfterMs(d: Diagnosis): number {
  return d.severity === "critical" ? 0 : 5_000;
}

/** Null for what is no news. That all is well again is news only to who was told that it was not. */
export function alertFor(d: Diagnosis, faultWasTold: boolean, nowUnixMs: number): Alert | null {
  const entry = DIAGNOSES[d.code];
  if (entry.severity === "info" && !(d.code === "healthy" && faultWasTold)) return null;
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
