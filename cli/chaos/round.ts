/** One round: writers, the faults of its plan, healing, and the checker's verdict. Times are monotonic milliseconds of this process. */
import { setTimeout as pause } from "node:timers/promises";
import { type Ack, monotonicMs } from "@baton/lab";
import {
  check,
  type DrawnFault,
  faultNamed,
  type Heal,
  lateAnswers,
  longestSilence,
  lostWrites,
  RegisterBook,
  type Reign,
  type RoundPlan,
  type RoundRecord,
  type RoundResult,
  rightOutcome,
  type Scene,
} from "@baton/lab/chaos";
import { operationsSoFar, readAudit, refusalsOf } from "./audit.ts";
import { finalNodes } from "./final-nodes.ts";
import type { ChaosStage } from "./stage.ts";
import { until } from "./until.ts";

const WRITERS = 2;
const CONNECTIONS = 2;
/** With more servers on the same machine each applies less in a second: replicas must be able to catch up under the writers. */
const paceMsOf = (nodes: number) => (nodes > 3 ? 40 : 15);
/** Before the first fault. */
const WARM_ACKS = 30;
const WARM_MS = 30_000;
/** What a failover may take beyond the time that its fault stands anyway. Clients wait for less; the rest is for a busy machine. */
const PATIENCE_MS = 20_000;
const CATCH_UP_MS = 20_000;

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
  settleMs: number,
  signal: AbortSignal,
): Promise<PlayedRound> {
  const startedMs = monotonicMs();
  const [main, ...others] = [
    plan.main,
    ...plan.faults.map(({ name }) => name).filter((name) => name !== plan.main),
  ];
  const right = rightOutcome(faultNamed(main as string), others.map(faultNamed), stage.world);
  const view = await stage.status();
  if (!view) throw new Error("a settled stage has a status");
  const scene = stage.scene(view);
  const [first] = await scene.primary.query<{ server: string }>("SELECT @@server_uuid AS server");
  const before = await operationsSoFar(stage);

  const acks: Ack[] = [];
  const pace = { connections: CONNECTIONS, paceMs: paceMsOf(stage.world.nodes) };
  const registerAcks: Ack[] = [];
  const book = new RegisterBook(`r${Math.random().toString(36).slice(2, 10)}`);
  const writers = Array.from({ length: WRITERS }, () =>
    stage.lab.writer({ ...pace, onAck: (ack) => acks.push(ack) }),
  );
  writers.push(
    stage.lab.writer({
      ...pace,
      statement: (id, server) => book.statement(id, server),
      onAck: (ack) => {
        registerAcks.push(ack);
        book.acknowledged(ack.id);
      },
    }),
  );
  try {
    await until(() => acks.length >= WARM_ACKS, WARM_MS, signal);
    const faultMs = monotonicMs() + Math.max(0, -(plan.faults[0]?.atMs ?? 0));
    const standing = new Standing(scene, signal);
    const refused = () => stage.ears.refusals.some(({ atMs }) => atMs >= faultMs);
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
    const healed = { monotonicMs: monotonicMs(), unixMs: Date.now() };
    const recoveredBeforeHealing = acks.some(
      ({ sentMs, atMs }) => sentMs > standing.lastMadeMs && atMs < standing.healingMs,
    );
    const recoveredAfterHealing = await until(
      () => acks.some(({ sentMs }) => sentMs > healed.monotonicMs),
      settleMs,
      signal,
    );
    // Where nobody was answered in all that time, nothing is whole.
    const notWhole = await stage.settled(recoveredAfterHealing ? settleMs : 0, signal);
    const settledMs = monotonicMs();
    await Promise.all(writers.map((writer) => writer.stop().catch(() => undefined)));

    const audit = await readAudit(stage, before, view.epoch, signal);
    const reigns: Reign[] = [{ epoch: view.epoch, server: first?.server ?? "" }, ...audit.reigns];
    const primaryNow = (await stage.status().catch(() => null))?.primary ?? scene.primary.name;
    const tags = [...new Set(acks.map(({ id }) => id.slice(0, id.indexOf("-"))))];
    const nodes = await finalNodes(
      stage.lab,
      primaryNow,
      tags,
      book.tag,
      notWhole === null ? CATCH_UP_MS : 0,
    );
    const record: RoundRecord = {
      acks,
      registerAcks,
      registers: book.registers(),
      losses:
        stage.world.durability === "lossless"
          ? []
          : stage.ears.losses.filter(({ atMs }) => atMs >= faultMs).map(({ loss }) => loss),
      reigns,
      begunBeforeHealing: audit.reigns.filter(
        ({ atUnixMs }) => atUnixMs < healed.unixMs - (healed.monotonicMs - standing.healingMs),
      ).length,
      operations: audit.operations.map(({ operation, kind, outcome, code }) => ({
        id: operation,
        kind,
        outcome,
        code,
      })),
      notWhole,
      nodes,
      primaryHost: stage.lab.node(primaryNow).host,
      leftOver: { processes: stage.stopped(), network: await stage.network.inForce() },
      refusals: refusalsOf(stage, audit.operations, faultMs, standing.healingMs, healed),
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
      orders_refused: stage.ordersRefused.filter(({ atMs }) => atMs >= faultMs).map(({ why }) => why),
      diagnoses: shown(stage, faultMs, standing.healingMs),
      downtime_ms: Math.round(longestSilence(acks, faultMs - 100, settledMs)),
      took_ms: Math.round(monotonicMs() - startedMs),
      acknowledged: acks.length,
      late: lateAnswers(acks, reigns),
      lost: lostWrites(acks, notWhole === null ? nodes : nodes.filter((node) => node.primary)).length,
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

function shown(stage: ChaosStage, fromMs: number, toMs: number): string[] {
  const during = stage.ears.diagnoses.filter(({ atMs }) => atMs >= fromMs && atMs < toMs);
  return [...new Set(during.map(({ code }) => code))].filter((code) => code !== "healthy");
}
