export { type Accounts, accounts } from "./accounts.ts";
export { cannotSetClocks } from "./clock.ts";
export { defaultLabName, type LabUpOptions, labCommand, labDown, labStatus, labUp } from "./keeper.ts";
export { type LabStatus, type NodeCommand, nodeCommands } from "./keeper-protocol.ts";
export { type Lab, type LabNats, type LabOptions, startLab } from "./lab.ts";
export { LabError, type LabErrorCode } from "./lab-error.ts";
export type { LabNatsServer } from "./lab-nats.ts";
export type { LabNode } from "./lab-node.ts";
export { monotonicMs } from "./monotonic.ts";
export type { Place } from "./place.ts";
export { prepareTemplate } from "./template.ts";
export {
  type Ack,
  startWriter,
  type Writer,
  type WriterOptions,
  type WriterReport,
  type WriterSnapshot,
} from "./writer.ts";
