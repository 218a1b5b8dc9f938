/** When a frozen primary is let go on without NATS, and when not. What NATS and servers really do then: test/switchover-faults.test.ts. */
import { type ClusterState, DeclaredCluster } from "@baton/contracts";
import { dialectFor, GtidSet } from "@baton/mysql";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { FROZEN_MOST_MS, Thaw } from "./thaw.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

interface Setting {
  durability?: "lossless" | "available";
  version?: string;
  /** Semi-sync clients of the primary. */
  clients?: number;
  moved?: string[];
  /** A successor has ended the candidate's session. */
  candidateLost?: boolean;
}

function frozen(o: Setting = {}) {
  const told: string[] = [];
  const hand = (node: string, lost = false): Hand =>
    ({
      node,
      dialect: dialectFor(o.version ?? "9.7.4"),
      status: async () => ({
        readOnly: true,
        executed: "",
        replica: null,
        startedUnixS: 7,
        semiSync: { clients: o.clients ?? 0 },
      }),
      run: async (sql: string | readonly string[]) => {
        if (lost) throw new Error("the session was killed");
        told.push(`${node}: ${[sql].flat().some((s) => /read_only=OFF/.test(s)) ? "opened" : sql}`);
        return [];
      },
    }) as unknown as Hand;
  const op = {
    declared: DeclaredCluster.parse({
      cluster: "shop",
      nodes: { n1: { host: "a" }, n2: { host: "b" }, n3: { host: "c" } },
      policy: { acks: 1, ...(o.durability === "available" ? { durability: "available" } : {}) },
    }),
    intent: { node: "n1", nodes: {} },
    required: GtidSet.empty,
    state: { quarantined: [], operation: null, primaryStartedUnixS: 7 } as unknown as ClusterState,
    ports: { now: () => performance.now() },
    assertMine: () => undefined,
  } as unknown as Operation;
  const thaw = new Thaw(op, hand("n1"), hand("n2", o.candidateLost), new Set(o.moved ?? ["n3"]));
  return { thaw, told };
}

const later = () => vi.advanceTimersByTimeAsync(FROZEN_MOST_MS + 1);

describe("before the commit is sent", () => {
  it.each(["lossless", "available"] as const)(
    "the primary is opened when its time is over (%s)",
    async (durability) => {
      const { thaw, told } = frozen({ durability });
      await vi.advanceTimersByTimeAsync(FROZEN_MOST_MS - 1);
      expect([thaw.due, told]).toEqual([false, []]);
      await vi.advanceTimersByTimeAsync(2);
      expect(thaw.due).toBe(true);
      expect(told).toEqual(["n1: opened"]);
      expect(await thaw.settle()).toBe(true);
    },
  );

  it("nothing is done once the outcome is known", async () => {
    const { thaw, told } = frozen();
    expect(await thaw.settle()).toBe(false);
    await later();
    expect(told).toEqual([]);
  });

  it("it is opened at once when the operation ends without one", async () => {
    const { thaw, told } = frozen();
    await thaw.now();
    expect(told).toEqual(["n1: opened"]);
  });
});

describe("once the commit may be stored", () => {
  it("the candidate hears the primary again before that is opened", async () => {
    const { thaw, told } = frozen();
    thaw.sending();
    await later();
    expect(told).toEqual(["n2: START REPLICA IO_THREAD", "n1: opened"]);
  });

  it.each<[string, Setting]>([
    ["writes need no acks", { durability: "available" }],
    ["another replica may still acknowledge to it", { moved: [] }],
    ["somebody acknowledges whom nobody has declared", { clients: 1 }],
    ["a successor has the candidate", { candidateLost: true }],
    ["the servers are MariaDB's", { version: "10.11.18-MariaDB" }],
  ])("the primary stays frozen where %s", async (_, setting) => {
    const { thaw, told } = frozen(setting);
    thaw.sending();
    await later();
    await vi.advanceTimersByTimeAsync(FROZEN_MOST_MS);
    expect(told).toEqual([]);
    expect(await thaw.settle()).toBe(false);
  });
});
