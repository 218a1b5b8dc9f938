export { type CheckOptions, checkNode, type NodeFinding } from "./check-node.ts";
export * from "./dialect.ts";
export { isMissingTable, parseEpoch } from "./epoch-row.ts";
export * from "./fault.ts";
export { missingPrivileges } from "./grants.ts";
export * from "./gtid.ts";
export * from "./session.ts";
export * from "./status.ts";
