/** `baton apply`: puts the configuration's clusters into the bucket that every service takes them from. */
import { isDeepStrictEqual } from "node:util";
import type { Bus } from "@baton/bus";
import { BatonError, type Config, type DeclaredCluster } from "@baton/contracts";
import { accessTo } from "@baton/runtime";
import { askServers, type ServerAnswer } from "./ask-servers.ts";
import { changedNodes, judgeDeclaration, type KnownCluster, removedNodes } from "./declaration-rules.ts";
import { type Leaving, withLeaving } from "./take-leave.ts";

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

export interface DeclareOptions {
  by: "apply" | "up";
  prune?: boolean;
  force?: boolean;
  /** Node → the size that a person typed; null: none yet. */
  forceJoin?: ReadonlyMap<string, number | null>;
}

/** What would be written, and what speaks against it. */
export interface DeclarationPlan {
  changes: Change[];
  refusals: BatonError[];
  warnings: string[];
  /** Foreign servers, and how many transactions each would lose. */
  foreign: Map<string, number>;
  /** Who is taken out and counts until it has left: cluster → nodes. */
  leaving: Map<string, string[]>;
  /** Writes it, and says what is to be waited for (take-leave.ts). @throws BatonError the refusals, or E_CONFLICT */
  write(): Promise<Leaving[]>;
}

/** Reads the nodes wherever names or addresses change, and judges (declaration-rules.ts). Nothing is written yet. */
export async function planDeclaration(bus: Bus, config: Config, o: DeclareOptions): Promise<DeclarationPlan> {
  await bus.ensure();
  const [known, revisions] = await knownClusters(bus);
  const wanted = new Map(
    Object.keys(config.clusters)
      .sort()
      .map((cluster) => [cluster, declarationOf(cluster, config)] as const),
  );
  const nothing: KnownCluster = { declared: null, state: null, uuids: new Map() };
  const asked = new Map(
    await Promise.all(
      [...wanted].map(async ([cluster, declared]) => {
        const before = known.get(cluster)?.declared ?? null;
        const named = Object.keys(declared.nodes).some((node) => o.forceJoin?.has(node));
        const needed =
          named || changedNodes(declared, before).length > 0 || removedNodes(declared, before).length > 0;
        const answers = needed ? await askServers(declared.nodes, accessTo(config, cluster)) : new Map();
        return [cluster, answers as Map<string, ServerAnswer>] as const;
      }),
    ),
  );
  const plan: Omit<DeclarationPlan, "write"> = {
    changes: [],
    refusals: [],
    warnings: [],
    foreign: new Map(),
    leaving: new Map(),
  };
  const puts: { next: DeclaredCluster; before: DeclaredCluster | null }[] = [];
  const pruned: string[] = [];
  for (const [cluster, declared] of wanted) {
    const before = known.get(cluster) ?? nothing;
    const judged = judgeDeclaration({
      wanted: declared,
      before,
      answers: asked.get(cluster) ?? new Map(),
      others: othersOf(cluster, wanted, known, asked, o.prune === true),
      forceJoin: o.forceJoin ?? new Map(),
      force: o.force === true,
      by: o.by,
    });
    plan.refusals.push(...judged.refusals);
    plan.warnings.push(...judged.warnings);
    for (const [node, size] of judged.foreign) plan.foreign.set(node, size);
    const { accepted, leaving } = judged;
    const next = Object.keys(accepted).length === 0 ? declared : { ...declared, accepted };
    const details = before.declared === null ? [] : differences(before.declared, next);
    if (before.declared === null || details.length > 0) puts.push({ next, before: before.declared });
    if (leaving.length > 0) plan.leaving.set(cluster, leaving);
    const what = before.declared === null ? "added" : details.length > 0 ? "changed" : "same";
    plan.changes.push({ cluster, what, details });
  }
  for (const [cluster, { declared, state }] of known) {
    if (declared === null || wanted.has(cluster)) continue;
    const details = Object.keys(declared.nodes).map((node) => `nodes.${node}`);
    plan.changes.push({ cluster, what: o.prune ? "removed" : "stays", details });
    if (!o.prune) continue;
    pruned.push(cluster);
    if (state?.operation != null)
      plan.refusals.push(
        new BatonError("E_LOCKED", {
          place: `clusters.${cluster}`,
          message: `${state.operation.id} is running.`,
          remedy: "Wait until it has ended (baton status), then run baton apply --prune again.",
        }),
      );
  }
  const write = async () => {
    refuse(plan.refusals);
    const bucket = bus.bucket("baton_clusters");
    // Taken out first, so that no server is in two clusters at any moment.
    for (const cluster of pruned) {
      if (await bucket.remove(cluster, revisions.get(cluster) ?? 0)) continue;
      throw new BatonError("E_CONFLICT", {
        place: `baton_clusters ${cluster}`,
        message: "Somebody else has just changed this declaration.",
        remedy: "Run baton apply again.",
      });
    }
    // Nobody races for this bucket: the last `apply` counts.
    const left: Leaving[] = [];
    for (const { next, before } of puts) {
      const nodes = plan.leaving.get(next.cluster) ?? [];
      const revision = await bucket.put(next.cluster, withLeaving(next, before, nodes));
      if (nodes.length > 0) left.push({ cluster: next.cluster, nodes, without: next, revision });
    }
    return left;
  };
  return { ...plan, write };
}

