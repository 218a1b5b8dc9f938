/** `baton rebuild`: orders it, and shows it until it has ended. The order stands whether anybody looks on or not. */
import type { Bus } from "@baton/bus";
import { BatonError, type Event, MESSAGES, type Step } from "@baton/contracts";
import { Exit } from "../failure.ts";
import { chooseNats, reachBus } from "../reach.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { LivePicture } from "../view/live-picture.ts";
import { endingLine, progressLine } from "../view/rebuild-view.ts";
import { stepLine } from "../view/switchover-view.ts";

const ANSWER_MS = 10_000;
/** After so long without a word it is asked whether the operation still runs. */
const SILENCE_MS = 10_000;

interface Options {
  from?: string;
  config?: string;
  nats?: string;
  json?: true;
}

export async function rebuild(cluster: string, node: string, o: Options): Promise<void> {
  const bus = await reachBus(await chooseNats(o));
  const p = paint(wantsColour(process.stdout, process.env));
  const live = process.stdout.isTTY && !o.json ? new LivePicture(process.stdout) : null;
  const say = (line: string) => {
    live?.end();
    if (!o.json) console.log(line);
  };
  try {
    const heard: (Step | Event)[] = [];
    let wake = () => {};
    const hear = (message: Step | Event) => {
      heard.push(message);
      wake();
    };
    // Listened to from before the order, so that nothing is missed.
    bus.subscribe(MESSAGES.step, { cluster }, hear);
    bus.subscribe(MESSAGES.event, { cluster }, hear);
    const order = await bus.command(
      "rebuild",
      { cluster, node, from: o.from ?? null },
      { timeoutMs: ANSWER_MS },
    );
    say(`${p.bold(`${order.from} → ${node}`)}  ${p.dim(order.operation)}`);
    for (;;) {
      const message = heard.shift();
      if (message === undefined) {
        const spoken = await new Promise<boolean>((done) => {
          const timer = setTimeout(() => done(false), SILENCE_MS);
          wake = () => {
            clearTimeout(timer);
            done(true);
          };
          if (heard.length > 0) wake();
        });
        if (!spoken && heard.length === 0) await stillRuns(bus, cluster, order.operation);
        continue;
      }
      if (message.operation !== order.operation) continue;
      if ("step" in message) say(stepLine(message, p));
      else if (message.type === "rebuild-progress") {
        if (live !== null) live.show([progressLine(message, p)]);
        else say(progressLine(message, p));
      } else if (message.type === "errant-salvaged") say(`  ${p.yellow("archived")}  ${message.summary}`);
      else if (message.type === "operation-ended") {
        if (o.json) console.log(JSON.stringify({ ...order, ...outcome(message) }, null, 2));
        else say(endingLine(message, p));
        if (message.outcome !== "completed") throw new Exit(1);
        return;
      }
    }
  } finally {
    live?.end();
    await bus.drain();
  }
}

function outcome({ outcome, code, summary, next }: Event) {
  return { outcome, code, summary, next };
}

async function stillRuns(bus: Bus, cluster: string, operation: string): Promise<void> {
  const { clusters } = await bus.command("status", { cluster }, { timeoutMs: ANSWER_MS });
  const running = clusters[0]?.operation ?? null;
  if (running === operation) return;
  throw new BatonError("E_NO_ANSWER", {
    place: `rebuild ${cluster}`,
    message:
      running === null
        ? `Nothing is heard of ${operation}.`
        : `${operation} gave way to ${running}; Baton carries it on by itself.`,
    remedy: `See baton status ${cluster} and baton history ${operation}.`,
  });
}
