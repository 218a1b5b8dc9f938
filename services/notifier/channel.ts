/** What a channel is: something that takes an alert out of Baton. One file per kind under channels/. */
import type { Alert, Severity } from "@baton/contracts";

export interface Delivery {
  alert: Alert;
  /** W3C trace of the failure that the alert speaks of. */
  traceparent: string | null;
}

export interface Channel {
  /** Unique among the channels; in logs, metrics and the memory of what was taken. */
  readonly name: string;
  readonly minSeverity: Severity;
  /** One try ends after so long. Null: within this process, so it neither waits nor fails and needs no limits. */
  readonly timeoutMs: number | null;
  /** Where it leads, for people, without secrets. */
  readonly target: string;
  /**
   * Resolves when the receiver has taken the alert. Rejects with ChannelRefused when trying again cannot help;
   * anything else is tried again.
   */
  send(delivery: Delivery, signal: AbortSignal): Promise<void>;
}

/** The receiver understood and said no: the same request would be refused for ever. */
export class ChannelRefused extends Error {
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.name = "ChannelRefused";
    this.remedy = remedy;
  }
}
