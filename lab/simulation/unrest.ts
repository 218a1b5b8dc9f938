/** What is not as it should be in a cluster that has had time to recover; null when all is. */
import type { Incident } from "./incident.ts";
import type { Broken } from "./promises.ts";

export function unrest(incident: Incident): Pick<Broken, "promise" | "what"> | null {
  const { state } = incident;
  if (incident.stateNow === null)
    return { promise: "nothing-stopped", what: "NATS has no state of the cluster" };
  if (state.phase !== "steady")
    return { promise: "ends", what: `${state.operation?.id} has not ended (${state.phase}@${state.epoch})` };
  const stopped = (what: string) => ({ promise: "nothing-stopped" as const, what });
  for (const server of incident.servers) {
    const { name, channel } = server;
    if (name === state.primary) {
      if (!server.writable) return stopped(`${name} is the primary and takes no writes`);
      if (!server.semiSource) return stopped(`${name} is the primary and its semi-sync is off`);
      if (server.acks !== incident.plan.shape.acks) return stopped(`${name} waits for ${server.acks} acks`);
      continue;
    }
    if (server.writable) return { promise: "one-pen", what: `${name} takes writes beside ${state.primary}` };
    if (server.semiSource) return stopped(`${name} is a replica with semi-sync source on`);
    if (state.quarantined.includes(name)) {
      if (channel.semiSyncActive) return stopped(`${name} is quarantined and acknowledges`);
      continue;
    }
    if (incident.leftToPerson(server)) continue;
    if (channel.source?.host !== incident.server(state.primary).host)
      return stopped(`${name} follows ${channel.source?.host ?? "nobody"}, not ${state.primary}`);
    if (channel.receiver !== "on") return stopped(`${name}'s receiver is ${channel.receiver}`);
    if (channel.applier !== "on") return stopped(`${name}'s applier is off`);
    if (!channel.semiSyncActive) return stopped(`${name} does not acknowledge`);
  }
  return null;
}
