import { runService } from "@baton/runtime";
import { Watch } from "./watch.ts";

await runService({
  service: "prober",
  async start(ctx) {
    const watch = new Watch(ctx);
    await watch.start();
    return { ready: () => watch.ready(), stop: () => watch.stop() };
  },
});
