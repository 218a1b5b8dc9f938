/** `baton demo`. */
import { monotonicMs } from "@baton/lab";
import { errantLines, momentLine, pictureLines, resultLines } from "../demo/picture.ts";
import { BAR_MS } from "../demo/pulse.ts";
import { isGood, Round, type RoundResult } from "../demo/round.ts";
import { openStage, type Stage } from "../demo/stage.ts";
import type { Fault } from "../demo/timeline.ts";
import { Exit } from "../failure.ts";
import { onInterrupt } from "../interrupt.ts";
import { duration, median, plural } from "../view/amounts.ts";
import { type Paint, paint, wantsColour } from "../view/colour.ts";
import { LivePicture } from "../view/live-picture.ts";

const FRAME_MS = 100;
const PULSE_COLUMNS = 70;
/** Where in the last picture the fault is. */
const GAP_AT_COLUMN = 20;

interface Options {
  fault: Fault;
  rounds: number;
  nodes: number;
  json?: true;
  verbose?: true;
}

export async function demo(o: Options): Promise<void> {
  const good = await runDemo(
    o,
    o.json ? new JsonAudience() : process.stdout.isTTY ? new Screen(o) : new Page(o),
  );
  if (!good) throw new Exit(1);
}

/** Whoever watches: a terminal, a file, a program. */
export interface Audience {
  progress(line: string): void;
  begin(number: number, round: Round): void;
  act(act: string): void;
  errant(gtids: string): void;
  end(result: RoundResult): void;
  over(results: readonly RoundResult[]): void;
}

/** True when every round was good. Throws Exit 130 when interrupted; nothing is left behind in any case. */
export async function runDemo(
  o: { fault: Fault; rounds: number; nodes: number; verbose?: true },
  audience: Audience,
): Promise<boolean> {
  let stage: Stage | null = null;
  const interrupt = onInterrupt(() => stage?.system.stopNow());
  const results: RoundResult[] = [];
  try {
    stage = await openStage({
      nodes: o.nodes,
      signal: interrupt.signal,
      onProgress: (line) => audience.progress(line),
      onLog: o.verbose ? (instance, _message, _level, raw) => console.error(`${instance} ${raw}`) : undefined,
    });
    for (let number = 1; number <= o.rounds; number++) {
      const view = await stage.status().catch(() => null);
      const round = new Round(stage, view?.primary ?? null, {
        fault: o.fault,
        calmMs: audience instanceof Screen ? 3_000 : 1_000,
        signal: interrupt.signal,
        onAct: (act) => audience.act(act),
        onErrant: (gtids) => audience.errant(gtids),
      });
      audience.begin(number, round);
      const result = await round.run();
      results.push(result);
      audience.end(result);
      if (!isGood(result)) break;
    }
    audience.over(results);
    return results.length === o.rounds && results.every(isGood);
  } catch (error) {
    if (audience instanceof Screen) audience.leave();
    if (interrupt.signal.aborted) throw new Exit(130);
    if (stage) for (const line of lastWords(stage)) console.error(line);
    throw error;
  } finally {
    await stage?.stop();
    interrupt.release();
  }
}

/** What the services complained of last: the demo's own error may be only its consequence. */
function lastWords(stage: Stage): string[] {
  return stage.system.instances.flatMap(({ name }) =>
    stage.system
      .logs(name)
      .filter(({ level }) => level === "error" || level === "fatal")
      .slice(-3)
      .map(({ message, fields }) => `${name}: ${message} ${JSON.stringify(fields).slice(0, 300)}`),
  );
}

class JsonAudience implements Audience {
  progress(): void {}
  begin(): void {}
  act(): void {}
  errant(): void {}
  end(result: RoundResult): void {
    console.log(JSON.stringify(result));
  }
  over(): void {}
}

/** Lines one after another, as they come. */
class Page implements Audience {
  readonly #p: Paint = paint(wantsColour(process.stdout, process.env));
  readonly #o: Options;
  #round: Round | null = null;
  #printed = new Set<object>();
  #timer: NodeJS.Timeout | null = null;

  constructor(o: Options) {
    this.#o = o;
  }

