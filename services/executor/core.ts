/** The executor without its process, for the simulation (docs/decisions/0012): the bus and the way to the nodes are given. */
export type { OpenSession } from "./warm-sessions.ts";
export { Worker, type WorkerContext } from "./worker.ts";
