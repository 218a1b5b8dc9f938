/**
 * Brings an alert to all its channels at once. Each channel has its own limits (bulkhead), tries, time per try
 * and breaker, so that a dead or slow receiver holds up neither the other channels nor the alerts behind it.
 */
import {
  BrokenCircuitError,
  BulkheadRejectedError,
  bulkhead,
  ConsecutiveBreaker,
  circuitBreaker,
  ExponentialBackoff,
  handleWhen,
  type IPolicy,
  noop,
  retry,
  TaskCancelledError,
  TimeoutStrategy,
  timeout,
  wrap,
} from "cockatiel";
import { type Channel, ChannelRefused, type Delivery } from "./channel.ts";
import type { Memory } from "./memory.ts";
import { route } from "./route.ts";

export const LIMITS = {
  /** Requests to one channel at a time, and alerts that wait for one of them; more are sent back to the stream. */
  atOnce: 8,
  waiting: 56,
  /** Tries in one go; after that the alert goes back to the stream and comes again later. */
  tries: 3,
  retryMs: { initialDelay: 200, maxDelay: 2_000 },
  /** Failures in a row that stop the tries to a channel, and for how long. */
  breakAfter: 5,
  breakMs: { initialDelay: 1_000, maxDelay: 30_000 },
};
export type Limits = typeof LIMITS;

/** Alerts in hand at a time: all that the channels may hold, and as many again for those that move on. */
export function handsFor(channels: number, limits: Limits = LIMITS): number {
  return (limits.atOnce + limits.waiting) * channels + 32;
}

/** What became of one alert at one channel: `refused` for good, `failed` for now. */
export type DeliveryResult = "taken" | "refused" | "failed";

export interface CourierReport {
  result(channel: Channel, delivery: Delivery, result: DeliveryResult, error: unknown): void;
  /** The breaker opened (`away`) or closed again. */
  away(channel: Channel, away: boolean, why: string): void;
}

/** Some channels have not taken the alert: it must come again. */
export class NotDelivered extends Error {
  readonly channels: readonly string[];

  constructor(alertId: string, failures: readonly { channel: string; why: string }[]) {
    super(`alert ${alertId} is not delivered: ${failures.map((f) => `${f.channel}: ${f.why}`).join("; ")}`);
    this.name = "NotDelivered";
    this.channels = failures.map((f) => f.channel);
  }
}

export interface Courier {
  /** Resolves when every channel that wants the alert has taken it or refused it for good; else NotDelivered. */
  deliver(delivery: Delivery, signal: AbortSignal): Promise<void>;
}

export function courier(
  channels: readonly Channel[],
  memory: Memory,
  report: CourierReport,
  limits: Limits = LIMITS,
): Courier {
  const ways = new Map(channels.map((c) => [c.name, wayTo(c, report, limits)]));

  async function one(channel: Channel, delivery: Delivery, signal: AbortSignal): Promise<string | null> {
    try {
      const way = ways.get(channel.name) as IPolicy;
      await way.execute((context) => channel.send(delivery, context.signal), signal);
      memory.add(channel.name, delivery.alert.id);
      report.result(channel, delivery, "taken", null);
      return null;
    } catch (error) {
      if (error instanceof ChannelRefused) {
        memory.add(channel.name, delivery.alert.id);
        report.result(channel, delivery, "refused", error);
        return null;
      }
      if (signal.aborted) return "the notifier stops";
      report.result(channel, delivery, "failed", error);
      return reasonOf(error, channel);
    }
  }

  return {
    async deliver(delivery, signal) {
      const wanted = route(delivery.alert, channels, memory.has);
      const results = await Promise.all(
        wanted.map(async (c) => ({ channel: c.name, why: await one(c, delivery, signal) })),
      );
      const failures = results.flatMap((r) => (r.why === null ? [] : [{ channel: r.channel, why: r.why }]));
      if (failures.length > 0) throw new NotDelivered(delivery.alert.id, failures);
    },
  };
}

function wayTo(channel: Channel, report: CourierReport, limits: Limits): IPolicy {
  if (channel.timeoutMs === null) return noop;
  const passing = handleWhen(
    (error) => !(error instanceof ChannelRefused || error instanceof BrokenCircuitError),
  );
  const breaker = circuitBreaker(passing, {
    breaker: new ConsecutiveBreaker(limits.breakAfter),
    halfOpenAfter: new ExponentialBackoff(limits.breakMs),
  });
  // It breaks again after each try in vain: that it is away is said once.
  let away = false;
  breaker.onBreak((reason) => {
    const why = "error" in reason ? reasonOf(reason.error, channel) : "it is held open";
    if (!away) report.away(channel, true, why);
    away = true;
  });
  breaker.onReset(() => {
    away = false;
    report.away(channel, false, "");
  });
  const tries = retry(passing, {
    maxAttempts: limits.tries - 1,
    backoff: new ExponentialBackoff(limits.retryMs),
  });
  return wrap(
    bulkhead(limits.atOnce, limits.waiting),
    tries,
    breaker,
    timeout(channel.timeoutMs, TimeoutStrategy.Aggressive),
  );
}

function reasonOf(error: unknown, channel: Channel): string {
  if (error instanceof TaskCancelledError) {
    return `${channel.target} did not answer within ${channel.timeoutMs} ms`;
  }
  if (error instanceof BrokenCircuitError) return "it failed too often and is left alone for a while";
  if (error instanceof BulkheadRejectedError) return "it is busy";
  return error instanceof Error ? error.message : String(error);
}
