/** A failover hangs, and a person ends it: it is rolled back at once, and ordered again when nobody holds Baton back. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

const main = join(import.meta.dirname, "../cli/main.ts");
function baton(s: Stage, ...args: string[]): Promise<{ code: number; out: string }> {
  const where = ["-c", s.configFile];
  return new Promise((done) =>
    execFile(process.execPath, [main, ...args, ...where], { timeout: 30_000 }, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }),
    ),
  );
}

it("a failover that waits for an applier is ended by baton abort", async () => {
  stage = await startStage();
  const s = stage;
  expect((await baton(s, "abort", "shop")).code).toBe(1);
  const locks = await Promise.all(["n2", "n3"].map((n) => s.lab.node(n).hold("FLUSH TABLES WITH READ LOCK")));
  // Received, acknowledged, and applied by nobody.
  await s.lab.node("n1").query("CREATE DATABASE held");
  await s.lab.node("n1").kill();
  const phase = async () => (await s.bus.bucket("baton_state").get("shop"))?.value.phase;
  await s.until("the failover waits", async () =>
    (await phase()) === "fencing" && s.steps.some((step) => step.step === "choose") ? true : null,
  );
  await s.bus.command("pause", { cluster: "shop", by: "the test", reason: "it shall not begin again" });
  const beganMs = performance.now();
  const ended = await baton(s, "abort", "shop", "--reason", "a backup runs");
  expect(ended).toMatchObject({ code: 0, out: expect.stringContaining("rolled-back") });
  // Long before the 30 s for which it would have waited.
  expect(performance.now() - beganMs).toBeLessThan(20_000);
  const state = (await s.bus.bucket("baton_state").get("shop"))?.value;
  expect(state).toMatchObject({ phase: "steady", epoch: 1, primary: "n1", operation: null });
  expect(state?.last).toMatchObject({ kind: "failover", outcome: "rolled-back", code: "aborted" });
  await Promise.all(locks.map((letGo) => letGo()));
  await s.bus.command("resume", { cluster: "shop", by: "the test" });
  await s.event("primary-changed");
  await s.until("epoch 2", async () => ((await s.status()).epoch === 2 ? true : null));
});
