/**
 * An executor with a bug, for chaos on real servers: started instead of services/executor/main.ts, with the bug's name in
 * BATON_PLANT. The promises must break; that shows that chaos can see.
 */
import { Worker } from "@baton/executor/core";
import { openSession } from "@baton/mysql";
import { runService } from "@baton/runtime";
import { PLANTS, type Plant, type PlantName } from "./plant.ts";

const name = process.env.BATON_PLANT ?? "";
if (!(name in PLANTS))
  throw new Error(`BATON_PLANT=${name}: expected one of ${Object.keys(PLANTS).join(", ")}`);
const plant: Plant = PLANTS[name as PlantName];

await runService({
  service: "executor",
  async start(ctx) {
    const nodes = new Map<string, { host: string; port: number }>();
    for (const cluster of Object.values(ctx.config.clusters))
      for (const [node, { host, port }] of Object.entries(cluster.nodes)) nodes.set(node, { host, port });
    const targetOf = (node: string) => {
      const target = nodes.get(node);
      if (target === undefined) throw new Error(`${node} is not in the configuration`);
      return target;
    };
    const bus = plant.bus?.(ctx.bus, openSession, targetOf, ctx.config.mysql) ?? ctx.bus;
    const worker = new Worker({ ...ctx, bus }, plant.open?.(openSession) ?? openSession);
    await worker.start();
    return { ready: () => worker.ready(), stop: () => worker.stop() };
  },
});
