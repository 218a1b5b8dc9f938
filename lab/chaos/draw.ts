/** From a seed to what will be done: pure, so that a seed can be run again. */
import { pickWeighted, random } from "./random.ts";

/** What the drawing needs to know of a fault. */
export interface Card {
  name: string;
  /** `main` faults are rounds of their own; a `side` fault comes on top of a main one; many are both. */
  roles: readonly ("main" | "side")[];
  /** How often it is drawn, beside the others' 1. The more a fault can break, the more often it is tried. */
  weight?: number;
  /** How long it stands, at least and at most. */
  lastsMs: readonly [number, number];
  /** It lies in wait for a moment of the failover: on top of another it always stands before that one. */
  armed?: boolean;
}

/** A main fault, and what comes on top of it. */
export type Combination<C extends Card = Card> = readonly [C, ...C[]];

export interface DrawnFault {
  name: string;
  /** When it is made, counted from the round's main fault; negative: it stands already. */
  atMs: number;
  lastsMs: number;
  /** What the fault decides by them: which node, which step. Each in [0, 1). */
  draws: readonly [number, number, number];
}

export interface RoundPlan {
  round: number;
  /** In the order in which they are made. */
  faults: readonly DrawnFault[];
  /** The one that the round is named after. */
  main: string;
}

/** Of ten rounds, four have a second fault. */
const DOUBLE_SHARE = 0.4;
/** A second fault stands for up to so long before the main one, or comes so long after it: inside what the main one sets off. */
const BEFORE_MS = 1_200;
const AFTER_MS = 700;

/**
 * The plan of one round. Each round is drawn for itself, so that one that failed can be run alone. Throws when no card can be a
 * main fault.
 */
export function drawRound(seed: number, round: number, cards: readonly Card[]): RoundPlan {
  const next = random(seed, round);
  const mains = cards.filter((card) => card.roles.includes("main"));
  const main = pickWeighted(mains, next());
  const faults = [drawFault(main, 0, next)];
  const sides = cards.filter((card) => card.roles.includes("side") && card.name !== main.name);
  const isDouble = next() < DOUBLE_SHARE;
  if (isDouble && sides.length > 0) faults.push(drawOnTop(pickWeighted(sides, next()), next));
  return planOf(round, main, faults);
}

/** The plan of a round whose faults are known: how long, when and on whom is drawn. */
export function drawCombination(seed: number, round: number, [main, ...others]: Combination): RoundPlan {
  const next = random(seed, round);
  return planOf(round, main, [drawFault(main, 0, next), ...others.map((other) => drawOnTop(other, next))]);
}

function planOf(round: number, main: Card, faults: readonly DrawnFault[]): RoundPlan {
  return { round, faults: faults.toSorted((a, b) => a.atMs - b.atMs), main: main.name };
}

function drawOnTop(card: Card, next: () => number): DrawnFault {
  const atMs = Math.round(next() * (BEFORE_MS + AFTER_MS) - BEFORE_MS);
  return drawFault(card, card.armed === true ? -Math.abs(atMs) - 1 : atMs, next);
}

function drawFault(card: Card, atMs: number, next: () => number): DrawnFault {
  const [least, most] = card.lastsMs;
  const lastsMs = Math.round(least + next() * (most - least));
  return { name: card.name, atMs, lastsMs, draws: [next(), next(), next()] };
}

/** `host-cut + executor-kill`: how a round is called. */
export function titleOf(plan: RoundPlan): string {
  const others = plan.faults.filter((fault) => fault.name !== plan.main).map((fault) => fault.name);
  return [plan.main, ...others].join(" + ");
}
