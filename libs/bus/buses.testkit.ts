/** Buses for a test: made with a recorder each, drained together. */
import { type Bus, connectBus } from "./index.ts";
import { type Recorder, recorder } from "./payloads.testkit.ts";

export interface TestBus extends Bus, Pick<Recorder, "lines" | "counts"> {}

export interface Buses {
  (name: string, servers?: string[]): Promise<TestBus>;
  drain(): Promise<void>;
}

export function buses(servers: () => string[], replicas: 1 | 3 = 1): Buses {
  const open: Bus[] = [];
  const make = async (name: string, given?: string[]): Promise<TestBus> => {
    const { log, metrics, lines, counts } = recorder();
    const bus = await connectBus({
      servers: given ?? servers(),
      name,
      source: `baton/test/${name}`,
      replicas,
      log,
      metrics,
    });
    open.push(bus);
    // A getter does not survive being spread.
    return Object.create(bus, { lines: { value: lines }, counts: { value: counts } }) as TestBus;
  };
  return Object.assign(make, {
    async drain() {
      await Promise.all(open.splice(0).map((b) => b.drain()));
    },
  });
}
