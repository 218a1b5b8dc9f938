/** `baton switchover`. */
import { BatonError, type CommandReply, type Event, type Step } from "@baton/contracts";
import { Exit } from "../failure.ts";
import { me } from "../me.ts";
import { listen } from "../operation-story.ts";
import { chooseNats, reachBus } from "../reach.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { endLine, measure, planLines, plannedLines, stepLine } from "../view/switchover-view.ts";

const ANSWER_MS = 10_000;

interface Options {
  to?: string;
  dryRun?: true;
  force?: true;
  at?: number;
  cancel?: true;
  config?: string;
  nats?: string;
  json?: true;
}

export async function switchover(cluster: string, o: Options): Promise<void> {
  if (o.at !== undefined || o.cancel === true) return plan(cluster, o);
  const bus = await reachBus(await chooseNats(o));
  const p = paint(wantsColour(process.stdout, process.env));
  const say = (...lines: string[]) => {
    if (!o.json) for (const line of lines) console.log(line);
  };
  try {
    // Listened to from before the order, so that no step is missed.
    const story = listen(bus, cluster, `switchover ${cluster}`);
    const plan = await bus.command(
      "switchover",
      { cluster, to: o.to ?? null, dryRun: o.dryRun === true, force: o.force === true },
      { timeoutMs: ANSWER_MS },
    );
    say(...planLines(plan, p));
    if (plan.operation === null) {
      if (o.json) console.log(JSON.stringify(plan, null, 2));
      if (plan.checks.some((c) => !c.ok && (c.safety || o.force !== true))) throw new Exit(1);
      return;
    }
    const { steps, ended } = await story.follow(plan.operation, (step) => say(stepLine(step, p)));
    const times = measure(steps);
    if (o.json) console.log(JSON.stringify(report(plan, steps, ended, times), null, 2));
    else say(endLine(ended, times, p));
    if (ended.outcome !== "completed") throw new Exit(1);
  } finally {
    await bus.drain();
  }
}

/** `--at` and `--cancel`: nothing is waited for. */
async function plan(cluster: string, o: Options): Promise<void> {
  if ((o.at !== undefined && o.cancel === true) || o.dryRun === true)
    throw new BatonError("E_USAGE", {
      place: "baton switchover",
      message: `${o.dryRun === true ? "--dry-run" : "--at"} cannot be combined with ${o.cancel === true ? "--cancel" : "--at"}.`,
      remedy: "Say one of them; --at says itself how it would go now.",
    });
  const switchover =
    o.at === undefined ? null : { atUnixMs: o.at, to: o.to ?? null, force: o.force === true };
  const bus = await reachBus(await chooseNats(o));
  try {
    const answer = await bus.command("plan", { cluster, switchover, by: me() }, { timeoutMs: ANSWER_MS });
    if (o.json) console.log(JSON.stringify(answer, null, 2));
    else for (const line of plannedLines(answer, switchover !== null)) console.log(line);
  } finally {
    await bus.drain();
  }
}

function report(
  plan: CommandReply<"switchover">,
  steps: readonly Step[],
  ended: Event,
  times: ReturnType<typeof measure>,
) {
  return {
    ...plan,
    outcome: ended.outcome,
    code: ended.code,
    summary: ended.summary,
    closed_ms: times.closedMs,
    took_ms: times.tookMs,
    steps: steps.map(({ step, outcome, code, executor, atMs, tookMs, summary }) => ({
      step,
      outcome,
      code,
      executor,
      at_ms: atMs,
      took_ms: tookMs,
      summary,
    })),
  };
}
