/** Every command that names a cluster refuses an unknown one alike, with the nearest name. */
import { BatonError } from "@baton/contracts";
import { nearest } from "@baton/runtime";

/** @throws BatonError E_NOT_FOUND */
export function requireKnown(cluster: string, declared: readonly string[], place: string): void {
  if (declared.includes(cluster)) return;
  const near = nearest(cluster, declared);
  throw new BatonError("E_NOT_FOUND", {
    place,
    message: `No cluster is called ${JSON.stringify(cluster)}.${near === null ? "" : ` Did you mean ${near}?`}`,
    remedy: "`baton status` without a name lists all; `baton apply` declares one.",
  });
}
