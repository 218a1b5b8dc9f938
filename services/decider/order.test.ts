/** Who gives way to whom at the cluster's lock. */
import type { ClusterState, LockHolder, OperationKind } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import type { Order } from "./decide.ts";
import { giveOrder, type OrderPorts } from "./order.ts";
import { uuid } from "./scene.testkit.ts";

const REVISION = 7;

const state = (last: string | null): ClusterState => ({
  cluster: "shop",
  epoch: 2,
  primary: "n2",
  primaryUuid: uuid("n2"),
  phase: "steady",
  operation: null,
  last:
    last === null ? null : { id: last, kind: "failover", outcome: "completed", code: null, endedUnixMs: 1 },
  quarantined: [],
  failovers: [],
});

async function give(kind: OperationKind, held: Omit<LockHolder, "sinceUnixMs">, last: string | null) {
  const taken: LockHolder[] = [];
  const ports: OrderPorts = {
    lockCreate: async () => null,
    lockGet: async () => ({ value: { ...held, sinceUnixMs: 0 }, revision: 3 }),
    lockUpdate: async (_cluster, holder) => {
      taken.push(holder);
      return 4;
    },
    lockRemove: async () => true,
    append: async () => ({ sequence: 1 }),
    isConflict: () => false,
    lastSequence: async () => 0,
    now: () => 0,
    state: () => ({ value: state(last), revision: REVISION }),
    stateMoves: async () => false,
  };
  const order: Order = {
    kind,
    node: "n2",
    epoch: 2,
    stateRevision: REVISION,
    diagnosis: "primary-dead",
    reason: "",
  };
  return { result: await giveOrder("shop", order, "d1", new Map(), [], "", 0, 0, ports), taken };
}

describe("the cluster's lock", () => {
  const first = { operation: "failover-shop-2-5", kind: "failover", holder: "e1" } as const;

  it("of a failover that has ended and only proves itself holds up neither the next failover nor a repair", async () => {
    for (const kind of ["failover", "rejoin", "repair"] as const) {
      const { result, taken } = await give(kind, first, first.operation);
      expect(result).toMatchObject({ ok: true, by: "me" });
      expect(taken).toHaveLength(1);
    }
  });

  it("of a failover that runs is respected", async () => {
    const { result, taken } = await give("failover", first, null);
    expect(result).toMatchObject({ ok: false });
    expect(taken).toEqual([]);
  });

  it("of a rejoin that runs is taken by a failover and by nothing else", async () => {
    const rejoin = { operation: "rejoin-shop-n3-5", kind: "rejoin", holder: "e1" } as const;
    expect((await give("failover", rejoin, null)).taken).toHaveLength(1);
    expect((await give("switchover", rejoin, null)).taken).toEqual([]);
  });
});
