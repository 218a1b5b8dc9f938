import { runService } from "@baton/runtime";
import { rehearse } from "./rehearsal.ts";
import { settingsOf, Watcher } from "./watcher.ts";

await runService({
  service: "decider",
  async start(ctx) {
    await rehearse(settingsOf(ctx));
    const watcher = new Watcher(ctx);
    await watcher.start();
    return { ready: () => watcher.ready(), stop: () => watcher.stop() };
  },
});
