/** How an operation stops short. */
import type { RefusalCode } from "@baton/contracts";

/** The protocol says no: what was changed is put back, and the code and reason are published. */
export class Refusal extends Error {
  readonly code: RefusalCode;
  readonly detail: Record<string, unknown>;
  constructor(code: RefusalCode, message: string, detail: Record<string, unknown> = {}) {
    super(message);
    this.name = "Refusal";
    this.code = code;
    this.detail = detail;
  }
}

/** The operation belongs to another executor, or to none any more: touch nothing, say so, leave. */
export class Superseded extends Error {
  readonly code: RefusalCode;
  constructor(code: RefusalCode, message: string) {
    super(message);
    this.name = "Superseded";
    this.code = code;
  }
}
