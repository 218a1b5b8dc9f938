/** The pictures of `baton switchover`: the plan, each step as it ends, and what it took. Pure. */
import type { CommandReply, Event, Step } from "@baton/contracts";
import { sayMoment } from "../when.ts";
import { duration } from "./amounts.ts";
import type { Paint } from "./colour.ts";
import { columns } from "./columns.ts";

type Plan = CommandReply<"switchover">;

export function planLines(plan: Plan, p: Paint): string[] {
  const rows = plan.checks.map((c) => [
    c.ok ? p.green("✔") : c.safety ? p.red("✖") : p.yellow("!"),
    c.check,
    c.found,
  ]);
  return [
    `${p.bold(`${plan.from} → ${plan.to}`)}  expected write pause ${duration(plan.expectedPauseMs)}`,
    ...columns(rows, { indent: 2 }),
    ...plan.notChosen.map((n) => p.dim(`  not ${n.node}: ${n.reason}`)),
  ];
}

/** What `--at` or `--cancel` came to, with the moment as this machine and as everybody calls it. */
export function plannedLines(answer: CommandReply<"plan">, set: boolean): string[] {
  const { cluster, planned, candidate, against } = answer;
  if (planned === null) return [`No switchover of ${cluster} is planned.`];
  const to = planned.to ?? "whom Baton chooses then";
  const what = `a switchover of ${cluster} to ${to} for ${sayMoment(planned.atUnixMs)}`;
  if (!set) return [`Taken back: ${what}.`];
  return [
    `Planned: ${what}.`,
    against === null
      ? `As things are now, ${candidate} would take over.`
      : `As things are now, it would be skipped: ${against}`,
    `Take it back with: baton switchover ${cluster} --cancel`,
  ];
}

export function stepLine(step: Step, p: Paint): string {
  const name = step.outcome === "done" ? p.cyan(step.step) : p.red(step.step);
  const text =
    step.outcome === "done" ? step.summary : `${p.red(step.code ?? step.outcome)}  ${step.summary}`;
  const by = step.takeovers > 0 ? p.dim(`  (taken over by ${step.executor})`) : "";
  const [line] = columns(
    [
      ["-".repeat(9), "-".repeat(10), "-".repeat(8)],
      [`+${duration(step.atMs)}`, name, duration(step.tookMs)],
    ],
    {
      right: [0, 2],
      indent: 2,
    },
  ).slice(1);
  return `${line}  ${text}${by}`;
}

export interface Measured {
  /** From the first write held off to the open candidate, in one executor's time; null when it was never so far. */
  closedMs: number | null;
  /** From the intent's arrival to the last step's end. */
  tookMs: number;
}

/** What the steps say of the times. Writes also wait for the first of the replicas to attach, which is part of `repoint`. */
export function measure(steps: readonly Step[]): Measured {
  const freeze = steps.find((s) => s.step === "freeze" && s.outcome === "done");
  const open = steps.find(
    (s) => s.step === "open" && s.outcome === "done" && s.executor === freeze?.executor && s.takeovers === 0,
  );
  return {
    closedMs: freeze !== undefined && open !== undefined ? open.atMs + open.tookMs - freeze.atMs : null,
    tookMs: Math.max(0, ...steps.map((s) => s.atMs + s.tookMs)),
  };
}

export function endLine(ended: Event, times: Measured, p: Paint): string {
  const outcome =
    ended.outcome === "completed"
      ? p.green("completed")
      : p.red(`${ended.outcome ?? "ended"}${ended.code === null ? "" : `: ${ended.code}`}`);
  const closed = times.closedMs === null ? "" : `, no primary for ${duration(times.closedMs)}`;
  return `${outcome} in ${duration(times.tookMs)}${closed}  ${ended.summary}`;
}
