/**
 * The director of `baton lab chaos`, in a network namespace of its own: `node main.ts OPTIONS` with the options as JSON, started by
 * cli/commands/chaos.ts. It ends when that one does.
 */
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { LabError, monotonicMs } from "@baton/lab";
import {
  cellsOf,
  combinationsNamed,
  Disks,
  drawCombination,
  drawRound,
  faultsNamed,
  Network,
  type RoundPlan,
  type RoundResult,
  tableOf,
  titleOf,
  type World,
  worldOptions,
} from "@baton/lab/chaos";
import { failureOf } from "../failure.ts";
import { duration } from "../view/amounts.ts";
import { type Paint, paint, wantsColour } from "../view/colour.ts";
import { columns } from "../view/columns.ts";
import { playRound } from "./round.ts";
import { type ChaosPlant, type ChaosStage, hostsOf, nodesOf, openChaosStage } from "./stage.ts";

export interface ChaosOptions {
  seed: number;
  world: World;
  /** Null: 10, or with `each` one of each. */
  rounds: number | null;
  /** The number of the first round. */
  from: number;
  /** Null: all. */
  faults: string[] | null;
  /** One round of each of `faults` in turn, instead of drawing which. */
  each: boolean;
  json: boolean;
  /** A bug for Baton, for tests of this very check. */
  plant: ChaosPlant | null;
  /** A folder for the stories of failed rounds; null: they go to stderr. */
  logs: string | null;
}

/** A rebuild copies 100 MB and restarts a server; a dead NATS leader costs 7 s. */
const SETTLE_MS = 120_000;
/** A bug may well leave the cluster broken: that need not be waited for. */
const SETTLE_PLANTED_MS = 10_000;
const ROUNDS = 10;
const say = (line: string) => process.stderr.write(`${line}\n`);

async function direct(o: ChaosOptions, signal: AbortSignal): Promise<number> {
  const p = paint(wantsColour(process.stdout, process.env));
  const plans = plansOf(o);
  say(`the world of this run: ${worldOptions(o.world)}`);
  const network = await Network.open(hostsOf(o.world));
  const disks = await Disks.open(nodesOf(o.world));
  const settleMs = o.plant === null ? SETTLE_MS : SETTLE_PLANTED_MS;
  const results: RoundResult[] = [];
  const broken: string[] = [];
  let stage: ChaosStage | null = null;
  try {
    for (const plan of plans) {
      signal.throwIfAborted();
      stage ??= await openChaosStage(network, disks, {
        plant: o.plant,
        world: o.world,
        signal,
        onProgress: say,
      });
      const missing = await stage.settled(SETTLE_MS, signal);
      if (missing !== null) {
        throw new LabError("not-recovered", {
          found: `before round ${plan.round}: ${missing}`,
          expected: "a cluster that is whole",
          remedy: "run it again on a machine that has less to do",
        });
      }
      const beganMs = monotonicMs();
      const { result, sinceMs, whole } = await playRound(stage, o.seed, plan, settleMs, signal).catch(
        (error: unknown) => {
          signal.throwIfAborted();
          return { result: brokenRound(o.seed, plan, error, beganMs), sinceMs: beganMs, whole: false };
        },
      );
      results.push(result);
      console.log(o.json ? JSON.stringify(result) : lineOf(result, plan, p));
      if (result.outcome === "failed") tellFailure(o, plan, result, stage.story(sinceMs));
      if (!whole) {
        // What this round has left behind is told; the next one deserves a cluster that is whole.
        broken.push(...(await stage.stop(true)));
        stage = null;
      }
    }
    if (stage !== null) broken.push(...(await stage.stop(true)));
    stage = null;
  } finally {
    await stage?.stop(false);
  }
  for (const found of broken) say(p.red(`audit: ${found}`));
  if (!o.json) for (const line of tableLines(results, p)) console.log(line);
  return broken.length === 0 && results.every(({ outcome }) => outcome !== "failed") ? 0 : 1;
}

