/** The decider without its process, for the simulation (docs/decisions/0012): the bus is given. */
export { Watcher, type WatcherContext } from "./watcher.ts";
