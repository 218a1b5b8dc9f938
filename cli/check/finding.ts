/** One thing that the preflight found. */
import type { ErrorCode } from "@baton/contracts";

export interface Finding {
  /** `error`: a failover would not be safe or not possible. `advice`: it would, and could be better. */
  level: "error" | "advice";
  code: ErrorCode;
  /** `shop`, `shop.n2`, `nats`. */
  place: string;
  /** What is wrong, in one sentence. */
  found: string;
  /** Why it matters. */
  why: string;
  /** A statement, a configuration line or an action that mends it; empty where none is known. */
  mend: string;
}