function plansOf(o: ChaosOptions): RoundPlan[] {
  const rounds = (many: number, plan: (round: number) => RoundPlan) =>
    Array.from({ length: o.rounds ?? many }, (_, at) => plan(o.from + at));
  if (!o.each) {
    const cards = faultsNamed(o.faults ?? undefined, o.world);
    return rounds(ROUNDS, (round) => drawRound(o.seed, round, cards));
  }
  const turns = combinationsNamed(o.faults ?? undefined, o.world);
  return rounds(turns.length, (round) =>
    drawCombination(o.seed, round, turns[(round - 1) % turns.length] as (typeof turns)[number]),
  );
}

/** A round that could not be played to its end, because a fault could not be made or healed, or nobody answered the director. */
function brokenRound(seed: number, plan: RoundPlan, error: unknown, beganMs: number): RoundResult {
  const found = error instanceof Error ? error.message : String(error);
  const tookMs = Math.round(monotonicMs() - beganMs);
  return {
    round: plan.round,
    seed,
    faults: plan.faults.map(({ name }) => name),
    main: plan.main,
    expects: "unknown",
    outcome: "failed",
    codes: [],
    diagnoses: [],
    orders_refused: [],
    downtime_ms: tookMs,
    took_ms: tookMs,
    acknowledged: 0,
    late: 0,
    lost: 0,
    split: 0,
    epoch: 0,
    failovers: 0,
    violations: [{ code: "not-played", found }],
  };
}

function lineOf(result: RoundResult, plan: RoundPlan, p: Paint): string {
  const { outcome, codes, acknowledged, lost, split, late, epoch, violations } = result;
  const word = {
    recovered: p.green("recovered"),
    refused: p.yellow("refused  "),
    failed: p.red("FAILED   "),
  }[outcome];
  const what = [
    titleOf(plan).padEnd(40),
    word,
    `longest silence ${duration(result.downtime_ms).padStart(7)}`,
    `${acknowledged} writes, lost ${lost}, split ${split}${late > 0 ? `, late ${late}` : ""}`,
    `epoch ${epoch}`,
    codes.join(", "),
  ];
  const wrong = violations.map(({ code, found }) => `\n    ${p.red(code)}: ${found}`).join("");
  return `${String(result.round).padStart(3)}  ${what.filter(Boolean).join("  ")}  ${p.dim(`(${duration(result.took_ms)})`)}${wrong}`;
}

function tellFailure(o: ChaosOptions, plan: RoundPlan, result: RoundResult, story: readonly string[]): void {
  const faults = o.faults === null ? "" : ` --faults ${o.faults.join(",")}`;
  const each = o.each ? " --each" : "";
  const again = `baton lab chaos --seed ${o.seed} --from ${plan.round} --rounds 1 ${worldOptions(o.world)}${each}${faults}`;
  say(`round ${plan.round} failed; to run it again: ${again}`);
  const lines = [
    again,
    JSON.stringify(plan),
    ...result.violations.map(({ code, found }) => `${code}: ${found}`),
    ...story,
  ];
  if (o.logs === null) for (const line of lines.slice(1)) say(`    ${line}`);
  else {
    const file = join(o.logs, `chaos-${o.seed}-${plan.round}.log`);
    mkdirSync(o.logs, { recursive: true });
    appendFileSync(file, lines.map((line) => `${line}\n`).join(""));
    say(`its story: ${file}`);
  }
}

function tableLines(results: readonly RoundResult[], p: Paint): string[] {
  const [header = [], ...rows] = cellsOf(tableOf(results));
  return ["", ...columns([header.map((cell) => p.bold(cell)), ...rows], { right: [1, 2, 4, 5, 6, 7, 8] })];
}

const options = JSON.parse(process.argv[2] ?? "{}") as ChaosOptions;
const stopping = new AbortController();
const stop = () => stopping.abort(new Error("interrupted"));
process.on("disconnect", stop);
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, stop);
process.stdout.on("error", stop);
const startedMs = monotonicMs();
try {
  process.exitCode = await direct(options, stopping.signal);
  say(`${plansOf(options).length} rounds in ${duration(monotonicMs() - startedMs)}`);
} catch (error) {
  if (stopping.signal.aborted) process.exitCode = 130;
  else {
    if (process.env.BATON_DEBUG) console.error(error);
    say(failureOf(error).line);
    process.exitCode = failureOf(error).exitCode;
  }
}
process.exit();
