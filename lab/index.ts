export { type Accounts, accounts } from "./accounts.ts";
export { type Lab, type LabNats, type LabOptions, startLab } from "./lab.ts";
export { LabError, type LabErrorCode } from "./lab-error.ts";
export type { LabNatsServer } from "./lab-nats.ts";
export type { LabNode } from "./lab-node.ts";
export { monotonicMs } from "./monotonic.ts";
export {
  type Ack,
  startWriter,
  type Writer,
  type WriterOptions,
  type WriterReport,
  type WriterSnapshot,
} from "./writer.ts";
