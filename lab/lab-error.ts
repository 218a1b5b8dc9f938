export type LabErrorCode =
  | "binary-missing"
  | "template-failed"
  | "server-died"
  | "server-slow"
  | "no-free-port"
  | "unknown-node"
  | "node-stopped"
  | "node-running"
  | "not-recovered"
  | "replica-not-attached"
  | "lab-stopped"
  | "unknown-lab"
  | "lab-exists"
  | "bad-name"
  | "keeper-failed"
  | "unknown-command"
  | "bad-option"
  | "no-own-network"
  | "network-failed"
  | "no-own-clock";

export interface LabErrorFacts {
  found: string;
  expected: string;
  remedy: string;
  cause?: unknown;
}

/** A fault of the lab itself: what was found, what was expected, what to do next. */
export class LabError extends Error {
  readonly code: LabErrorCode;
  readonly found: string;
  readonly expected: string;
  readonly remedy: string;

  constructor(code: LabErrorCode, facts: LabErrorFacts) {
    super(`${code}: found ${facts.found}; expected ${facts.expected}; ${facts.remedy}`, {
      cause: facts.cause,
    });
    this.name = "LabError";
    this.code = code;
    this.found = facts.found;
    this.expected = facts.expected;
    this.remedy = facts.remedy;
  }
}
