import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { openSpans } from "./spans.ts";
import { childOf, spanIdOf, startTrace, traceIdOf } from "./trace.ts";

const who = { service: "prober", instance: "p1", region: "r1", version: "0" };

test("a child is another span of the same trace; of nonsense it is a new trace", () => {
  const root = startTrace();
  expect(root).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  const child = childOf(root);
  expect(traceIdOf(child)).toBe(traceIdOf(root));
  expect(spanIdOf(child)).not.toBe(spanIdOf(root));
  expect(traceIdOf("nonsense")).toBeNull();
  expect(childOf("nonsense")).toMatch(/^00-/);
  expect(new Set(Array.from({ length: 100 }, startTrace)).size).toBe(100);
});

test("without an endpoint a span is only a traceparent, and what is thrown passes", async () => {
  const spans = await openSpans({}, who);
  const root = startTrace();
  expect(traceIdOf(await spans.span("x", root, {}, (t) => t))).toBe(traceIdOf(root));
  expect(await spans.span("x", null, {}, (t) => t)).toMatch(/^00-/);
  await expect(
    spans.span("x", root, {}, () => {
      throw new Error("inside");
    }),
  ).rejects.toThrow("inside");
  await spans.stop();
});

test("with an endpoint, spans arrive there, below the span that the message came with", async () => {
  const bodies: string[] = [];
  const collector = createServer((request, response) => {
    let body = "";
    request.on("data", (d) => (body += d));
    request.on("end", () => {
      bodies.push(body);
      response.end("{}");
    });
  });
  await new Promise<void>((done) => collector.listen(0, "127.0.0.1", done));
  const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint;
  const spans = await openSpans(process.env, who);
  const root = startTrace();
  let inner = "";
  await spans.span("diagnose", root, { cluster: "shop" }, (t) => {
    inner = t;
  });
  expect(traceIdOf(inner)).toBe(traceIdOf(root));
  await spans.stop();
  delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
  collector.close();
  const sent = JSON.parse(bodies[0] ?? "null");
  const span = sent.resourceSpans[0].scopeSpans[0].spans[0];
  expect(span).toMatchObject({
    name: "diagnose",
    traceId: traceIdOf(root),
    spanId: spanIdOf(inner),
    parentSpanId: spanIdOf(root),
  });
});

test("a collector that hangs does not hold up the end", async () => {
  const collector = createServer(() => {});
  await new Promise<void>((done) => collector.listen(0, "127.0.0.1", done));
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  const spans = await openSpans(process.env, who);
  await spans.span("x", null, {}, () => {});
  await spans.stop();
  delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
  collector.closeAllConnections();
  collector.close();
});
