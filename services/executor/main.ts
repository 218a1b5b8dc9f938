import { runService } from "@baton/runtime";
import { Worker } from "./worker.ts";

await runService({
  service: "executor",
  async start(ctx) {
    const worker = new Worker(ctx);
    await worker.start();
    return { ready: () => worker.ready(), stop: () => worker.stop() };
  },
});
