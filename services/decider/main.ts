import { runService } from "@baton/runtime";
import { Watcher } from "./watcher.ts";

await runService({
  service: "decider",
  async start(ctx) {
    const watcher = new Watcher(ctx);
    await watcher.start();
    return { ready: () => watcher.ready(), stop: () => watcher.stop() };
  },
});
