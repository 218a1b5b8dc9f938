/** What an incident is made of, drawn from its seed: the cluster, its network, Baton's processes and what befalls them. */
import type { Random } from "./random.ts";

export interface Shape {
  nodes: number;
  acks: number;
  deciders: number;
  executors: number;
  probers: number;
  writers: number;
  thinkMs: number;
  delayMs: number;
  jitterMs: number;
  loss: number;
  /** How often a message of a stream comes twice. */
  again: number;
  flushMs: number;
  applyMs: number[];
  relayLogRecovery: boolean[];
  /** Whose appliers leave gaps. */
  outOfOrder?: boolean[];
}

export type Fault =
  | {
      type: "kill-node";
      node: number;
      atMs: number;
      forMs: number;
      /** It comes back with a disk that is so much older: a restored snapshot, or settings that do not sync. The primary's alone. */
      olderMs?: number;
    }
  | { type: "pause-node"; node: number; atMs: number; forMs: number }
  | { type: "cut"; from: string[]; to: string[]; both: boolean; atMs: number; forMs: number }
  | { type: "nats"; atMs: number; forMs: number }
  | {
      type: "strike";
      process: string;
      effect: number;
      when: "before" | "after";
      how: "kill" | "kill-host" | "pause";
      atMs: number;
      forMs: number;
    }
  | { type: "pause-prober"; prober: number; atMs: number; forMs: number }
  | { type: "clock"; process: string; byMs: number; atMs: number }
  | { type: "switchover"; to: string | null; atMs: number }
  | { type: "errant"; node: number; atMs: number }
  /** A person switches semi-sync off on the primary, and on again. */
  | { type: "semi-sync"; atMs: number; forMs: number }
  /** A server that nobody declared attaches to the primary and acknowledges. */
  | { type: "undeclared"; atMs: number; forMs: number }
  /** NATS comes back as it was so long ago: its servers lost what they had not synced, or a person restored a copy. */
  | { type: "nats-forgets"; byMs: number; atMs: number }
  | { type: "bucket-deleted"; bucket: (typeof DELETED)[number]; atMs: number };

export const DELETED = ["baton_state", "baton_marks", "baton_vouch"] as const;

export interface Plan {
  shape: Shape;
  faults: Fault[];
  /** When everything is made whole again. */
  healMs: number;
}

/** No mysqld is back sooner. */
const BOOT_MS = 300;

/** Deciders have seen the cluster well by now. */
export const CALM_MS = 1_300;

export const nodeName = (index: number): string => `n${index + 1}`;
export const deciderName = (index: number): string => `decider-${index + 1}`;
export const executorName = (index: number): string => `executor-${index + 1}`;
export const proberName = (index: number): string => `prober-${index + 1}`;
const names = (count: number, of: (index: number) => string): string[] =>
  Array.from({ length: count }, (_, i) => of(i));

export function drawPlan(random: Random): Plan {
  const shape = drawShape(random);
  const faults: Fault[] = [];
  const soon = (): number =>
    CALM_MS + (random.chance(0.5) ? random.between(0, 400) : random.between(0, 4_000));
  const time = (): number => random.logBetween(5, 9_000);
  const main = random.next();
  if (main < 0.75) faults.push(...drawPrimaryFault(random, shape, CALM_MS + random.between(0, 200), time()));
  if (main > 0.6) faults.push({ type: "switchover", to: drawTarget(random, shape), atMs: soon() });
  if (random.chance(0.35)) faults.push(...drawReplicaFault(random, shape, soon(), time()));
  if (random.chance(0.15)) faults.push(...drawReplicaFault(random, shape, soon(), time()));
  if (random.chance(0.15)) faults.push(...drawPrimaryFault(random, shape, soon(), time()));
  for (let i = 0; i < shape.executors; i++)
    if (random.chance(0.4)) faults.push(drawStrike(random, executorName(i), 80, CALM_MS - 100, time()));
  for (let i = 0; i < shape.deciders; i++)
    if (random.chance(0.12)) faults.push(drawStrike(random, deciderName(i), 20, CALM_MS, time()));
  if (random.chance(0.1))
    faults.push({
      type: "pause-prober",
      prober: random.int(0, shape.probers - 1),
      atMs: soon(),
      forMs: time(),
    });
  if (random.chance(0.12)) faults.push({ type: "nats", atMs: soon(), forMs: random.between(100, 8_000) });
  if (random.chance(0.12)) faults.push(drawNatsCut(random, shape, soon(), time()));
  if (random.chance(0.08))
    faults.push({
      type: "clock",
      process: random.pick([...names(shape.deciders, deciderName), ...names(shape.executors, executorName)]),
      byMs: random.between(-3_600_000, 3_600_000),
      atMs: soon(),
    });
  if (random.chance(0.04))
    faults.push({ type: "errant", node: random.int(1, shape.nodes - 1), atMs: soon() });
  faults.sort((a, b) => a.atMs - b.atMs);
  const lastMs = Math.max(...faults.map((f) => f.atMs), CALM_MS);
  return { shape, faults, healMs: lastMs + random.logBetween(200, 5_000) };
}

