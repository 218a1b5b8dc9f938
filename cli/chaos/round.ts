/** One round: writers, the faults of its plan, healing, and the checker's verdict. Times are monotonic milliseconds of this process. */
import { setTimeout as pause } from "node:timers/promises";
import { BatonError, type OperationSummary, type RefusalCode } from "@baton/contracts";
import { type Ack, monotonicMs } from "@baton/lab";
import {
  check,
  type DrawnFault,
  type FinalNode,
  faultNamed,
  type Heal,
  longestSilence,
  lostWrites,
  type Reign,
  type RoundPlan,
  type RoundRecord,
  type RoundResult,
  rightOutcome,
  type Scene,
} from "@baton/lab/chaos";
import { finalNodes } from "./final-nodes.ts";
import type { ChaosStage } from "./stage.ts";

const WRITERS = 2;
const WRITER = { connections: 2, paceMs: 15 };
/** Before the first fault. */
const WARM_ACKS = 30;
const WARM_MS = 30_000;
/** What a failover may take beyond the time that its fault stands anyway. Clients wait for less; the rest is for a busy machine. */
const PATIENCE_MS = 20_000;
/** A rebuild copies 100 MB and restarts a server; a dead NATS leader costs 7 s. */
const SETTLE_MS = 120_000;
const CATCH_UP_MS = 20_000;
const AUDIT_MS = 20_000;
const OPERATIONS_ASKED = 60;

/** Ends of operations that say that somebody else was first: no refusals. */
const OVERTAKEN: readonly string[] = ["state-changed", "lock-lost", "executor-lost"];

export interface PlayedRound {
  result: RoundResult;
  /** When its first fault was made: its story begins there. */
  sinceMs: number;
  /** False: the cluster is not whole; no other round can be played on it. */
  whole: boolean;
}

export async function playRound(
  stage: ChaosStage,
  seed: number,
  plan: RoundPlan,
  signal: AbortSignal,
): Promise<PlayedRound> {
  const startedMs = monotonicMs();
  const [main, ...others] = [
    plan.main,
    ...plan.faults.map(({ name }) => name).filter((name) => name !== plan.main),
  ];
  const right = rightOutcome(faultNamed(main as string), others.map(faultNamed));
  const view = await stage.status();
  if (!view) throw new Error("a settled stage has a status");
  const scene = stage.scene(view);
  const [first] = await scene.primary.query<{ server: string }>("SELECT @@server_uuid AS server");
  const before = new Set((await stage.operations(OPERATIONS_ASKED)).map(({ operation }) => operation));

  const acks: Ack[] = [];
  const writers = Array.from({ length: WRITERS }, () =>
    stage.lab.writer({ ...WRITER, onAck: (ack) => acks.push(ack) }),
  );
  try {
    await until(() => acks.length >= WARM_ACKS, WARM_MS, signal);
    const faultMs = monotonicMs() + Math.max(0, -(plan.faults[0]?.atMs ?? 0));
    const standing = new Standing(scene, signal);
    const refused = () => stage.refusals.some(({ atMs }) => atMs >= faultMs);
    const recovered = () => acks.some(({ sentMs }) => sentMs > standing.lastMadeMs);
    try {
      for (const fault of plan.faults) await standing.make(fault, faultMs);
      const stands = plan.faults.find(({ name }) => name === plan.main) as DrawnFault;
      await until(() => false, Math.max(0, faultMs + stands.lastsMs - monotonicMs()), signal);
      if (right.expects === "failover") await until(() => recovered() || refused(), PATIENCE_MS, signal);
      if (right.expects === "refuse") await until(refused, PATIENCE_MS, signal);
      if (right.expects === "either") await until(() => recovered() || refused(), PATIENCE_MS / 4, signal);
    } finally {
      await standing.healAll();
    }
    const [healedMs, healedUnixMs] = [monotonicMs(), Date.now()];
    const recoveredBeforeHealing = acks.some(
      ({ sentMs, atMs }) => sentMs > standing.lastMadeMs && atMs < standing.healingMs,
    );
    const recoveredAfterHealing = await until(
      () => acks.some(({ sentMs }) => sentMs > healedMs),
      SETTLE_MS,
      signal,
    );
    const notWhole = await stage.settled(SETTLE_MS, signal);
    const settledMs = monotonicMs();
    await Promise.all(writers.map((writer) => writer.stop().catch(() => undefined)));

    const audit = await readAudit(stage, before, signal);
    const reigns: Reign[] = [{ epoch: view.epoch, server: first?.server ?? "" }, ...audit.reigns];
    const primaryNow = (await stage.status().catch(() => null))?.primary ?? scene.primary.name;
    const tags = [...new Set(acks.map(({ id }) => id.slice(0, id.indexOf("-"))))];
    const nodes: readonly FinalNode[] | { notWhole: string } =
      notWhole === null ? await finalNodes(stage.lab, primaryNow, tags, CATCH_UP_MS) : { notWhole };
    const record: RoundRecord = {
      acks,
      reigns,
      begunBeforeHealing: audit.reigns.filter(
        ({ atUnixMs }) => atUnixMs < healedUnixMs - (healedMs - standing.healingMs),
      ).length,
      operations: audit.operations.map(({ operation, kind, outcome, code }) => ({
        id: operation,
        kind,
        outcome,
        code,
      })),
      nodes,
      primaryHost: stage.lab.node(primaryNow).host,
      leftOver: { processes: stage.stopped(), network: await stage.network.inForce() },
      refusals: refusalsOf(stage, audit.operations, faultMs, standing.healingMs, healedMs, healedUnixMs),
      recoveredBeforeHealing,
      recoveredAfterHealing,
      expects: right.expects,
      rightRefusals: right.refusals,
    };
    const violations = check(record);
    const failed = violations.length > 0;
    const kept = recoveredBeforeHealing || record.refusals.length === 0;
    const result: RoundResult = {
      round: plan.round,
      seed,
      faults: plan.faults.map(({ name }) => name),
      main: plan.main,
      expects: right.expects,
      outcome: failed ? "failed" : kept ? "recovered" : "refused",
      codes: [...new Set(record.refusals)],
      downtime_ms: Math.round(longestSilence(acks, faultMs - 100, settledMs)),
      took_ms: Math.round(monotonicMs() - startedMs),
      acknowledged: acks.length,
      late: lateAnswers(acks, reigns),
      lost: "notWhole" in nodes ? 0 : lostWrites(acks, nodes).length,
      split: violations.filter(({ code }) => code === "second-pen").length,
      epoch: reigns.at(-1)?.epoch ?? view.epoch,
      failovers: reigns.length - 1,
      violations,
    };
    return { result, sinceMs: faultMs, whole: notWhole === null && recoveredAfterHealing };
  } finally {
    for (const writer of writers) writer.abandon();
  }
}