  progress(line: string): void {
    console.log(line);
  }
  begin(number: number, round: Round): void {
    console.log(
      `\nround ${number} of ${this.#o.rounds}: ${this.#o.fault === "kill" ? "kill -9" : "SIGSTOP"} of the primary`,
    );
    this.#round = round;
    this.#printed = new Set();
    this.#timer = setInterval(() => this.#moments(), 200);
  }
  act(act: string): void {
    this.#moments();
    console.log(act);
  }
  errant(gtids: string): void {
    for (const line of errantLines(gtids, this.#p)) console.log(line);
  }
  end(result: RoundResult): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#moments();
    for (const line of resultLines(result, this.#p)) console.log(line);
  }
  over(results: readonly RoundResult[]): void {
    for (const line of summaryLines(results)) console.log(line);
  }

  #moments(): void {
    for (const moment of this.#round?.moments ?? []) {
      if (this.#printed.has(moment)) continue;
      this.#printed.add(moment);
      console.log(momentLine(moment, this.#p));
    }
  }
}

/** One picture, redrawn in place. */
class Screen implements Audience {
  readonly #p: Paint = paint(wantsColour(process.stdout, process.env));
  readonly #live = new LivePicture(process.stdout);
  readonly #o: Options;
  #timer: NodeJS.Timeout | null = null;
  #round: Round | null = null;
  #number = 0;
  #act = "";
  #errant: string | null = null;
  #result: RoundResult | null = null;

  constructor(o: Options) {
    this.#o = o;
  }

  progress(line: string): void {
    this.#live.show(["", `  ${this.#p.bold("baton demo")}  ${this.#p.dim(line)}`, ""]);
  }
  begin(number: number, round: Round): void {
    this.#number = number;
    this.#round = round;
    this.#errant = null;
    this.#result = null;
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS);
  }
  act(act: string): void {
    this.#act = act;
  }
  errant(gtids: string): void {
    this.#errant = gtids;
  }
  end(result: RoundResult): void {
    this.#result = result;
    this.#draw();
    // The picture of a round that is over stays; the next one's is drawn below it.
    this.leave();
  }
  over(results: readonly RoundResult[]): void {
    for (const line of summaryLines(results)) console.log(`  ${line}`);
  }
  leave(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
    this.#live.end();
  }

  /** Now, or, when the round is over, such that the last picture shows the gap. */
  #until(round: Round): number {
    const { faultMs } = round;
    if (this.#result === null || faultMs === null) return monotonicMs() - BAR_MS;
    return faultMs + (PULSE_COLUMNS - GAP_AT_COLUMN) * BAR_MS;
  }

  #draw(): void {
    const round = this.#round;
    if (!round) return;
    const untilMs = this.#until(round);
    this.#live.show(
      pictureLines(
        {
          fault: this.#o.fault,
          round: this.#number,
          rounds: this.#o.rounds,
          act: this.#act,
          nodes: round.cast.lines(),
          pulse: round.pulse.between(untilMs - PULSE_COLUMNS * BAR_MS, untilMs),
          ratePerS: round.ratePerS,
          moments: round.moments,
          result: this.#result,
          errant: this.#errant,
        },
        this.#p,
      ),
    );
  }
}

/** Medians, where there is more than one round. */
export function summaryLines(results: readonly RoundResult[]): string[] {
  if (results.length < 2) return [];
  const of = (key: "downtime_ms" | "detect_ms" | "decide_ms" | "execute_ms" | "rejoined_ms") => {
    const ms = median(results.map((r) => r[key]).filter((value) => value !== null));
    return ms === null ? "–" : duration(ms);
  };
  const sum = (key: "acknowledged" | "lost" | "split") => results.reduce((n, r) => n + r[key], 0);
  return [
    "",
    `${plural(results.length, "round")}, medians: writes stood still ${of("downtime_ms")} (seen after ${of("detect_ms")}, decided in ${of("decide_ms")}, carried out in ${of("execute_ms")}), back in line ${of("rejoined_ms")}`,
    `${sum("acknowledged")} writes acknowledged, ${sum("lost")} lost, ${sum("split")} split`,
  ];
}
