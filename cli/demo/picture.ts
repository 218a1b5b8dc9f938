/** The demo's picture, line by line. Pure: what is known in, lines out. */
import { count, duration } from "../view/amounts.ts";
import type { Paint } from "../view/colour.ts";
import { columns, padTo } from "../view/columns.ts";
import type { NodeLine } from "./cast.ts";
import { bars } from "./pulse.ts";
import type { RoundResult } from "./round.ts";
import type { Fault, Moment } from "./timeline.ts";

export interface Scene {
  fault: Fault;
  round: number;
  rounds: number;
  /** What is going on, in a few words. */
  act: string;
  nodes: readonly NodeLine[];
  /** Per tenth of a second, the newest last. */
  pulse: readonly number[];
  ratePerS: number;
  moments: readonly Moment[];
  result: RoundResult | null;
  /** Of a node that came back with more than the cluster has. */
  errant: string | null;
}

export function pictureLines(s: Scene, p: Paint): string[] {
  const round = s.rounds > 1 ? `, round ${s.round} of ${s.rounds}` : "";
  const lines = [
    "",
    `  ${p.bold("baton demo")}  ${s.fault === "kill" ? "kill -9 of the primary" : "the primary hangs (SIGSTOP)"}${round}`,
    `  ${p.dim(s.act)}`,
    "",
    ...nodeLines(s.nodes, p),
    "",
    `  ${padTo(`${count(s.ratePerS)} writes/s`, 15)} ${bars(s.pulse, p)}`,
    p.dim(
      `  ${padTo("", 15)} each column a tenth of a second${s.result ? ", around the fault" : ", the newest at the right"}`,
    ),
    "",
  ];
  if (s.moments.length > 0) lines.push(...momentLines(s.moments, p), "");
  if (s.errant !== null) lines.push(...errantLines(s.errant, p), "");
  if (s.result) lines.push(...resultLines(s.result, p), "");
  return lines;
}

function nodeLines(nodes: readonly NodeLine[], p: Paint): string[] {
  const mark = { good: p.green("●"), waiting: p.yellow("◐"), bad: p.red("✖") };
  const word = { good: (text: string) => text, waiting: p.yellow, bad: p.red };
  return columns(
    nodes.map((n) => [
      mark[n.mood],
      p.bold(n.node),
      n.role === "primary" ? p.cyan(n.role) : n.role,
      word[n.mood](n.state),
      p.dim(n.address),
    ]),
    { indent: 2 },
  );
}

export function momentLines(moments: readonly Moment[], p: Paint): string[] {
  return columns(
    moments.map((m) => [momentTime(m.atMs), momentPaint(m, p)(m.what), p.dim(took(m)), m.text]),
    { indent: 2, right: [0, 2] },
  );
}

/** Plain, for a log: the width of the columns cannot wait for what is still to come. */
export function momentLine(m: Moment, p: Paint): string {
  const what = padTo(momentPaint(m, p)(m.what), 9);
  return `  ${padTo(momentTime(m.atMs), 11, "right")}  ${what}  ${padTo(p.dim(took(m)), 7, "right")}  ${m.text}`;
}

function momentTime(atMs: number): string {
  return `${atMs.toFixed(1)} ms`;
}

function took(m: Moment): string {
  return m.tookMs === null ? "" : duration(m.tookMs);
}

function momentPaint(m: Moment, p: Paint): (text: string) => string {
  if (m.bad) return p.red;
  if (m.what === "client" || m.what === "event") return p.green;
  if (m.what === "diagnosis" || m.what === "intent") return p.yellow;
  return m.what === "prober" ? p.magenta : p.cyan;
}

export function errantLines(gtids: string, p: Paint): string[] {
  return [
    `  ${p.yellow("errant")}  The old primary came back with transactions that the cluster has not:`,
    `          ${p.bold(gtids)}`,
    "          No replica ever had them, so no client was told OK for them. Baton never mixes such a history in:",
    "          it keeps the node out, and here the lab gives it an empty data directory to come home with.",
  ];
}

export function resultLines(r: RoundResult, p: Paint): string[] {
  const good = r.lost === 0 && r.split === 0 && r.downtime_ms !== null;
  const part = (label: string, ms: number | null) => (ms === null ? "" : `${label} ${duration(ms)}`);
  const parts = [
    part("seen after", r.detect_ms),
    part("decided in", r.decide_ms),
    part("carried out in", r.execute_ms),
  ].filter(Boolean);
  const zero = (n: number, what: string) => (n === 0 ? p.green(`0 ${what}`) : p.red(`${count(n)} ${what}`));
  return [
    `  ${good ? p.green("✔") : p.red("✖")} ${
      r.downtime_ms === null
        ? p.red("writes did not come back")
        : `writes stood still for ${p.bold(duration(r.downtime_ms))}`
    }${parts.length > 0 ? p.dim(`  (${parts.join(", ")})`) : ""}`,
    `    ${count(r.acknowledged)} writes acknowledged, ${zero(r.lost, "lost")}, ${zero(r.split, "split")}; epoch ${r.epoch ?? "?"}${
      r.rejoined_ms === null ? "" : `; the old primary was back in line after ${duration(r.rejoined_ms)}`
    }`,
  ];
}