/** The faults that stand, each with its end. */
class Standing {
  readonly #scene: Scene;
  readonly #signal: AbortSignal;
  readonly #heals: Heal[] = [];
  /** When the last of them stood. */
  lastMadeMs = 0;
  healingMs = 0;

  constructor(scene: Scene, signal: AbortSignal) {
    this.#scene = scene;
    this.#signal = signal;
  }

  async make(drawn: DrawnFault, faultMs: number): Promise<void> {
    await pause(Math.max(0, faultMs + drawn.atMs - monotonicMs()), undefined, { signal: this.#signal });
    this.#heals.unshift(await faultNamed(drawn.name).make(this.#scene, drawn.draws));
    this.lastMadeMs = monotonicMs();
  }

  /** The last one first. Each is tried, also when another cannot be healed. */
  async healAll(): Promise<void> {
    this.healingMs = monotonicMs();
    const faults: unknown[] = [];
    for (const heal of this.#heals.splice(0)) await heal().catch((error: unknown) => faults.push(error));
    if (faults.length > 0) throw faults[0];
  }
}

/** What the audit says of this round, once it knows how each operation ended, or after the time that it may take. */
async function readAudit(
  stage: ChaosStage,
  before: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<{ operations: OperationSummary[]; reigns: (Reign & { atUnixMs: number })[] }> {
  let operations: OperationSummary[] = [];
  await until(
    async () => {
      const all = await stage.operations(OPERATIONS_ASKED).catch(noAnswer);
      if (all === null) return false;
      operations = all.filter(({ operation }) => !before.has(operation)).reverse();
      return operations.every(({ outcome }) => outcome !== null);
    },
    AUDIT_MS,
    signal,
  );
  const reigns: (Reign & { atUnixMs: number })[] = [];
  for (const { operation, kind } of operations) {
    if (kind !== "failover" && kind !== "switchover") continue;
    const reign = await stage.newPrimary(operation);
    if (reign) reigns.push(reign);
  }
  return { operations, reigns: reigns.sort((a, b) => a.epoch - b.epoch) };
}

function noAnswer(error: unknown): null {
  if (error instanceof BatonError) return null;
  throw error;
}

/** Said by deciders, or by how a failover ended, before the healing began. */
function refusalsOf(
  stage: ChaosStage,
  operations: readonly OperationSummary[],
  faultMs: number,
  healingMs: number,
  healedMs: number,
  healedUnixMs: number,
): RefusalCode[] {
  const said = stage.refusals
    .filter(({ atMs }) => atMs >= faultMs && atMs < healingMs)
    .map(({ code }) => code);
  const ended = operations.filter(({ kind, outcome, code, startedUnixMs, tookMs }) => {
    const endedMs = healedMs + startedUnixMs + (tookMs ?? 0) - healedUnixMs;
    return (
      kind === "failover" &&
      outcome !== "completed" &&
      code !== null &&
      !OVERTAKEN.includes(code) &&
      endedMs < healingMs
    );
  });
  return [...said, ...ended.map(({ code }) => code as RefusalCode)];
}

/** Answers of an earlier primary to what was under way when the pen passed on (docs/decisions/0007). */
function lateAnswers(acks: readonly Ack[], reigns: readonly Reign[]): number {
  let reign = 0;
  let late = 0;
  for (const { server } of [...acks].sort((a, b) => a.atMs - b.atMs)) {
    if (reigns[reign]?.server === server) continue;
    const later = reigns.findIndex((each, at) => at > reign && each.server === server);
    if (later === -1) late += 1;
    else reign = later;
  }
  return late;
}

/** True as soon as `met` is, false when the time is over first. */
async function until(
  met: () => boolean | Promise<boolean>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadline = monotonicMs() + timeoutMs;
  for (;;) {
    if (await met()) return true;
    if (monotonicMs() >= deadline) return false;
    await pause(Math.min(25, Math.max(1, deadline - monotonicMs())), undefined, { signal });
  }
}
