export * from "./backoff.ts";
export * from "./rolling.ts";
export * from "./threshold.ts";
