/**
 * Faults of the network, of NATS and of the clock that are no death of the primary (docs/negative.md, "The network"), one after the other by `baton lab chaos --each`.
 * Expectation: no failover, the same epoch, the right words for on-call; chaos itself asks for the rest (docs/chaos.md).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { cannotNetwork, type RoundResult } from "@baton/lab/chaos";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

/**
 * In the order of the rounds: the fault, and what on-call is shown while it lasts; null: nothing is wrong with the cluster, or (replicas-cut) nothing is
 * seen of it in so short a time.
 */
const SITUATIONS: readonly (readonly [fault: string, sees: string | null])[] = [
  ["probers-cut", "primary-unreachable-replicas-fine"],
  ["probers-mute", "primary-unreachable-replicas-fine"],
  ["probers-deaf", "primary-unreachable-replicas-fine"],
  ["replicas-cut", null],
  ["client-cut", null],
  ["site-cut", null],
  ["site-cut", null],
  ["nats-majority", null],
  ["nats-hang", null],
  ["clock-step", null],
  ["clock-step", null],
];
/** Cuts off a site with a prober, a decider and an executor, then the one with a prober alone; sets one site's clock 33 minutes back, another's 42 forward. */
const SEED = "295";

const repository = new URL("..", import.meta.url).pathname;
const hindrance = cannotNetwork();
if (hindrance !== null) console.log(`test/negative-network.test.ts runs no chaos here: ${hindrance.message}`);

const rounds: RoundResult[] = [];
let said = "";
let running: ChildProcess | undefined;

beforeAll(async () => {
  if (hindrance !== null) return;
  const faults = SITUATIONS.map(([fault]) => fault).join(",");
  // The world that these expectations are written for.
  const world = ["--nodes", "3", "--acks", "1", "--regions", "apart", "--durability", "lossless"];
  const options = ["--each", "--faults", faults, "--seed", SEED, ...world, "--json"];
  const child = spawn(process.execPath, ["cli/main.ts", "lab", "chaos", ...options], {
    cwd: repository,
    stdio: ["ignore", "pipe", "pipe"],
  });
  running = child;
  const [out, told] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  said = told;
  for (const line of out.split("\n").filter(Boolean)) rounds.push(JSON.parse(line) as RoundResult);
}, 600_000);

afterAll(async () => {
  if (running?.exitCode !== null || running.signalCode !== null) return;
  running.kill("SIGTERM");
  await once(running, "exit");
});

describe.skipIf(hindrance !== null)("Baton does not fail over in", () => {
  it.each(SITUATIONS.map(([fault, sees], at) => ({ number: at + 1, fault, sees })))(
    "round $number, $fault",
    ({ number, fault, sees }) => {
      const round = rounds.find((each) => each.round === number);
      const kept = { main: fault, violations: [], outcome: "recovered", failovers: 0, epoch: 1 };
      expect(round, said).toMatchObject(kept);
      if (sees !== null) expect(round?.diagnoses, said).toContain(sees);
      expect(round?.diagnoses.filter((code) => code.startsWith("primary-dead"))).toEqual([]);
    },
  );
});
