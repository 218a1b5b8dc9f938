/** `baton abort`: ends the operation that runs, and shows how it ended. */

import { me } from "../me.ts";
import { listen } from "../operation-story.ts";
import { chooseNats, reachBus } from "../reach.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { stepLine } from "../view/switchover-view.ts";

const ANSWER_MS = 10_000;
const REASON_MOST = 500;

interface Options {
  reason: string;
  config?: string;
  nats?: string;
  json?: true;
}

export async function abort(cluster: string, o: Options): Promise<void> {
  const bus = await reachBus(await chooseNats(o));
  const p = paint(wantsColour(process.stdout, process.env));
  const say = (line: string) => {
    if (!o.json) console.log(line);
  };
  try {
    const story = listen(bus, cluster, `abort ${cluster}`);
    const request = { cluster, by: me(), reason: o.reason.slice(0, REASON_MOST) };
    const answer = await bus.command("abort", request, { timeoutMs: ANSWER_MS });
    say(`${p.bold(answer.operation)}  ${answer.ends}`);
    const { ended } = await story.follow(answer.operation, (step) => say(stepLine(step, p)));
    const { outcome, code, summary, next } = ended;
    if (o.json) console.log(JSON.stringify({ ...answer, outcome, code, summary, next }, null, 2));
    else say(`${p.green("●")} ${outcome ?? "ended"}: ${summary}`);
  } finally {
    await bus.drain();
  }
}
