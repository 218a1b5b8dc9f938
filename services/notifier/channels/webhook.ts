/** POSTs an alert as JSON to a URL, signed. How a receiver checks it is in the README. */
import type { Severity } from "@baton/contracts";
import { type Channel, ChannelRefused, type Delivery } from "../channel.ts";
import { sign } from "../sign.ts";

export interface WebhookOptions {
  name: string;
  minSeverity: Severity;
  url: string;
  secret: string;
  timeoutMs: number;
  /** `User-Agent: Baton/<version>`. */
  version: string;
  /** Milliseconds since 1970; each try is signed with its own time. */
  now?: () => number;
}

/** 408 and 429 ask for another try; other 4xx say that this request is wrong. */
const COMES_BACK = new Set([408, 429]);
/** Enough of an error page to see what it is. */
const QUOTED_CHARACTERS = 200;

export function webhookChannel(o: WebhookOptions): Channel {
  const now = o.now ?? Date.now;
  const { origin } = new URL(o.url); // A path or a query may hold a token: neither is said in a log.
  return {
    name: o.name,
    minSeverity: o.minSeverity,
    timeoutMs: o.timeoutMs,
    target: origin,
    async send(delivery, signal) {
      const { body, headers } = requestOf(delivery, o, Math.floor(now() / 1_000));
      // A redirect is not followed: what is signed for one receiver is not handed to another.
      const response = await fetch(o.url, {
        method: "POST",
        body,
        headers,
        redirect: "manual",
        signal,
      }).catch((error: unknown) => {
        throw new Error(`${origin} cannot be reached: ${causeOf(error)}`, { cause: error });
      });
      const quote = await beginningOf(response);
      if (response.ok) return;
      const found = `${origin} answered ${response.status}${quote ? `: ${quote}` : ""}`;
      const refused = response.status >= 300 && response.status < 500 && !COMES_BACK.has(response.status);
      if (refused) throw new ChannelRefused(found, remedyFor(response.status, o.name));
      throw new Error(found);
    },
  };
}

function requestOf({ alert, traceparent }: Delivery, o: WebhookOptions, unixS: number) {
  const body = JSON.stringify(alert);
  const headers: Record<string, string> = {
    "content-type": "application/json",
    "user-agent": `Baton/${o.version}`,
    "baton-alert-id": alert.id,
    "idempotency-key": alert.id,
    "baton-signature": sign(o.secret, body, unixS),
    ...(traceparent === null ? {} : { traceparent }),
  };
  return { body, headers };
}

/** fetch says only "fetch failed"; why is in the cause. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause;
  return cause instanceof Error
    ? cause.message || String((cause as NodeJS.ErrnoException).code)
    : error.message;
}

/** Reads no more than the first piece, so that an endless answer costs nothing, and frees the connection. */
async function beginningOf(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const first = await reader.read();
  if (!first.done) await reader.cancel();
  const text = Buffer.from(first.value ?? new Uint8Array()).toString("utf8");
  return text.replace(/\s+/g, " ").trim().slice(0, QUOTED_CHARACTERS);
}

function remedyFor(status: number, channel: string): string {
  const place = `notifier.channels (${channel})`;
  if (status < 400) return `Put the URL that it points to in ${place}: redirects are not followed.`;
  if (status === 401 || status === 403) return `Check the secret in ${place} and in the receiver.`;
  if (status === 404 || status === 410) return `Check the URL in ${place}.`;
  return "Read the receiver's log: it does not accept what Baton sends.";
}
