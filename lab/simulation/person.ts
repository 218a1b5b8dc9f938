/**
 * A person at the end of an incident that Baton has not brought to its end: does what the refusal that stands names, by
 * documented commands. What needed nobody must not need one: only who waits for long enough is helped.
 */
import type { ClusterState } from "@baton/contracts";
import type { Incident } from "./incident.ts";
import { statusOf } from "./prober.ts";

export function helpOut(incident: Incident): void {
  if (recover(incident)) return;
  const { process, bus } = [...incident.deciders.values()].find((d) => d.process.up) ?? {};
  if (process === undefined || bus === undefined) return;
  const ask = (acceptUnproven: boolean) =>
    bus.ask("failover", {
      cluster: incident.state.cluster,
      to: null,
      dryRun: !acceptUnproven,
      acceptLoss: null,
      acceptUnproven,
      by: "a person",
    });
  const failed = (error: unknown) =>
    incident.trace(process.name, `refuses a person: ${error instanceof Error ? error.message : error}`);
  incident.timeline.after(0, process, () => {
    ask(false)
      .then(
        // What Baton would do unasked it has to do by itself.
        () => undefined,
        (error: unknown) => {
          failed(error);
          return ask(true).then(() => done(incident, "failover --accept-unproven"));
        },
      )
      .catch(async (error: unknown) => {
        failed(error);
        // Nothing is lost: what stands still is started again, fault by fault.
        const repair = {
          cluster: incident.state.cluster,
          node: null,
          dryRun: false,
          inject: false,
          keep: false,
        };
        await bus.ask("repair", repair);
        done(incident, "repair");
      })
      .catch(failed);
  });
}

function done(incident: Incident, command: string): void {
  incident.trace(null, `a person: baton ${command}`);
  incident.byPerson.push(command);
}

/** As cli/recover proposes it: the primary that the latest row names, in its epoch. */
function recover(incident: Incident): boolean {
  const now = incident.stateNow;
  const top = incident.servers.reduce<Incident["servers"][number] | null>(
    (best, s) => ((s.row?.epoch ?? 0) > (best?.row?.epoch ?? 0) ? s : best),
    null,
  );
  const row = top?.row;
  const primary = incident.servers.find((s) => s.uuid === row?.primaryUuid);
  if (row == null || primary === undefined) return false;
  const fits =
    now !== null &&
    (now.epoch > row.epoch ||
      (now.epoch === row.epoch && (now.phase !== "steady" || now.primary === primary.name)));
  if (fits) return false;
  // With two that take writes it asks for a person's word first.
  if (incident.servers.some((s) => s !== primary && s.writable)) return false;
  const { cluster, quarantined, failovers, installation } = incident.state;
  incident.nats.bucket("baton_state").put(
    cluster,
    {
      cluster,
      epoch: row.epoch,
      primary: primary.name,
      primaryUuid: primary.uuid,
      installation: installation ?? row.installation,
      phase: "steady",
      operation: null,
      last: null,
      quarantined: quarantined.filter((node) => node !== primary.name),
      failovers,
      ...(primary.writable ? { primaryStartedUnixS: statusOf(primary).startedUnixS } : {}),
    } satisfies ClusterState,
    null,
  );
  done(incident, "recover");
  return true;
}
