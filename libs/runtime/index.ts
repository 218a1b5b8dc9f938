export { accessTo, loadConfig } from "./config.ts";
export type { Readiness } from "./http.ts";
export type { Logger } from "./log.ts";
export type { Metrics } from "./metrics.ts";
export { nearest } from "./nearest.ts";
export { type Running, runService, type ServiceContext, type ServiceSpec } from "./service.ts";
export type { Attributes, Spans } from "./spans.ts";
export { childOf, spanIdOf, startTrace, traceIdOf } from "./trace.ts";
