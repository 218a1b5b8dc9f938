/** `baton bench failover`. */
import { measureFloor } from "../../lab/bench/floor.ts";
import { type IdleCost, measureIdle } from "../bench/idle.ts";
import { type Measured, type Row, verdictLines, verdicts } from "../bench/verdict.ts";
import { Round, type RoundResult } from "../demo/round.ts";
import { openStage, type Stage } from "../demo/stage.ts";
import type { Fault } from "../demo/timeline.ts";
import { Exit } from "../failure.ts";
import { onInterrupt } from "../interrupt.ts";
import { duration } from "../view/amounts.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { columns } from "../view/columns.ts";

/** A look costs a third of a millisecond, and the kernel counts in tens: so many looks that the figure means something. */
const IDLE_MS = 60_000;
const CALM_MS = 1_000;
const WHOLE_MS = 60_000;

export async function benchFailover(o: { rounds: number; json?: true }): Promise<void> {
  const p = paint(wantsColour(process.stdout, process.env));
  const interrupt = onInterrupt(() => stage?.system.stopNow());
  const { signal } = interrupt;
  // The figures are on stdout; how far it has come is for whoever waits.
  const say = (line: string) => process.stderr.write(`${line}\n`);
  let stage: Stage | null = null;
  try {
    say(`the floor: ${o.rounds} rounds of a bare script`);
    const floor = await measureFloor({
      rounds: o.rounds,
      fault: "kill",
      signal,
      onRound: (round) => say(`  ${round.round}: ${duration(round.downtimeMs)}`),
    });
    signal.throwIfAborted();

    stage = await openStage({ nodes: 3, signal, onProgress: () => undefined });
    await stage.whole(WHOLE_MS, signal);
    say(`idle: ${IDLE_MS / 1000} s of watching a calm cluster`);
    const idle = await measureIdle(stage, IDLE_MS, signal);
    const kill = await rounds(stage, "kill", o.rounds, signal, say);
    const hang = await rounds(stage, "hang", o.rounds, signal, say);

    const all = [...kill, ...hang];
    const measured: Measured = {
      floorMs: floor.map((round) => round.downtimeMs),
      killMs: downtimes(kill),
      hangMs: downtimes(hang),
      cpuPerProbeMs: idle.cpuPerProbeMs,
      probesPerS: idle.probesPerS,
      idleCpuPercent: idle.cpuPercent,
      servicesRssMb: idle.servicesRssMb,
      lost: all.reduce((sum, { lost }) => sum + lost, 0),
      split: all.reduce((sum, { split }) => sum + split, 0),
    };
    const rows = verdicts(measured);
    if (o.json)
      console.log(JSON.stringify({ rows, measured, processes: idle.processes, kill, hang }, null, 2));
    else for (const line of [...processLines(idle), "", ...verdictLines(rows, p)]) console.log(line);
    if (!good(rows, all, o.rounds)) throw new Exit(1);
  } catch (error) {
    if (signal.aborted) throw new Exit(130);
    throw error;
  } finally {
    await stage?.stop();
    interrupt.release();
  }
}

async function rounds(
  stage: Stage,
  fault: Fault,
  count: number,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<RoundResult[]> {
  say(`${fault === "kill" ? "kill -9" : "SIGSTOP"}: ${count} rounds of Baton`);
  const results: RoundResult[] = [];
  for (let number = 1; number <= count; number++) {
    const round = new Round(stage, null, {
      fault,
      calmMs: CALM_MS,
      signal,
      onAct: () => undefined,
      onErrant: () => undefined,
    });
    const result = await round.run();
    results.push(result);
    const { downtime_ms: ms } = result;
    say(`  ${number}: ${ms === null ? "writes did not come back" : duration(ms)}`);
    if (ms === null || result.rejoined_ms === null) break;
  }
  return results;
}

function downtimes(results: readonly RoundResult[]): number[] {
  return results.map((r) => r.downtime_ms).filter((ms) => ms !== null);
}

function good(rows: readonly Row[], results: readonly RoundResult[], each: number): boolean {
  return rows.every((row) => row.pass) && results.length === 2 * each;
}

function processLines(idle: IdleCost): string[] {
  return columns(
    idle.processes.map(({ name, cpuPercent, rssMb }) => [
      name,
      `${cpuPercent.toFixed(1)} % CPU`,
      `${Math.round(rssMb)} MB`,
    ]),
    { right: [1, 2] },
  );
}
