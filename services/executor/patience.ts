/**
 * For how long this executor has seen an operation stand before its commit point, or behind it, by its own monotonic clock: the dates in the
 * state are by the clock of whoever wrote them, which may be hours off. Every executor watches every state, so a successor
 * has mostly seen the operation begin; one that has just started is patient from then on.
 */
import type { ClusterState } from "@baton/contracts";

interface Seen {
  operation: string;
  /** When it was first seen, and when first seen behind its commit point. */
  beganMs: number;
  committedMs: number | null;
}

export class Patience {
  /** One entry a cluster: of the operation that its state named last. */
  readonly #seen = new Map<string, Seen>();

  /** `nowMs` is monotonic. */
  saw(cluster: string, state: ClusterState | null, nowMs: number): void {
    const operation = state?.operation ?? null;
    if (operation === null) {
      this.#seen.delete(cluster);
      return;
    }
    let seen = this.#seen.get(cluster);
    if (seen?.operation !== operation.id) {
      seen = { operation: operation.id, beganMs: nowMs, committedMs: null };
      this.#seen.set(cluster, seen);
    }
    if (operation.committedUnixMs !== undefined) seen.committedMs ??= nowMs;
  }

  /** For how long the state's operation has stood on its side of the commit point; 0 for one not seen before. */
  standingMs(state: ClusterState, nowMs: number): number {
    const { operation, cluster } = state;
    if (operation === null) return 0;
    const seen = this.#seen.get(cluster);
    if (seen?.operation !== operation.id) return 0;
    const sinceMs = operation.committedUnixMs === undefined ? seen.beganMs : seen.committedMs;
    return sinceMs === null ? 0 : nowMs - sinceMs;
  }
}
