import { runService } from "@baton/runtime";
import { rehearse } from "./rehearsal.ts";
import { Worker } from "./worker.ts";

await runService({
  service: "executor",
  async start(ctx) {
    await rehearse();
    const worker = new Worker(ctx);
    await worker.start();
    return { ready: () => worker.ready(), stop: () => worker.stop() };
  },
});
