/** `baton repair`. */
import { Exit } from "../failure.ts";
import { listen } from "../operation-story.ts";
import { chooseNats, reachBus } from "../reach.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { repairEnd, repairPlan } from "../view/repair-view.ts";
import { stepLine } from "../view/switchover-view.ts";

const ANSWER_MS = 10_000;

interface Options {
  dryRun?: true;
  injectEmpty?: true;
  keep?: true;
  config?: string;
  nats?: string;
  json?: true;
}

export async function repair(cluster: string, node: string | undefined, o: Options): Promise<void> {
  const bus = await reachBus(await chooseNats(o));
  const p = paint(wantsColour(process.stdout, process.env));
  const say = (...lines: string[]) => {
    if (!o.json) for (const line of lines) console.log(line);
  };
  try {
    // Listened to from before the order, so that no step is missed.
    const story = listen(bus, cluster, `repair ${cluster}`);
    const request = {
      cluster,
      node: node ?? null,
      dryRun: o.dryRun === true,
      inject: o.injectEmpty === true,
      keep: o.keep === true,
    };
    const plan = await bus.command("repair", request, { timeoutMs: ANSWER_MS });
    say(...repairPlan(plan, p));
    if (plan.operation === null) {
      if (o.json) console.log(JSON.stringify(plan, null, 2));
      return;
    }
    const { ended } = await story.follow(plan.operation, (step) => say(stepLine(step, p)));
    const { outcome, code, summary, next } = ended;
    if (o.json) console.log(JSON.stringify({ ...plan, outcome, code, summary, next }, null, 2));
    else say(repairEnd(ended, p));
    if (outcome !== "completed") throw new Exit(1);
  } finally {
    await bus.drain();
  }
}
