/**
 * `baton test`: type check and lint, then every test, with progress that can be read and a last line that
 * can be counted: `N passed, N failed`.
 *
 *   node test/run.ts [--unit] [filter…]
 */
import { spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { startVitest } from "vitest/node";
import { Progress } from "./progress.ts";

const REPOSITORY = resolve(import.meta.dirname, "..");
const CHECK_TIMEOUT_MS = 300_000;

interface Check {
  name: string;
  program: string;
  args: string[];
}

const CHECKS: Check[] = [
  { name: "type check", program: "typescript/bin/tsc", args: ["-p", ".", "--noEmit"] },
  { name: "lint", program: "@biomejs/biome/bin/biome", args: ["check", "."] },
];

/** Returns whether it found nothing to complain of; its complaints are printed. */
function check({ name, program, args }: Check): Promise<boolean> {
  const startedMs = performance.now();
  return new Promise((done) => {
    const file = join(REPOSITORY, "node_modules", program);
    const child = spawn(process.execPath, [file, ...args], {
      cwd: REPOSITORY,
      timeout: CHECK_TIMEOUT_MS,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const output: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => output.push(chunk));
    child.once("close", (code) => {
      const took = `${((performance.now() - startedMs) / 1000).toFixed(1)} s`;
      if (code !== 0) process.stdout.write(`${Buffer.concat(output)}\n`);
      console.log(`${code === 0 ? "✓" : "✗"} ${name}  ${took}`);
      done(code === 0);
    });
  });
}

async function run(filters: string[], unitOnly: boolean): Promise<number> {
  process.chdir(REPOSITORY);
  let passed = 0;
  let failed = 0;
  if (filters.length === 0) {
    for (const ok of await Promise.all(CHECKS.map(check))) {
      if (ok) passed += 1;
      else failed += 1;
    }
  }
  const progress = new Progress((line) => console.log(line));
  const vitest = await startVitest(filters, {
    root: REPOSITORY,
    run: true,
    watch: false,
    passWithNoTests: true,
    reporters: [progress],
    ...(unitOnly ? { project: ["quick"] } : {}),
  });
  await vitest.close();
  passed += progress.passed;
  failed += progress.failed;
  for (const line of progress.failures) console.log(line);
  if (passed + failed === 0)
    console.log(`No test file's path contains ${filters.join(" or ") || "anything"}.`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { unit: { type: "boolean", default: false } },
});
process.exit(await run(positionals, values.unit));
