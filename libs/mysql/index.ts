export * from "./dialect.ts";
export * from "./fault.ts";
export * from "./gtid.ts";
export * from "./session.ts";
export * from "./status.ts";
