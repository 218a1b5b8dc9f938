/** `baton history`. */
import { BatonError } from "@baton/contracts";
import { chooseNats, reachBus } from "../reach.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { operationsLines, timelineLines } from "../view/history-view.ts";

const ANSWER_MS = 5_000;

interface Options {
  cluster?: string;
  limit: number;
  config?: string;
  nats?: string;
  json?: true;
}

export async function history(operation: string | undefined, o: Options): Promise<void> {
  const bus = await reachBus(await chooseNats(o));
  const ask = (id: string | null, limit: number) =>
    bus.command("history", { cluster: o.cluster ?? null, operation: id, limit }, { timeoutMs: ANSWER_MS });
  try {
    const id = operation === "last" ? (await ask(null, 1)).operations[0]?.operation : operation;
    if (operation === "last" && id === undefined) {
      throw new BatonError("E_NOT_FOUND", {
        place: "baton history last",
        message: "No operation is on record.",
        remedy: "There is nothing to show until Baton has done something.",
      });
    }
    const answer = await ask(id ?? null, o.limit);
    const p = paint(wantsColour(process.stdout, process.env));
    const [summary] = answer.operations;
    if (o.json) console.log(JSON.stringify(answer, null, 2));
    else if (id === undefined) for (const line of operationsLines(answer.operations, p)) console.log(line);
    else if (summary) for (const line of timelineLines(summary, answer.records, p)) console.log(line);
    else {
      throw new BatonError("E_NOT_FOUND", {
        place: `baton history ${operation}`,
        message: "There is no operation of this name on record.",
        remedy: "baton history lists those that are.",
      });
    }
  } finally {
    await bus.drain();
  }
}
