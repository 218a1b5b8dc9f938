export * from "./brake.ts";
export * from "./choose.ts";
export * from "./donor.ts";
export * from "./fence.ts";
export * from "./plan.ts";
export * from "./reign.ts";
export * from "./switchover.ts";
export * from "./vouch.ts";
