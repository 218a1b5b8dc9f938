import { DeclaredCluster, type NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeLoss, lossForbids, lossOf, mayLose, penOf } from "./durability.ts";
import { planFailover } from "./plan.ts";

const P = "aaaaaaaa-0000-0000-0000-000000000001";
const set = (last: number) => (last === 0 ? GtidSet.empty : GtidSet.parse(`${P}:1-${last}`));
const declared = (policy: object) =>
  DeclaredCluster.parse({
    cluster: "shop",
    nodes: { n1: { host: "h1" }, n2: { host: "h2" }, n3: { host: "h3" } },
    policy,
  });

describe("the loss of a failover", () => {
  it("is never less than what is lost, as long as the primary wrote no faster than it was reckoned to", () => {
    const n = fc.integer({ min: 0, max: 50 });
    fc.assert(
      fc.property(n, n, n, n, (seen, wrote, rate, held) => {
        const end = seen + Math.min(wrote, rate);
        const reached = Math.min(held, end);
        const loss = lossOf({
          primaryUuid: P,
          primaryExecuted: set(seen),
          held: set(reached),
          unseen: { ms: 1_000, transactions: rate },
          unfenced: false,
        });
        return loss.atMost >= end - reached && loss.count === Math.max(0, seen - reached);
      }),
    );
  });
  it("is told in words with its set", () => {
    const unseen = { ms: 900, transactions: 5 };
    const facts = { primaryUuid: P, primaryExecuted: set(12), held: set(10), unseen, unfenced: false };
    expect(describeLoss(lossOf(facts))).toBe(
      `up to 7 transactions: 2 that were seen (${P}:11-12), and 5 at most that may have been written in the 0.9 s since it was last read`,
    );
    expect(describeLoss(lossOf({ ...facts, held: set(17), unfenced: true }))).toMatch(
      /^no transaction that is known of; it is silent/,
    );
  });
  it("forbids above the limit, and where it cannot be told", () => {
    const { policy } = declared({ durability: "available", loss: { maxTransactions: 6 } });
    const loss = (transactions: number) =>
      lossOf({
        primaryUuid: P,
        primaryExecuted: set(12),
        held: set(10),
        unseen: { ms: 900, transactions },
        unfenced: false,
      });
    expect(lossForbids(loss(4), policy)).toBeNull();
    expect(lossForbids(loss(5), policy)).toMatchObject({ refusal: "loss-above-limit" });
    expect(lossForbids(null, policy)).toMatchObject({ refusal: "loss-unknown" });
  });
});

describe("the mode", () => {
  const window = { degraded: { sinceUnixMs: 1, executed: "" } };
  it("decides how long a write waits on a primary that is opened", () => {
    expect(penOf(declared({}).policy, {})).toEqual({ acks: 1, timeoutMs: null });
    expect(penOf(declared({ durability: "available", ackTimeoutMs: 50 }).policy, {})).toEqual({
      acks: 1,
      timeoutMs: 50,
    });
    expect(penOf(declared({ ackTimeoutMs: 70 }).policy, window)).toEqual({ acks: 1, timeoutMs: 70 });
  });
  it("may lose something when available, or lossless and degraded", () => {
    expect(mayLose(declared({}), {})).toBe(false);
    expect(mayLose(declared({}), window)).toBe(true);
    expect(mayLose(declared({ durability: "available" }), {})).toBe(true);
  });
});

describe("the plan where acks prove nothing", () => {
  const status = (n: number, last: number) =>
    ({
      serverUuid: `bbbbbbbb-0000-0000-0000-00000000000${n}`,
      version: "9.7.4",
      executed: set(last).toString(),
      relayLogRecovery: false,
      startedUnixS: 1,
      replica: null,
    }) as NodeStatus;
  const plan = (unseen: { ms: number; transactions: number } | null, maxTransactions = 3) =>
    planFailover({
      declared: declared({ durability: "available", loss: { maxTransactions } }),
      primary: "n1",
      quarantined: [],
      statuses: new Map([["n2", status(2, 10)]]),
      primaryExecuted: set(12),
      vouches: new Map(),
      loses: { primaryUuid: P, unseen },
    });
  it("takes one replica alone, and says what is lost", () => {
    expect(plan({ ms: 10, transactions: 1 })).toMatchObject({
      possible: true,
      candidate: "n2",
      loss: { count: 2, unseen: 1, atMost: 3, known: `${P}:11-12` },
      reason: expect.stringContaining("would lose up to 3 transactions"),
    });
  });
  it("is refused above the limit, and when nobody knows", () => {
    expect(plan({ ms: 10, transactions: 2 })).toMatchObject({ possible: false, refusal: "loss-above-limit" });
    expect(plan(null)).toMatchObject({ possible: false, refusal: "loss-unknown" });
  });
});
