export {
  type AuditedOperation,
  check,
  type FinalNode,
  lateAnswers,
  longestSilence,
  lostWrites,
  type Reign,
  type RoundRecord,
  type Violation,
} from "./check.ts";
export { Disks } from "./disks.ts";
export { type DrawnFault, drawCombination, drawRound, type RoundPlan, titleOf } from "./draw.ts";
export { rightOutcome } from "./expect.ts";
export { combinationsNamed, FAULTS, faultNamed, faultsNamed } from "./faults.ts";
export { Network } from "./network.ts";
export { cannotNetwork, spawnInOwnNetwork } from "./own-network.ts";
export { RegisterBook, type RegisterRow, registersTable } from "./registers.ts";
export type { Fault, Heal, Scene, Service } from "./scene.ts";
export { cellsOf, markdownOf, type RoundResult, tableOf } from "./table.ts";
export { drawWorld, type World, worldOptions } from "./world.ts";
