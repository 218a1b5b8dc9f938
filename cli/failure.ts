/** How a command's error reaches the person: one line on stderr, and the exit code. */

export interface Failure {
  line: string;
  exitCode: 1 | 2;
}

/** Set by a command that has said itself what went wrong: only the exit code is left to give. */
export class Exit extends Error {
  readonly exitCode: number;
  constructor(exitCode: number) {
    super(`exit ${exitCode}`);
    this.name = "Exit";
    this.exitCode = exitCode;
  }
}

interface LooksLikeBatonError {
  line(): string;
  exitCode: 1 | 2;
}
interface LooksLikeLabError {
  name: "LabError";
  code: string;
  found: string;
  expected: string;
  remedy: string;
}

/**
 * Errors are known by their shape, not their class: the contracts take 60 ms to load, and `baton --help`
 * has no need of them.
 */
export function failureOf(error: unknown): Failure {
  if (isBatonError(error)) return { line: error.line(), exitCode: error.exitCode };
  if (isLabError(error)) {
    const exitCode = error.code === "bad-option" || error.code === "bad-name" ? 2 : 1;
    const text = `E_LAB at ${error.code}: Found ${error.found}; expected ${error.expected}. Remedy: ${error.remedy}.`;
    return { line: exitCode === 2 ? oneLine(text) : text, exitCode };
  }
  const message = error instanceof Error ? error.message : String(error);
  return {
    line: oneLine(
      `E_INTERNAL at baton: ${message || "an error without a message"} This is a bug worth reporting; BATON_DEBUG=1 prints where it came from.`,
    ),
    exitCode: 1,
  };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

function isBatonError(error: unknown): error is LooksLikeBatonError {
  return error instanceof Error && error.name === "BatonError" && "line" in error;
}

function isLabError(error: unknown): error is LooksLikeLabError {
  return error instanceof Error && error.name === "LabError" && "remedy" in error;
}
