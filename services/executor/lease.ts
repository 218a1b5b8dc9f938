/** The cluster's lock in the hands of a running operation: taken over from the decider, renewed, given back. */
import type { LockHolder } from "@baton/contracts";

export interface LockPorts {
  get(cluster: string): Promise<{ value: LockHolder; revision: number } | null>;
  create(cluster: string, holder: LockHolder): Promise<number | null>;
  update(cluster: string, holder: LockHolder, revision: number): Promise<number | null>;
  remove(cluster: string, revision: number): Promise<boolean>;
}

/** Three renewals may fail before the lease of 15 s ends. */
const RENEW_MS = 4_000;

/**
 * Not a fence: MySQL sessions and compare-and-set are. It only keeps others from starting on the same cluster, so
 * losing it ends the operation, and a renewal that NATS does not answer is simply tried again.
 */
export class Lease {
  readonly #cluster: string;
  readonly #holder: LockHolder;
  readonly #ports: LockPorts;
  readonly #onLost: (by: string) => void;
  #revision: number;
  #timer: NodeJS.Timeout | null = null;
  #renewing: Promise<void> = Promise.resolve();
  #ended = false;
  #held = false;

  constructor(
    cluster: string,
    holder: LockHolder,
    revision: number,
    ports: LockPorts,
    onLost: (by: string) => void,
  ) {
    this.#cluster = cluster;
    this.#holder = holder;
    this.#revision = revision;
    this.#ports = ports;
    this.#onLost = onLost;
  }

  /** Starts renewing at once, beside the operation: the decider's lease is fresh when the intent arrives. */
  begin(): void {
    this.#renewing = this.#renew();
  }

  async end(): Promise<void> {
    this.#ended = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#renewing;
    // When it is not removed it expires.
    await this.#ports.remove(this.#cluster, this.#revision).catch(() => false);
  }

  /** The lock of our own operation is ours to take once; when another has taken it from us since, it is theirs. */
  #mayTake(found: LockHolder): boolean {
    if (found.operation !== this.#holder.operation) return false;
    return !this.#held || found.holder === this.#holder.holder;
  }

  async #renew(): Promise<void> {
    try {
      let revision = await this.#ports.update(this.#cluster, this.#holder, this.#revision);
      if (revision === null) {
        const found = await this.#ports.get(this.#cluster);
        if (found === null) revision = await this.#ports.create(this.#cluster, this.#holder);
        else if (this.#mayTake(found.value))
          revision = await this.#ports.update(this.#cluster, this.#holder, found.revision);
        else if (!this.#ended) {
          this.#ended = true;
          this.#onLost(`${found.value.operation} (${found.value.holder})`);
          return;
        }
      }
      if (revision !== null) {
        this.#revision = revision;
        this.#held = true;
      }
    } catch {
      // NATS does not answer: the next renewal tries again, and no fence hangs on this one.
    }
    if (!this.#ended) {
      this.#timer = setTimeout(() => {
        this.#renewing = this.#renew();
      }, RENEW_MS);
    }
  }
}
