/** `baton switchover`. */
import type { Bus } from "@baton/bus";
import { BatonError, type CommandReply, type Event, MESSAGES, type Step } from "@baton/contracts";
import { Exit } from "../failure.ts";
import { me } from "../me.ts";
import { chooseNats, reachBus } from "../reach.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { endLine, measure, planLines, plannedLines, stepLine } from "../view/switchover-view.ts";

const ANSWER_MS = 10_000;
/** An executor takes an order up in milliseconds, a successor after some seconds. */
const SILENCE_MS = 20_000;

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
    const story = listen(bus, cluster);
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

/** Keeps what is said of the cluster until it is known which operation is meant, then hands it on as it comes. */
function listen(bus: Bus, cluster: string) {
  const steps: Step[] = [];
  const events: Event[] = [];
  let wake = () => {};
  bus.subscribe(MESSAGES.step, { cluster }, (step) => {
    steps.push(step);
    wake();
  });
  bus.subscribe(MESSAGES.event, { cluster }, (event) => {
    events.push(event);
    wake();
  });
  return {
    async follow(operation: string, onStep: (step: Step) => void): Promise<{ steps: Step[]; ended: Event }> {
      let told = 0;
      for (;;) {
        const heard = new Promise<boolean>((resolve) => {
          const timer = setTimeout(() => resolve(false), SILENCE_MS);
          wake = () => {
            clearTimeout(timer);
            resolve(true);
          };
        });
        const mine = steps.filter((s) => s.operation === operation);
        for (; told < mine.length; told++) onStep(mine[told] as Step);
        const ended = events.find((e) => e.type === "operation-ended" && e.operation === operation);
        if (ended !== undefined) {
          wake();
          return { steps: mine, ended };
        }
        if (await heard) continue;
        throw new BatonError("E_NO_ANSWER", {
          place: `switchover ${cluster}`,
          message: `${operation} was ordered, and nothing has been heard of it for ${SILENCE_MS / 1_000} s.`,
          remedy: `See that an executor runs, then baton history ${operation}.`,
        });
      }
    },
  };
}
