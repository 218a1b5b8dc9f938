/** `baton lab chaos`: starts the director in a network of its own, and waits for it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BatonError } from "@baton/contracts";
import { prepareTemplate } from "@baton/lab";
import {
  cannotNetwork,
  combinationsNamed,
  drawWorld,
  faultsNamed,
  markdownOf,
  type RoundResult,
  spawnInOwnNetwork,
  tableOf,
  type World,
} from "@baton/lab/chaos";
import type { ChaosOptions } from "../chaos/main.ts";
import { Exit } from "../failure.ts";
import { onInterrupt } from "../interrupt.ts";

export async function chaos(o: {
  seed: number;
  rounds?: number;
  from: number;
  nodes?: number;
  acks?: number;
  regions?: World["regions"];
  durability?: World["durability"];
  faults?: string;
  each?: true;
  logs?: string;
  table?: string[];
  plant?: ChaosOptions["plant"];
  json?: true;
}): Promise<void> {
  if (o.table !== undefined) return printTable(o.table);
  const faults = o.faults?.split(",").map((name) => name.trim()) ?? null;
  const { nodes, acks, regions, durability } = o;
  const world = drawWorld(o.seed, { nodes, acks, regions, durability });
  if (o.each) combinationsNamed(faults ?? undefined, world);
  else faultsNamed(faults ?? undefined, world);
  const hindrance = cannotNetwork();
  if (hindrance !== null) throw hindrance;
  // Made here, once: labs lock each other out of it by a name that only processes of one network see.
  await prepareTemplate((line) => process.stderr.write(`${line}\n`));
  const options: ChaosOptions = {
    seed: o.seed,
    world,
    rounds: o.rounds ?? null,
    from: o.from,
    faults,
    each: o.each ?? false,
    json: o.json ?? false,
    plant: o.plant ?? null,
    logs: o.logs ?? null,
  };
  const director = spawnInOwnNetwork(process.execPath, [
    "--disable-warning=ExperimentalWarning",
    join(import.meta.dirname, "../chaos/main.ts"),
    JSON.stringify(options),
  ]);
  const interrupt = onInterrupt(() => director.kill("SIGKILL"));
  // It ends in good order when it is let go.
  const letGo = () => {
    if (director.connected) director.disconnect();
  };
  interrupt.signal.addEventListener("abort", letGo, { once: true });
  try {
    const code = await new Promise<number>((done, fail) => {
      director.once("error", fail);
      director.once("exit", (exitCode) => done(exitCode ?? 1));
    });
    if (interrupt.signal.aborted) throw new Exit(130);
    if (code !== 0) throw new Exit(code);
  } finally {
    interrupt.release();
  }
}

/** Throws BatonError E_NOT_FOUND or E_STORE for a file that holds no results. */
function printTable(files: readonly string[]): void {
  const results = files.flatMap((file) => {
    try {
      const lines = readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line.startsWith("{"));
      return lines.map((line) => JSON.parse(line) as RoundResult);
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
      throw new BatonError(missing ? "E_NOT_FOUND" : "E_STORE", {
        place: file,
        message: missing ? "There is no such file." : `It cannot be read: ${(error as Error).message}`,
        remedy: "Name files that hold what baton lab chaos --json printed.",
        cause: error,
      });
    }
  });
  for (const line of markdownOf(tableOf(results))) console.log(line);
}
