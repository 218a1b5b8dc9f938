/** What a run of the simulation has to say. Pure. */
import type { PlantName, SimulateReport } from "@baton/simulation";
import type { Paint } from "./colour.ts";
import { columns } from "./columns.ts";

export function simulationLines(report: SimulateReport, plant: PlantName | undefined, p: Paint): string[] {
  const { incidents, seed, broken } = report;
  const lines = broken.flatMap((b) => [
    ...b.broken.map(
      (w) =>
        `${p.red("✗")} incident ${b.incident}: ${p.bold(w.promise)} at ${w.atMs.toFixed(1)} ms: ${w.what}`,
    ),
    `  again, with its trace: baton lab simulate --seed ${seed} --incident ${b.incident}${plant === undefined ? "" : ` --plant ${plant}`}`,
  ]);
  const most = (counts: Record<string, number>) =>
    Object.entries(counts)
      .sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))
      .map(([name, n]) => [String(n), name]);
  if (incidents > 1)
    lines.push(
      "",
      p.bold("How operations ended"),
      ...columns(most(report.endings), { indent: 2 }),
      "",
      p.bold("Faults"),
      ...columns(most(report.faults), { indent: 2 }),
      "",
    );
  const rate = `${(report.tookMs / 1_000).toFixed(1)} s, ${(report.simulatedMs / 3_600_000).toFixed(1)} h of the models' time`;
  lines.push(
    `${broken.length === 0 ? p.green("✓") : p.red("✗")} seed ${seed}: ${incidents} incidents, ${report.acknowledged} acknowledged writes, ${broken.length} broke a promise (${rate})`,
  );
  return lines;
}
