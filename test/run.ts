/**
 * `baton test`: type check and lint, then every test, with progress that can be read and a last line that
 * can be counted: `N passed, N failed`.
 *
 *   node test/run.ts [--unit] [--strict] [--root <folder>] [filter…]
 */
import { spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { startVitest } from "vitest/node";
import { Progress } from "./progress.ts";
import { judge } from "./second-run.ts";

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

interface Options {
  unit: boolean;
  strict: boolean;
  /** Where the tests are: this repository, or a small one that tests this runner. */
  root: string;
}

/** Runs the files whose path contains one of `filters`. */
async function runTests(filters: string[], { unit, root }: Options): Promise<Progress> {
  const progress = new Progress((line) => console.log(line));
  const vitest = await startVitest(filters, {
    root,
    run: true,
    watch: false,
    passWithNoTests: true,
    reporters: [progress],
    ...(unit ? { project: ["quick"] } : {}),
  });
  await vitest.close();
  return progress;
}

async function run(filters: string[], options: Options): Promise<number> {
  process.chdir(options.root);
  let passed = 0;
  let failed = 0;
  if (filters.length === 0) {
    for (const ok of await Promise.all(CHECKS.map(check))) {
      if (ok) passed += 1;
      else failed += 1;
    }
  }
  const verdict = await judge({
    first: await runTests(filters, options),
    alone: (path) => runTests([path], options),
    flakesFolder: join(options.root, ".test-flakes"),
    strict: options.strict,
    print: (line) => console.log(line),
  });
  passed += verdict.passed;
  failed += verdict.failed;
  for (const line of verdict.lines) console.log(line);
  if (passed + failed === 0)
    console.log(`No test file's path contains ${filters.join(" or ") || "anything"}.`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    unit: { type: "boolean", default: false },
    strict: { type: "boolean", default: false },
    root: { type: "string", default: REPOSITORY },
  },
});
process.exit(await run(positionals, { ...values, root: resolve(values.root) }));
