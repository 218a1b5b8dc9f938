import { Incident } from "./incident.ts";
import { installClock } from "./timeline.ts";

const real = () => process.cpuUsage().user / 1000;
if (process.argv[4] !== undefined && Number(process.argv[4]) - Number(process.argv[3]) > 1)
  Error.stackTraceLimit = 0;
installClock();
const [seed, from, to] = process.argv.slice(2).map(Number);
const t = real();
let ev = 0,
  bad = 0,
  ms = 0;
const counts: Record<string, number> = {};
for (let i = from!; i < to!; i++) {
  const r = await new Incident({
    seed: seed!,
    incident: i,
    onTrace: to! - from! === 1 ? (l) => console.log(l) : undefined,
  }).run();
  ev += r.events;
  ms += r.tookMs;
  for (const e of r.ended) {
    const k = `${e.kind} ${e.outcome} ${e.code ?? ""}`;
    counts[k] = (counts[k] ?? 0) + 1;
  }
  if (r.broken.length) {
    bad++;
    console.log(i, JSON.stringify(r.plan.faults), JSON.stringify(r.broken));
  }
  if (bad > 20) break;
}
console.log({ n: to! - from!, ev, ms: Math.round(ms), cpu: Math.round(real() - t), bad });
console.log(counts);
