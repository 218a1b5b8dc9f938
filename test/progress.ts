/** A line for each test file as it ends, and what came of each: its counts, its failures in full and what it printed. */
import type { Reporter, TestCase, TestModule, Vitest } from "vitest/node";

/** Of one file's console, the last this many characters are kept. */
const MAX_CONSOLE_CHARS = 1_000_000;

/** Structural: errors of workers come as plain objects. */
interface Thrown {
  message?: string;
  stack?: string | undefined;
  diff?: string | undefined;
}

export interface FileOutcome {
  /** Absolute. */
  path: string;
  /** As it is printed: relative to the root. */
  name: string;
  /** The vitest project: `quick` or `servers`. */
  group: string;
  passed: number;
  failed: number;
  skipped: number;
  /** Lines: each failed test or hook with its error. Empty when nothing failed. */
  failures: string[];
  /** What its tests wrote to the console, at most `MAX_CONSOLE_CHARS` of it. */
  console: string;
}

export class Progress implements Reporter {
  readonly files: FileOutcome[] = [];
  /** Errors that belong to no test and no file: they are nobody's to repeat. */
  outsideFailed = 0;
  readonly outsideFailures: string[] = [];
  readonly #print: (line: string) => void;
  readonly #console = new Map<string, string>();
  #vitest: Vitest | undefined;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onUserConsoleLog({ taskId, content }: { taskId?: string; content: string }): void {
    const path = taskId && this.#vitest?.state.idMap.get(taskId)?.file.filepath;
    if (!path) return;
    this.#console.set(path, `${this.#console.get(path) ?? ""}${content}`.slice(-MAX_CONSOLE_CHARS));
  }

  onTestModuleEnd(module: TestModule): void {
    const bad: TestCase[] = [];
    let passed = 0;
    let skipped = 0;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") passed += 1;
      else if (state === "failed") bad.push(test);
      else skipped += 1;
    }
    // A file that cannot be loaded, or a hook that throws, has no failing test of its own.
    const orphans = [...suiteErrors(module)];
    const failed = bad.length + orphans.length;
    const counts = [`${passed} passed`];
    if (failed > 0) counts.push(`${failed} failed`);
    if (skipped > 0) counts.push(`${skipped} skipped`);
    const took = `${(module.diagnostic().duration / 1000).toFixed(1)} s`;
    const name = module.relativeModuleId;
    this.#print(`${failed > 0 ? "✗" : "✓"} ${name}  ${counts.join(", ")}  ${took}`);
    const failures: string[] = [];
    for (const test of bad) {
      failures.push(...this.#failure(`${name} > ${test.fullName}`, test.result().errors ?? []));
    }
    for (const error of orphans) failures.push(...this.#failure(name, [error]));
    this.files.push({
      path: module.moduleId,
      name,
      group: module.project.name,
      passed,
      failed,
      skipped,
      failures,
      console: this.#console.get(module.moduleId) ?? "",
    });
    this.#console.delete(module.moduleId);
  }

  onTestRunEnd(_modules: readonly TestModule[], unhandled: readonly Thrown[]): void {
    this.outsideFailed += unhandled.length;
    for (const error of unhandled) this.outsideFailures.push(...this.#failure("outside any test", [error]));
  }

  #failure(name: string, errors: readonly Thrown[]): string[] {
    this.#print(`  ✗ ${name}`);
    const lines = ["", `✗ ${name}`];
    for (const error of errors) {
      const text = error.stack ?? error.message ?? JSON.stringify(error);
      lines.push(indent(text.includes(error.message ?? "") ? text : `${error.message}\n${text}`));
      if (error.diff) lines.push(indent(error.diff));
    }
    return lines;
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
