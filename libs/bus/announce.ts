/** A service's sign of life in `baton_presence`: renewed three times within its TTL, gone when it ends or dies. */
import { PRESENCE_TTL_S, type Presence } from "@baton/contracts";
import type { Bucket } from "./bucket.ts";
import type { Link } from "./link.ts";
import { describe } from "./retry.ts";

/** Returns how to stop: the entry is then removed. */
export function announce(link: Link, bucket: Bucket<Presence>, presence: Presence): () => Promise<void> {
  const key = `${presence.service}.${presence.instance}`;
  let stopped = false;
  let revision: number | null = null;
  let renewing: Promise<void> | null = null;
  let said = false;

  const renew = (): void => {
    if (stopped || renewing || !link.connected) return;
    renewing = bucket
      .put(key, presence)
      .then((now) => {
        revision = now;
        said = false;
      })
      .catch((error: unknown) => {
        if (said || stopped) return;
        said = true;
        link.log.warn(
          { key, error: describe(error) },
          `Presence could not be renewed (${describe(error)}); tried again`,
        );
      })
      .finally(() => {
        renewing = null;
      });
  };
  renew();
  const timer = setInterval(renew, (PRESENCE_TTL_S * 1_000) / 3);
  const offStatus = link.onStatus((connected) => {
    if (connected) renew();
  });

  return async () => {
    if (stopped) return;
    stopped = true;
    clearInterval(timer);
    offStatus();
    await renewing;
    if (revision !== null && link.connected) await bucket.remove(key, revision).catch(() => {});
  };
}
