/** `baton abort`: a person ends the operation that the state names. It is written into the state, so that whoever runs it loses it. */
import { BatonError, type ClusterState, type CommandReply, type CommandRequest } from "@baton/contracts";
import { abortEnds, abort as aborted } from "@baton/protocol";

export interface AbortPorts {
  nowUnixMs(): number;
  get(cluster: string): Promise<{ value: ClusterState; revision: number } | null>;
  /** Compare-and-set; null when somebody was first. */
  update(cluster: string, state: ClusterState, revision: number): Promise<number | null>;
}

const TRIES = 8;

/** @throws BatonError E_NOT_FOUND when nothing runs, E_CONFLICT */
export async function abort(
  { cluster, by, reason }: CommandRequest<"abort">,
  ports: AbortPorts,
): Promise<CommandReply<"abort">> {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const found = await ports.get(cluster);
    const operation = found?.value.operation ?? null;
    if (found === null || operation === null)
      throw new BatonError("E_NOT_FOUND", {
        place: `abort ${cluster}`,
        message: "No operation is running there.",
        remedy: `baton history --cluster ${cluster} lists what has run.`,
      });
    const next = aborted(found.value, by, reason, ports.nowUnixMs());
    if ((await ports.update(cluster, next, found.revision)) === null) continue;
    return { cluster, operation: operation.id, phase: next.phase, ends: abortEnds(next) };
  }
  throw new BatonError("E_CONFLICT", {
    place: `abort ${cluster}`,
    message: `The state was changed ${TRIES} times while this was tried: the operation moves on.`,
    remedy: `Look at baton status ${cluster}, then say it again.`,
  });
}
