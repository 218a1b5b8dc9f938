import { expect, it } from "vitest";
import { rightOutcome } from "./expect.ts";
import { faultNamed } from "./faults.ts";
import { PLAIN_WORLD } from "./world.ts";

const outcome = (main: string, ...others: string[]) =>
  rightOutcome(
    faultNamed(main),
    others.map((name) => faultNamed(name)),
    PLAIN_WORLD,
  );

it("expects of one fault what the fault says", () => {
  expect(outcome("kill")).toEqual({ expects: "failover", refusals: [] });
  expect(outcome("pair-kill")).toEqual({ expects: "refuse", refusals: ["ackers-unreachable"] });
});

it("still demands the failover when the second fault cannot hold it up", () => {
  expect(outcome("kill", "decider-kill").expects).toBe("failover");
  expect(outcome("hang", "notifier-kill").expects).toBe("failover");
});

it("lets a failover wait, or be refused for a reason of the second fault", () => {
  const { expects, refusals } = outcome("kill", "replica-kill");
  expect(expects).toBe("either");
  expect(refusals).toContain("ackers-unreachable");
  expect(outcome("kill", "nats-majority").expects).toBe("either");
});

it("still forbids a failover that must be refused, when nobody may be there to say so", () => {
  expect(outcome("pair-kill", "executor-sleeps-at-step").expects).toBe("wait");
  expect(outcome("pair-kill", "notifier-kill").expects).toBe("refuse");
});

it("never lets a second fault of Baton make a demotion right", () => {
  for (const second of ["prober-hang", "nats-majority", "site-cut", "replica-kill"]) {
    expect(outcome("probers-cut", second).expects).toBe("keep");
  }
  expect(outcome("probers-cut", "slow-line").expects).toBe("either");
});

it.each([
  [3, 1, "refuse"],
  [4, 1, "refuse"],
  [5, 1, "refuse"],
  // The two that are left can fence, but the candidate would keep one acker.
  [4, 2, "refuse"],
  [5, 2, "failover"],
] as const)(
  "knows of %i nodes with k = %i whether they survive the primary and a replica: %s",
  (nodes, acks, expects) => {
    const world = { ...PLAIN_WORLD, nodes, acks };
    for (const pair of ["pair-kill", "pair-cut"])
      expect(rightOutcome(faultNamed(pair), [], world).expects).toBe(expects);
  },
);

it("lets a pair's failover be made or not where writes need not wait for acks", () => {
  const world = { ...PLAIN_WORLD, durability: "available" as const };
  expect(rightOutcome(faultNamed("pair-kill"), [], world).expects).toBe("either");
});
