/** `baton apply`: puts the configuration's clusters into the bucket that every service takes them from. */
import { isDeepStrictEqual } from "node:util";
import type { Bus } from "@baton/bus";
import { BatonError, type Config, type DeclaredCluster } from "@baton/contracts";

export interface Change {
  cluster: string;
  /** `same`: it was so already. `stays`: it is in NATS and not in the configuration. */
  what: "added" | "changed" | "same" | "removed" | "stays";
  /** What is different, one line each: `nodes.n3: added (10.0.0.3:3306)`. */
  details: string[];
}

export function declarationOf(cluster: string, config: Config): DeclaredCluster {
  const declared = config.clusters[cluster];
  if (!declared) throw new Error(`no cluster ${cluster} in the configuration`);
  // Accounts stay in the configuration: what lies in NATS may be read by whoever may read NATS.
  const { nodes, policy } = declared;
  return { cluster, nodes, policy };
}

/** Writes what is different. Nobody races for this bucket: the last `apply` counts. */
export async function declare(bus: Bus, config: Config, o: { prune: boolean }): Promise<Change[]> {
  await bus.ensure();
  const bucket = bus.bucket("baton_clusters");
  const changes: Change[] = [];
  for (const cluster of Object.keys(config.clusters).sort()) {
    const wanted = declarationOf(cluster, config);
    const found = await bucket.get(cluster);
    const details = found ? differences(found.value, wanted) : [];
    if (!found || details.length > 0) await bucket.put(cluster, wanted);
    changes.push({ cluster, what: found ? (details.length > 0 ? "changed" : "same") : "added", details });
  }
  for (const { key, value, revision } of await allOf(bus)) {
    if (Object.hasOwn(config.clusters, key)) continue;
    if (o.prune && !(await bucket.remove(key, revision))) {
      throw new BatonError("E_CONFLICT", {
        place: `baton_clusters ${key}`,
        message: "Somebody else has just changed this declaration.",
        remedy: "Run baton apply again.",
      });
    }
    changes.push({
      cluster: key,
      what: o.prune ? "removed" : "stays",
      details: Object.keys(value.nodes).map((node) => `nodes.${node}`),
    });
  }
  return changes;
}

async function allOf(bus: Bus): Promise<{ key: string; value: DeclaredCluster; revision: number }[]> {
  const all: { key: string; value: DeclaredCluster; revision: number }[] = [];
  const ready = Promise.withResolvers<void>();
  const stop = await bus.bucket("baton_clusters").watch({
    onChange: (key, value, revision) => {
      if (value) all.push({ key, value, revision });
    },
    onReady: () => ready.resolve(),
  });
  await ready.promise;
  stop();
  return all;
}

/** Every setting that differs, by its path. Pure. */
export function differences(before: DeclaredCluster, after: DeclaredCluster): string[] {
  const lines: string[] = [];
  const visit = (path: string, a: unknown, b: unknown) => {
    if (isDeepStrictEqual(a, b)) return;
    if (a === undefined) return void lines.push(`${path}: added (${brief(b)})`);
    if (b === undefined) return void lines.push(`${path}: removed (${brief(a)})`);
    if (isRecord(a) && isRecord(b)) {
      for (const key of new Set([...Object.keys(a), ...Object.keys(b)]))
        visit(join(path, key), a[key], b[key]);
      return;
    }
    lines.push(`${path}: ${brief(a)} → ${brief(b)}`);
  };
  visit("", { nodes: before.nodes, policy: before.policy }, { nodes: after.nodes, policy: after.policy });
  return lines;
}

const join = (path: string, key: string) => (path === "" ? key : `${path}.${key}`);
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function brief(value: unknown): string {
  if (isRecord(value) && "host" in value) return `${value.host}:${value.port}`;
  return isRecord(value) ? JSON.stringify(value) : String(value);
}
