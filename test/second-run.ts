/**
 * A test on real servers can fail because the machine was busy. Such a file runs once more, alone: what passes then is a flake.
 * It is told, and both outputs are kept, because a flake is a bug all the same; but it does not hold up a change that did
 * not cause it. Nothing else is forgiven: not a quick test, not an error outside any test.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FileOutcome, Progress } from "./progress.ts";

/** More failed files than this are no flakes: something is broken, and to run them again would take long and say nothing. */
export const MAX_FILES_AGAIN = 8;
/** Flakes kept; the oldest go. */
const MAX_KEPT = 100;

export interface Verdict {
  passed: number;
  failed: number;
  /** Lines: failures in full, then a line for each flake. */
  lines: string[];
}

export interface SecondRun {
  first: Progress;
  /** Runs one file, given by its absolute path, with nothing beside it. */
  alone: (path: string) => Promise<Progress>;
  /** Where both outputs of a flake are kept. */
  flakesFolder: string;
  /** A flake fails the run, too. */
  strict: boolean;
  print: (line: string) => void;
}

/** Runs again what may be a flake, and counts: a file that ran twice counts as it ended the second time. */
export async function judge({ first, alone, flakesFolder, strict, print }: SecondRun): Promise<Verdict> {
  const verdict: Verdict = { passed: 0, failed: first.outsideFailed, lines: [] };
  const flakes: string[] = [];
  const again = first.files.filter((file) => file.group === "servers" && file.failed > 0);
  const tooMany = again.length > MAX_FILES_AGAIN;
  if (tooMany) {
    print(
      `${again.length} files that start servers failed. That is more than ${MAX_FILES_AGAIN}, so something is broken: none is run again.`,
    );
  }
  for (const file of first.files) {
    if (tooMany || !again.includes(file)) {
      count(verdict, file);
      continue;
    }
    print(`Once more, alone: ${file.name}`);
    const progress = await alone(file.path);
    const second = progress.files.find(({ path }) => path === file.path);
    verdict.failed += progress.outsideFailed;
    if (second && hasPassed(second) && progress.outsideFailed === 0) {
      const folder = keep(flakesFolder, file, second);
      flakes.push(`flaky: ${file.name} failed, then passed alone; both outputs are in ${folder}`);
      verdict.lines.push(...(strict ? file.failures : []));
      verdict.passed += strict ? file.passed : second.passed;
      verdict.failed += strict ? file.failed : 0;
      continue;
    }
    // A second run that did not come to its end, or tested nothing, says less than the first.
    const last = second && second.passed + second.failed > 0 ? second : file;
    verdict.passed += last.passed;
    verdict.failed += last.failed;
    verdict.lines.push(
      ...file.failures,
      "",
      `Once more, alone: ${file.name}`,
      ...(second?.failures ?? ["    It did not come to its end."]),
      ...progress.outsideFailures,
    );
  }
  verdict.lines.push(...first.outsideFailures);
  if (flakes.length > 0) verdict.lines.push("", ...flakes);
  return verdict;
}

/** Nothing that ran is no proof: a file whose tests were all skipped has not passed. */
function hasPassed(file: FileOutcome): boolean {
  return file.failed === 0 && file.passed > 0;
}

function count(verdict: Verdict, file: FileOutcome): void {
  verdict.passed += file.passed;
  verdict.failed += file.failed;
  verdict.lines.push(...file.failures);
}

/** Returns the folder that holds `first.txt` and `second.txt`. */
function keep(flakesFolder: string, first: FileOutcome, second: FileOutcome): string {
  const at = new Date().toISOString().replaceAll(":", "-");
  const folder = join(flakesFolder, `${at}-${first.name.replaceAll("/", "-")}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "first.txt"), output(first));
  writeFileSync(join(folder, "second.txt"), output(second));
  // Their names begin with their time.
  for (const old of readdirSync(flakesFolder).sort().slice(0, -MAX_KEPT)) {
    rmSync(join(flakesFolder, old), { recursive: true });
  }
  return folder;
}

function output(file: FileOutcome): string {
  const counts = `${file.name}: ${file.passed} passed, ${file.failed} failed, ${file.skipped} skipped`;
  return `${[counts, ...file.failures, "", "console:", file.console].join("\n")}\n`;
}
