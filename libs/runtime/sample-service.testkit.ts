/** A service that does nothing, for tests; `--fail` is told by the environment. */
import { BatonError } from "@baton/contracts";
import { runService } from "./index.ts";

await runService({
  service: "prober",
  async start(context) {
    if (process.env.TEST_FAIL === "start") {
      throw new BatonError("E_STORE", { place: "test", message: "cannot start.", remedy: "Mend it." });
    }
    if (process.env.TEST_FAIL === "crash") setImmediate(() => Promise.reject(new Error("boom")));
    context.metrics.counter("test_starts_total", "Starts.").inc();
    return {
      ready: () => ({ ok: process.env.TEST_FAIL !== "unready", why: "it is told so" }),
      async stop() {
        if (process.env.TEST_FAIL === "stop") await new Promise(() => {});
      },
    };
  },
});
