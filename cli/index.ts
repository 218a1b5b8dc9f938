/** The public face: Baton on one machine, for tests and tools. The command itself is main.ts. */
export { type Change, declare, differences } from "./declare.ts";
export { type Exit, Program, type ProgramSpec } from "./program.ts";
export {
  type ConfigInput,
  type Instance,
  type System,
  type SystemOptions,
  startSystem,
  writeConfig,
} from "./system.ts";