/** Writes what is different, or says why not. @throws BatonError */
export async function declare(
  bus: Bus,
  config: Config,
  o: DeclareOptions,
): Promise<Pick<DeclarationPlan, "changes" | "warnings"> & { leaving: Leaving[] }> {
  const plan = await planDeclaration(bus, config, o);
  const leaving = await plan.write();
  return { ...plan, leaving };
}

/** Several refusals are one error: the first one's code, all their words. */
function refuse(refusals: readonly BatonError[]): void {
  const [first, ...more] = refusals;
  if (first === undefined) return;
  throw new BatonError(first.code, {
    place: first.place,
    message: [first, ...more].map((r) => r.message).join(" "),
    remedy: [...new Set(refusals.map((r) => r.remedy))].join(" "),
    exitCode: 1,
  });
}

function othersOf(
  cluster: string,
  wanted: ReadonlyMap<string, DeclaredCluster>,
  known: ReadonlyMap<string, KnownCluster>,
  asked: ReadonlyMap<string, ReadonlyMap<string, ServerAnswer>>,
  prune: boolean,
): Map<string, KnownCluster> {
  const others = new Map<string, KnownCluster>();
  for (const [name, of] of known)
    if (name !== cluster && of.declared !== null && !wanted.has(name) && !prune) others.set(name, of);
  for (const [name, declared] of wanted) {
    if (name === cluster) continue;
    const of = known.get(name);
    const uuids = new Map(of?.uuids);
    for (const [node, { status }] of asked.get(name) ?? [])
      if (status !== null) uuids.set(node, status.serverUuid);
    others.set(name, { declared, state: of?.state ?? null, uuids });
  }
  return others;
}

/** Every cluster that NATS knows, and the revision of its declaration. */
async function knownClusters(bus: Bus): Promise<[Map<string, KnownCluster>, Map<string, number>]> {
  const [clusters, states, vouches] = await Promise.all([
    allOf(bus, "baton_clusters"),
    allOf(bus, "baton_state"),
    allOf(bus, "baton_vouch"),
  ]);
  const names = new Set([...clusters.keys(), ...states.keys()]);
  const known = new Map(
    [...names].map((cluster) => [
      cluster,
      {
        declared: clusters.get(cluster)?.value ?? null,
        state: states.get(cluster)?.value ?? null,
        // The ledger is younger: a node may have got another server since it was primary.
        uuids: new Map([
          ...Object.entries(states.get(cluster)?.value.servers ?? {}),
          ...[...vouches.values()]
            .filter(({ value }) => value.cluster === cluster)
            .map(({ value }) => [value.node, value.serverUuid] as const),
        ]),
      },
    ]),
  );
  return [known, new Map([...clusters].map(([cluster, { revision }]) => [cluster, revision]))];
}

async function allOf<B extends "baton_clusters" | "baton_state" | "baton_vouch">(bus: Bus, bucket: B) {
  type Value = NonNullable<Awaited<ReturnType<ReturnType<typeof bus.bucket<B>>["get"]>>>["value"];
  const all = new Map<string, { value: Value; revision: number }>();
  const ready = Promise.withResolvers<void>();
  const stop = await bus.bucket(bucket).watch({
    onChange: (key, value, revision) => {
      if (value) all.set(key, { value: value as Value, revision });
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
      if ("host" in a && "host" in b && brief(a) !== brief(b)) {
        lines.push(`${path}: moved (${brief(a)} → ${brief(b)})`);
        return visit(path, { ...a, host: b.host, port: b.port }, b);
      }
      for (const key of new Set([...Object.keys(a), ...Object.keys(b)]))
        visit(join(path, key), a[key], b[key]);
      return;
    }
    lines.push(`${path}: ${brief(a)} → ${brief(b)}`);
  };
  const said = ({ nodes, policy, accepted = {} }: DeclaredCluster) => ({ nodes, policy, accepted });
  visit("", said(before), said(after));
  return lines;
}

const join = (path: string, key: string) => (path === "" ? key : `${path}.${key}`);
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function brief(value: unknown): string {
  if (isRecord(value) && "host" in value) return `${value.host}:${value.port}`;
  return isRecord(value) ? JSON.stringify(value) : String(value);
}
