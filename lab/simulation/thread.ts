/** A worker thread: its timers and clocks are virtual from here on, so it does nothing but run incidents. */
import { parentPort, workerData } from "node:worker_threads";
import { dig } from "./hole.ts";
import type { IncidentOptions, Incident as Running } from "./incident.ts";
import { PLANTS } from "./plant.ts";
import { addIncident, emptyPart, type ForThread, type FromThread, type ToThread } from "./simulate.ts";
import { installClock } from "./timeline.ts";

const { hole } = workerData as ForThread;
if (hole !== undefined) dig(hole);
const { Incident } = await import("./incident.ts");
installClock();

let running: Running | null = null;
process.on("unhandledRejection", (error) => {
  if (running === null) throw error;
  running.uncaught(error);
});

const say = (message: FromThread): void => parentPort?.postMessage(message);

parentPort?.on("message", (job: ToThread) => {
  void run(job).catch((error: unknown) =>
    say({ type: "error", text: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});

async function run({ seed, from, to, plant, plan, trace }: ToThread): Promise<void> {
  const part = emptyPart();
  // Where an error was made is of use in a trace alone, and costs time.
  Error.stackTraceLimit = trace ? 10 : 0;
  for (let incident = from; incident < to; incident++) {
    const o: IncidentOptions = {
      seed,
      incident,
      plan,
      plant: plant === undefined ? undefined : PLANTS[plant],
      onTrace: trace ? (line) => say({ type: "trace", line }) : undefined,
    };
    running = new Incident(o);
    try {
      addIncident(part, await running.run());
    } catch (error) {
      throw new Error(
        `incident ${incident} of seed ${seed}: ${error instanceof Error ? error.message : error}`,
        { cause: error },
      );
    }
  }
  say({ type: "part", part });
}
