/** `baton status`. */
import type { Bus } from "@baton/bus";
import { onInterrupt } from "../interrupt.ts";
import { chooseNats, reachBus } from "../reach.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { LivePicture } from "../view/live-picture.ts";
import { statusLines } from "../view/status-view.ts";

const ANSWER_MS = 3_000;
const EVERY_MS = 1_000;

interface Options {
  config?: string;
  nats?: string;
  json?: true;
  watch?: true;
}

export async function status(cluster: string | undefined, o: Options): Promise<void> {
  const bus = await reachBus(await chooseNats(o));
  try {
    if (o.watch) await watch(bus, cluster, o);
    else for (const line of await picture(bus, cluster, o)) console.log(line);
  } finally {
    await bus.drain();
  }
}

async function picture(bus: Bus, cluster: string | undefined, o: Options): Promise<string[]> {
  const answer = await bus.command("status", { cluster: cluster ?? null }, { timeoutMs: ANSWER_MS });
  if (o.json) return [JSON.stringify(answer, null, o.watch ? 0 : 2)];
  return statusLines(answer.clusters, paint(wantsColour(process.stdout, process.env)));
}

async function watch(bus: Bus, cluster: string | undefined, o: Options): Promise<void> {
  const interrupt = onInterrupt(() => undefined);
  const live = new LivePicture(process.stdout);
  try {
    while (!interrupt.signal.aborted) {
      const lines = await picture(bus, cluster, o).catch((error) => {
        // The decider may be away for a moment; a wrong cluster name stays wrong.
        if ((error as { code?: string }).code !== "E_NO_ANSWER") throw error;
        return [`no decider answers: ${(error as Error).message}`];
      });
      if (o.json || !process.stdout.isTTY) for (const line of lines) console.log(line);
      else live.show(lines);
      await new Promise<void>((done) => {
        const timer = setTimeout(done, EVERY_MS);
        const now = () => {
          clearTimeout(timer);
          done();
        };
        interrupt.signal.addEventListener("abort", now, { once: true });
      });
    }
  } finally {
    live.end();
    interrupt.release();
  }
}
