/** Prometheus metrics: `baton_<what>_<unit>_total` and the like, each with service, instance and region. */
import type { BusCount, BusMetrics } from "@baton/bus";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export interface Metrics {
  /** Each is made once; asking again gives the same. Names begin with `baton_`. */
  counter<L extends string>(name: string, help: string, labels?: readonly L[]): Counter<L>;
  gauge<L extends string>(name: string, help: string, labels?: readonly L[]): Gauge<L>;
  /** `buckets` in the unit of the name. */
  histogram<L extends string>(
    name: string,
    help: string,
    labels?: readonly L[],
    buckets?: number[],
  ): Histogram<L>;
  /** In Prometheus's text form. */
  text(): Promise<string>;
  readonly contentType: string;
}

export function openMetrics(who: { service: string; instance: string; region: string }): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ ...who });
  // The default of 10 ms would wake an idle process a hundred times a second.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });

  const full = (name: string): string => {
    if (/^baton_[a-z0-9_]+$/.test(name)) return name;
    if (/^[a-z0-9_]+$/.test(name)) return `baton_${name}`;
    throw new TypeError(`${JSON.stringify(name)} is no metric name`);
  };
  function once<T>(name: string, make: (name: string) => T): T {
    const known = full(name);
    return (registry.getSingleMetric(known) as T | undefined) ?? make(known);
  }

  return {
    counter: <L extends string>(name: string, help: string, labels: readonly L[] = []) =>
      once(name, (n) => new Counter<L>({ name: n, help, labelNames: [...labels], registers: [registry] })),
    gauge: <L extends string>(name: string, help: string, labels: readonly L[] = []) =>
      once(name, (n) => new Gauge<L>({ name: n, help, labelNames: [...labels], registers: [registry] })),
    histogram: <L extends string>(
      name: string,
      help: string,
      labels: readonly L[] = [],
      buckets?: number[],
    ) =>
      once(
        name,
        (n) =>
          new Histogram<L>({
            name: n,
            help,
            labelNames: [...labels],
            registers: [registry],
            ...(buckets ? { buckets } : {}),
          }),
      ),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

const BUS_COUNTS: Record<BusCount, string> = {
  published: "Messages sent.",
  received: "Messages received, good or bad.",
  rejected: "Messages received that break their contract, and were dropped.",
  dropped: "Messages of ours that could not be sent.",
  failed: "Messages whose handler failed.",
  retried: "Requests to JetStream that were made again for want of an answer.",
  reconnected: "Times that the connection to NATS came back.",
};

/** `baton_bus_published_total{of="sample"}` and so on. */
export function busMetrics(metrics: Metrics): BusMetrics {
  const counters = Object.fromEntries(
    Object.entries(BUS_COUNTS).map(([what, help]) => [
      what,
      metrics.counter(`bus_${what}_total`, help, ["of"]),
    ]),
  ) as Record<BusCount, Counter<"of">>;
  // Looked up once for each pair: a label lookup on each message would cost more than the message.
  const known = new Map<string, { inc(): void }>();
  return {
    count(what, of) {
      const key = `${what} ${of}`;
      let child = known.get(key);
      if (!child) {
        child = counters[what].labels({ of });
        known.set(key, child);
      }
      child.inc();
    },
  };
}
