/** `baton history`. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import type { Bus } from "@baton/bus";
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
  salvaged?: true;
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
    if (o.salvaged) {
      await writeSalvaged(bus, id, o.cluster);
      return;
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

/** What a rebuild kept of the node's own transactions, where it is more than its event shows. */
async function writeSalvaged(
  bus: Bus,
  operation: string | undefined,
  cluster: string | undefined,
): Promise<void> {
  const place = `baton history ${operation ?? ""} --salvaged`;
  if (operation === undefined || cluster === undefined)
    throw new BatonError("E_USAGE", {
      place,
      message: "It needs the operation and its cluster.",
      remedy: "baton history <operation> --cluster <cluster> --salvaged > rows.sql",
    });
  const parts = bus.bucket("baton_salvage");
  const get = async (part: number) => {
    const found = await parts.get(`${cluster}.${operation}.${part}`);
    if (found !== null) return found.value;
    throw new BatonError("E_NOT_FOUND", {
      place,
      message:
        part === 0
          ? "Nothing was kept beside the operation's events."
          : `Part ${part} is not there any more.`,
      remedy: `baton history ${operation} shows what its events have.`,
    });
  };
  const unpacked = Readable.from(
    (async function* () {
      for (let part = 0, last = false; !last; part++) {
        const { gzip, parts: all } = await get(part);
        last = all !== null;
        yield Buffer.from(gzip, "base64");
      }
    })(),
  );
  await pipeline(unpacked, createGunzip(), process.stdout, { end: false });
}