/** An older disk lacks more than the high-water mark can be behind (docs/decisions/0018). */
const OLDER_MS = { least: 1_500, most: 6_000 };

/** From a source of its own, so that what was drawn before is drawn as ever: the first death of the first primary may cost it a tail. */
export function drawTails(plan: Plan, random: Random): Plan {
  const at = plan.faults.findIndex((f) => f.type === "kill-node" && f.node === 0);
  // Relay logs that go, or a history of its own, on a replica too, and somebody must decide: that is no recovery to be asked for.
  const others = plan.shape.relayLogRecovery.some(Boolean) || plan.faults.some((f) => f.type === "errant");
  if (at < 0 || others || !random.chance(0.15)) return plan;
  const olderMs = random.logBetween(OLDER_MS.least, OLDER_MS.most);
  return {
    ...plan,
    faults: plan.faults.map((f, i) => (i === at && f.type === "kill-node" ? { ...f, olderMs } : f)),
  };
}

const SEEN_THROUGH: ReadonlySet<Fault["type"]> = new Set<Fault["type"]>([
  "kill-node",
  "switchover",
  "strike",
]);
/** Longer than a silence may last until it is taken for something else. */
const LONG_SILENT_MS = 3_600;

function drawSilentAcker(random: Random, shape: Shape): Fault[] {
  const node = random.int(1, shape.nodes - 1);
  const others = names(shape.nodes, nodeName).filter((n) => n !== nodeName(node) && n !== nodeName(0));
  const atMs = CALM_MS + random.between(0, 200);
  const deadMs = atMs + LONG_SILENT_MS + random.between(0, 1_500);
  const away = [...names(shape.probers, proberName), ...names(shape.executors, executorName)];
  const forMs = deadMs - atMs + random.between(500, 2_500);
  // The others hear less of the primary than he, so that he holds alone what was acknowledged last.
  const behind: Fault[] = random.chance(0.5)
    ? [
        {
          type: "cut",
          from: ["n1"],
          to: others.slice(shape.acks - 1),
          both: true,
          atMs: deadMs - 300,
          forMs: 290,
        },
      ]
    : [];
  return [
    { type: "cut", from: [nodeName(node)], to: away, both: true, atMs, forMs },
    ...behind,
    { type: "kill-node", node: 0, atMs: deadMs, forMs: random.between(2_500, 6_000) },
  ];
}

/** From a source of its own, too: what else the world is wider by than the first draw. */
export function drawWider(plan: Plan, random: Random): Plan {
  const outOfOrder = Array.from({ length: plan.shape.nodes }, () => random.chance(0.1));
  const faults: Fault[] = [];
  const atMs = CALM_MS + (random.chance(0.5) ? random.between(0, 400) : random.between(0, 4_000));
  const forMs = random.logBetween(50, 9_000);
  const what = random.next();
  if (what < 0.03) faults.push({ type: "nats-forgets", byMs: random.logBetween(5, 4_000), atMs });
  else if (what < 0.06) faults.push({ type: "bucket-deleted", bucket: random.pick(DELETED), atMs });
  // What Baton cannot have seen yet it cannot refuse for: these two want probers and NATS that see.
  else if (plan.faults.every((f) => SEEN_THROUGH.has(f.type))) {
    if (what < 0.1) faults.push({ type: "semi-sync", atMs, forMs });
    else if (what < 0.14) faults.push({ type: "undeclared", atMs, forMs });
  }
  // Somebody cut off from probers alone, and later his primary dies: who is only silent may have acknowledged.
  if (random.chance(0.02)) faults.push(...drawSilentAcker(random, plan.shape));
  if (faults.length === 0) return { ...plan, shape: { ...plan.shape, outOfOrder } };
  const all = [...plan.faults, ...faults].sort((a, b) => a.atMs - b.atMs);
  const lastMs = all.at(-1)?.atMs ?? 0;
  const healMs = plan.healMs + Math.max(0, lastMs - (plan.faults.at(-1)?.atMs ?? 0));
  return { shape: { ...plan.shape, outOfOrder }, faults: all, healMs };
}

