/** Spans: exported through OpenTelemetry where OTEL_EXPORTER_OTLP_ENDPOINT is set, else only a traceparent. */
import { childOf, spanIdOf, startTrace, traceIdOf } from "./trace.ts";

export type Attributes = Record<string, string | number | boolean>;

export interface Spans {
  /** Runs `fn` in a span below `traceparent` (null: in a new trace) and hands it the span's own traceparent. */
  span<T>(
    name: string,
    traceparent: string | null,
    attributes: Attributes,
    fn: (traceparent: string) => Promise<T> | T,
  ): Promise<T>;
  /** Sends what is left. Never rejects. */
  stop(): Promise<void>;
}

const FLUSH_MS = 1_000;

/** OpenTelemetry is loaded here, and only when spans are wanted: it costs time and memory. */
export async function openSpans(
  env: NodeJS.ProcessEnv,
  who: { service: string; instance: string; region: string; version: string },
): Promise<Spans> {
  if (!(env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || env.OTEL_EXPORTER_OTLP_ENDPOINT)) return noSpans;

  const [api, sdk, { OTLPTraceExporter }, { resourceFromAttributes }] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/sdk-trace"),
    import("@opentelemetry/exporter-trace-otlp-http"),
    import("@opentelemetry/resources"),
  ]);
  const provider = new sdk.TracerProvider({
    resource: resourceFromAttributes({
      "service.namespace": "baton",
      "service.name": `baton-${who.service}`,
      "service.instance.id": who.instance,
      "service.version": who.version,
      "cloud.region": who.region,
    }),
    spanProcessors: [
      new sdk.BatchSpanProcessor({
        exporter: new OTLPTraceExporter({ timeoutMillis: 5_000 }),
        scheduledDelayMillis: 1_000,
        maxQueueSize: 2_048,
      }),
    ],
  });
  const tracer = provider.getTracer("baton", who.version);

  return {
    async span(name, traceparent, attributes, fn) {
      const traceId = traceIdOf(traceparent);
      const spanId = spanIdOf(traceparent);
      const parent =
        traceId && spanId
          ? api.trace.setSpanContext(api.ROOT_CONTEXT, {
              traceId,
              spanId,
              traceFlags: api.TraceFlags.SAMPLED,
              isRemote: true,
            })
          : api.ROOT_CONTEXT;
      const span = tracer.startSpan(name, { attributes }, parent);
      const context = span.spanContext();
      try {
        return await fn(`00-${context.traceId}-${context.spanId}-01`);
      } catch (error) {
        span.recordException(error as Error);
        span.setStatus({ code: api.SpanStatusCode.ERROR, message: String(error) });
        throw error;
      } finally {
        span.end();
      }
    },
    async stop() {
      await Promise.race([
        provider.shutdown().catch(() => {}),
        new Promise((done) => setTimeout(done, FLUSH_MS).unref()),
      ]);
    },
  };
}

const noSpans: Spans = {
  async span(_name, traceparent, _attributes, fn) {
    return fn(traceparent ? childOf(traceparent) : startTrace());
  },
  async stop() {},
};
