/** `baton lab simulate`: incidents on models, by the hundred thousand; and one of them again, line by line. */
import { type PlantName, replay, simulate as run, type SimulateReport } from "@baton/simulation";
import { Exit } from "../failure.ts";
import { paint, wantsColour } from "../view/colour.ts";
import { simulationLines } from "../view/simulation-view.ts";

export interface SimulateOptions {
  seed: number;
  incidents: number;
  from: number;
  incident?: number;
  workers?: number;
  plant?: PlantName;
  json?: true;
}

export async function simulate(o: SimulateOptions): Promise<void> {
  const { seed, plant } = o;
  const report =
    o.incident === undefined
      ? await many(o)
      : await replay({ seed, incident: o.incident, plant }, (line) => console.log(line));
  if (o.json) console.log(JSON.stringify(report, null, 2));
  else
    for (const line of simulationLines(report, plant, paint(wantsColour(process.stdout, process.env))))
      console.log(line);
  if (report.broken.length > 0) throw new Exit(1);
}

async function many({ seed, incidents, from, workers, plant }: SimulateOptions): Promise<SimulateReport> {
  const shows = process.stderr.isTTY === true;
  const report = await run({
    seed,
    incidents,
    from,
    workers,
    plant,
    onProgress: (done, broken) => {
      if (shows) process.stderr.write(`\r${done} of ${incidents} incidents, ${broken} broke a promise `);
    },
  });
  if (shows) process.stderr.write("\r\x1b[K");
  return report;
}
