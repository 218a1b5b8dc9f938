/** A diagnosis' evidence in words: what each witness said. */
import type { Diagnosis, ProberVote, ReplicaVote } from "@baton/contracts";
import { duration, plural } from "./amounts.ts";

export function proberWords(v: ProberVote): string {
  const who = `${v.prober} (${v.region})`;
  const silence = `silent for ${duration(v.silentMs)}, which counts above ${duration(v.thresholdMs)}`;
  switch (v.finds) {
    case "alive":
      return `${who} finds it alive`;
    case "blind":
      return `${who} reaches no node at all: it is cut off itself, and has no vote`;
    case "unsure":
      return `${who} is not sure yet: ${v.outcome}, ${silence}`;
    case "dead":
      return v.outcome === "refused"
        ? `${who} finds it dead: connection refused, ${plural(v.attempts, "attempt")} in a row`
        : `${who} finds it dead: ${v.outcome}, ${plural(v.attempts, "attempt")} in a row, ${silence}`;
  }
}

export function replicaWords(v: ReplicaVote): string {
  const heard = v.heardAgeMs === null ? "" : `, heard it ${duration(v.heardAgeMs)} ago`;
  switch (v.finds) {
    case "hears":
      return `${v.node} still hears it${v.heardAgeMs === null ? "" : `, ${duration(v.heardAgeMs)} ago`}`;
    case "lost":
      return `${v.node} has lost its connection to it${heard}`;
    case "silent":
      return `${v.node} no longer hears it${heard}`;
    case "stopped":
      return `${v.node}'s receiver is stopped: no witness`;
    case "elsewhere":
      return `${v.node} follows another server: no witness`;
    case "unreachable":
      return `${v.node} cannot be reached`;
    case "unknown":
      return `${v.node} has not been seen yet`;
  }
}

export function evidenceWords(d: Diagnosis): string[] {
  return [...d.probers.map(proberWords), ...d.replicas.map(replicaWords)];
}
