/** `baton failover`. */
import { Exit } from "../failure.ts";
import { me } from "../me.ts";
import { listen } from "../operation-story.ts";
import { chooseNats, reachBus } from "../reach.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { endLine, measure, stepLine } from "../view/switchover-view.ts";

const ANSWER_MS = 10_000;

interface Options {
  to?: string;
  dryRun?: true;
  acceptLoss?: string;
  acceptUnproven?: true;
  config?: string;
  nats?: string;
  json?: true;
}

export async function failover(cluster: string, o: Options): Promise<void> {
  const bus = await reachBus(await chooseNats(o));
  const p = paint(wantsColour(process.stdout, process.env));
  const say = (...lines: string[]) => {
    if (!o.json) for (const line of lines) console.log(line);
  };
  try {
    // Listened to from before the order, so that no step is missed.
    const story = listen(bus, cluster, `failover ${cluster}`);
    const plan = await bus.command(
      "failover",
      {
        cluster,
        to: o.to ?? null,
        dryRun: o.dryRun === true,
        acceptLoss: o.acceptLoss ?? null,
        acceptUnproven: o.acceptUnproven === true,
        by: me(),
      },
      { timeoutMs: ANSWER_MS },
    );
    say(`${p.bold(`${plan.from} → ${plan.to}`)}  ${plan.reason}`);
    say(...plan.notChosen.map((n) => p.dim(`  not ${n.node}: ${n.reason}`)));
    if (plan.operation === null) {
      if (o.json) console.log(JSON.stringify(plan, null, 2));
      return;
    }
    const { steps, ended } = await story.follow(plan.operation, (step) => say(stepLine(step, p)));
    const { outcome, code, summary, next } = ended;
    const times = measure(steps);
    if (o.json)
      console.log(JSON.stringify({ ...plan, outcome, code, summary, next, took_ms: times.tookMs }, null, 2));
    else say(endLine(ended, times, p));
    if (outcome !== "completed") throw new Exit(1);
  } finally {
    await bus.drain();
  }
}
