/** A line for each test file as it ends, its failures in full at the end, and the counts. */
import type { Reporter, TestCase, TestModule } from "vitest/node";

/** Structural: errors of workers come as plain objects. */
interface Thrown {
  message?: string;
  stack?: string | undefined;
  diff?: string | undefined;
}

export class Progress implements Reporter {
  passed = 0;
  failed = 0;
  /** What to print when all is over. */
  readonly failures: string[] = [];
  readonly #print: (line: string) => void;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  onTestModuleEnd(module: TestModule): void {
    const bad: TestCase[] = [];
    let good = 0;
    let skipped = 0;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") good += 1;
      else if (state === "failed") bad.push(test);
      else skipped += 1;
    }
    // A file that cannot be loaded, or a hook that throws, has no failing test of its own.
    const orphans = [...suiteErrors(module)];
    this.passed += good;
    this.failed += bad.length + orphans.length;
    const counts = [`${good} passed`];
    if (bad.length + orphans.length > 0) counts.push(`${bad.length + orphans.length} failed`);
    if (skipped > 0) counts.push(`${skipped} skipped`);
    const took = `${(module.diagnostic().duration / 1000).toFixed(1)} s`;
    const mark = bad.length + orphans.length > 0 ? "✗" : "✓";
    this.#print(`${mark} ${module.relativeModuleId}  ${counts.join(", ")}  ${took}`);
    for (const test of bad) {
      this.#failure(`${module.relativeModuleId} > ${test.fullName}`, test.result().errors ?? []);
    }
    for (const error of orphans) this.#failure(module.relativeModuleId, [error]);
  }

  onTestRunEnd(_modules: readonly TestModule[], unhandled: readonly Thrown[]): void {
    this.failed += unhandled.length;
    for (const error of unhandled) this.#failure("outside any test", [error]);
  }

  #failure(name: string, errors: readonly Thrown[]): void {
    this.#print(`  ✗ ${name}`);
    this.failures.push("", `✗ ${name}`);
    for (const error of errors) {
      const text = error.stack ?? error.message ?? JSON.stringify(error);
      this.failures.push(indent(text.includes(error.message ?? "") ? text : `${error.message}\n${text}`));
      if (error.diff) this.failures.push(indent(error.diff));
    }
  }
}

function* suiteErrors(module: TestModule): Generator<Thrown> {
  yield* module.errors();
  for (const suite of module.children.allSuites()) yield* suite.errors();
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `    ${line}`)
    .join("\n");
}
