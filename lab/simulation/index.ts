export type { Fault, Plan } from "./plan.ts";
export { PLANTS, type Plant, type PlantName } from "./plant.ts";
export type { Broken } from "./promises.ts";
export {
  type BrokenIncident,
  replay,
  type SimulateOptions,
  type SimulateReport,
  simulate,
} from "./simulate.ts";