function drawShape(random: Random): Shape {
  const nodes = random.pick([3, 3, 3, 3, 4, 4, 5]);
  const slow = random.chance(0.15);
  return {
    nodes,
    acks: nodes === 3 ? 1 : random.int(1, nodes - 2),
    deciders: random.pick([1, 1, 2]),
    executors: random.pick([1, 2, 2, 3]),
    probers: random.pick([1, 1, 2, 3]),
    writers: random.int(1, 3),
    thinkMs: random.logBetween(10, 200),
    delayMs: slow ? random.between(1, 20) : 0.1,
    jitterMs: slow ? random.between(1, 30) : random.logBetween(0.05, 2),
    loss: random.chance(0.15) ? random.between(0.001, 0.05) : 0,
    again: random.chance(0.2) ? 0.3 : 0,
    flushMs: random.logBetween(0.2, 5),
    applyMs: Array.from({ length: nodes }, () =>
      random.chance(0.15) ? random.logBetween(5, 400) : random.logBetween(0.1, 2),
    ),
    relayLogRecovery: Array.from({ length: nodes }, () => random.chance(0.05)),
  };
}

function drawTarget(random: Random, shape: Shape): string | null {
  return random.chance(0.5) ? null : nodeName(random.int(1, shape.nodes - 1));
}

function drawPrimaryFault(random: Random, shape: Shape, atMs: number, forMs: number): Fault[] {
  return drawNodeFault(random, shape, 0, atMs, forMs);
}

function drawReplicaFault(random: Random, shape: Shape, atMs: number, forMs: number): Fault[] {
  return drawNodeFault(random, shape, random.int(1, shape.nodes - 1), atMs, forMs);
}

function drawNodeFault(random: Random, shape: Shape, node: number, atMs: number, forMs: number): Fault[] {
  const how = random.next();
  if (how < 0.5) return [{ type: "kill-node", node, atMs, forMs: Math.max(forMs, BOOT_MS) }];
  if (how < 0.7) return [{ type: "pause-node", node, atMs, forMs }];
  const me = nodeName(node);
  const others = names(shape.nodes, nodeName).filter((n) => n !== me);
  const probers = names(shape.probers, proberName);
  const hands = names(shape.executors, executorName);
  const groups = random.pick([
    [...others, ...probers, ...hands, "clients"],
    [...others, ...probers, ...hands],
    probers,
    others,
    [...others, ...probers],
    [random.pick(others)],
    hands,
  ]);
  const both = random.chance(0.7);
  return random.chance(0.5)
    ? [{ type: "cut", from: [me], to: groups, both, atMs, forMs }]
    : [{ type: "cut", from: groups, to: [me], both, atMs, forMs }];
}

function drawNatsCut(random: Random, shape: Shape, atMs: number, forMs: number): Fault {
  const some = random.pick([
    [random.pick(names(shape.executors, executorName))],
    [random.pick(names(shape.deciders, deciderName))],
    [random.pick(names(shape.probers, proberName))],
    names(shape.executors, executorName),
  ]);
  return { type: "cut", from: some, to: ["nats"], both: random.chance(0.6), atMs, forMs };
}

/** Somebody who sleeps for so long finds on waking that another has taken over, and perhaps ended. */
const TAKEN_OVER_MS = 5_200;

/** Half of the strikes hit the first effects, where hands are taken and states claimed. */
function drawStrike(random: Random, process: string, most: number, atMs: number, forMs: number): Fault {
  const how = random.pick(["kill", "kill-host", "pause", "pause", "pause"] as const);
  return {
    type: "strike",
    process,
    effect: Math.ceil(random.logBetween(1, most)),
    when: random.chance(0.5) ? "before" : "after",
    how,
    atMs,
    forMs: how === "pause" && random.chance(0.4) ? random.between(TAKEN_OVER_MS, 2 * TAKEN_OVER_MS) : forMs,
  };
}
