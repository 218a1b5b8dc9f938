/**
 * What `baton apply` takes out leaves first: it stays declared, as `leaving`, and counts until the state says that it does not. Then the
 * declaration is written without it.
 */
import type { Bus } from "@baton/bus";
import type { DeclaredCluster } from "@baton/contracts";
import { notCounted } from "@baton/protocol";

/** Who leaves which cluster, and what is declared when all have. */
export interface Leaving {
  cluster: string;
  nodes: string[];
  without: DeclaredCluster;
  /** Of the declaration that names them as leaving. */
  revision: number;
}

/** The declaration that still names them: never promoted, and counted until they have left. */
export function withLeaving(
  without: DeclaredCluster,
  before: DeclaredCluster | null,
  leaving: readonly string[],
): DeclaredCluster {
  if (before === null || leaving.length === 0) return without;
  const still = leaving.flatMap((node) => {
    const was = before.nodes[node];
    return was === undefined ? [] : [[node, { ...was, promotion: "never" as const }] as const];
  });
  return {
    ...without,
    nodes: { ...without.nodes, ...Object.fromEntries(still) },
    leaving: still.map(([node]) => node),
  };
}

/**
 * Waits until they have left, and takes them out then. Returns those that count still when the signal comes; whatever else has changed the
 * declaration meanwhile stays.
 */
export async function takeLeave(bus: Bus, leaving: Leaving, signal: AbortSignal): Promise<string[]> {
  const { cluster, nodes, without, revision } = leaving;
  let still = nodes;
  const settled = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => settled.resolve(), { once: true });
  const stop = await bus.bucket("baton_state").watch({
    onChange: (key, state) => {
      if (key !== cluster || state == null) return;
      const out = notCounted(state);
      still = nodes.filter((node) => !out.includes(node));
      if (still.length === 0) settled.resolve();
    },
  });
  if (signal.aborted) settled.resolve();
  await settled.promise;
  stop();
  if (still.length === 0) await bus.bucket("baton_clusters").update(cluster, without, revision);
  return still;
}
