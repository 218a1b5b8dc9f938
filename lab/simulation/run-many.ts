import { simulate } from "./simulate.ts";

const [seed, from, n, plant] = process.argv.slice(2);
const r = await simulate({
  seed: Number(seed),
  from: Number(from),
  incidents: Number(n),
  workers: 2,
  plant: plant as never,
  mostBroken: plant ? 3 : 30,
});
for (const b of r.broken)
  console.log(b.incident, JSON.stringify(b.broken), JSON.stringify(b.plan.faults).slice(0, 400));
console.log({ ...r, broken: r.broken.length });
