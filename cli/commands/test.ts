/** `baton test`: the runner is a program of its own, so that its exit is the tests' end whatever they leave open. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { Exit } from "../failure.ts";

export async function test(filters: string[], o: { unit?: true; strict?: true }): Promise<void> {
  const runner = join(import.meta.dirname, "../../test/run.ts");
  const flags = [...(o.unit ? ["--unit"] : []), ...(o.strict ? ["--strict"] : [])];
  const child = spawn(process.execPath, [runner, ...flags, "--", ...filters], { stdio: "inherit" });
  // The terminal tells the runner too; its end is ours.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  const code = await new Promise<number>((done, fail) => {
    child.once("error", fail);
    child.once("exit", (exitCode, signal) => done(exitCode ?? (signal === "SIGINT" ? 130 : 1)));
  });
  if (code !== 0) throw new Exit(code);
}
