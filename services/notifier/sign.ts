/** The signature of a webhook: `t=<unix s>,v1=<hex HMAC-SHA256 of "t.body">`. The time is signed, so that a receiver can refuse a replay. */
import { createHmac } from "node:crypto";

/** `body` is the exact bytes that are sent, as text; `unixS` is the time of this try. */
export function sign(secret: string, body: string, unixS: number): string {
  const mac = createHmac("sha256", secret).update(`${unixS}.${body}`).digest("hex");
  return `t=${unixS},v1=${mac}`;
}
