/** The intent of a running operation that NATS has lost is given again. */
import type { ClusterState, Intent, LockHolder } from "@baton/contracts";
import { expect, it } from "vitest";
import { giveAgain } from "./order.ts";
import { Scene, uuid } from "./scene.testkit.ts";

const ordered = {
  epoch: 1,
  stateRevision: 5,
  diagnosis: "primary-dead" as const,
  reason: "n1 is dead.",
  candidate: null,
  unseen: { ms: 7, transactions: 1 },
};
const fencing: Partial<ClusterState> = {
  epoch: 2,
  phase: "fencing",
  operation: {
    id: "failover-shop-2-5",
    kind: "failover",
    node: "n1",
    executor: "e1",
    takeovers: 0,
    startedUnixMs: 1,
    candidate: null,
    before: { receiverOn: ["n2"], writable: ["n1"] },
    ordered,
  },
};
const resumes = (stage: Scene) => stage.effects.flatMap((e) => (e.type === "resume" ? [e.revision] : []));

it("an operation that nobody moves on is looked after, and not before its intent would have come again", () => {
  const stage = new Scene();
  stage.steady();
  stage.calm();
  stage.steady(fencing, 6);
  stage.wait(5_500);
  expect(resumes(stage)).toEqual([]);
  stage.wait(1_000);
  expect(resumes(stage)).toEqual([6]);
  stage.wait(2_000);
  expect(resumes(stage)).toEqual([6, 6]);
  stage.steady({ epoch: 2, primary: "n2", primaryUuid: uuid("n2") }, 7);
  stage.wait(10_000);
  expect(resumes(stage)).toEqual([6, 6]);
});

it("its intent is given again, as it was, by one decider, when its lock is free", async () => {
  const stage = new Scene();
  stage.steady(fencing, 6);
  const state = stage.picture.state?.value as ClusterState;
  const locks: LockHolder[] = [];
  const appended: { intent: Intent; msgId: string }[] = [];
  const ports = {
    lockCreate: async (_: string, holder: LockHolder) => (locks.length > 0 ? null : locks.push(holder)),
    lockRemove: async () => true,
    append: async (intent: Intent, o: { msgId: string }) => ({
      sequence: appended.push({ intent, msgId: o.msgId }),
    }),
    isConflict: () => false,
    lastSequence: async () => 0,
  };
  expect(await giveAgain(state, 6, "d1", { n1: null }, 1, ports)).toBe("failover-shop-2-5");
  expect(await giveAgain(state, 6, "d2", { n1: null }, 1, ports)).toBeNull();
  expect(appended).toMatchObject([
    {
      msgId: "failover-shop-2-5.again.6",
      intent: {
        ...ordered,
        operation: "failover-shop-2-5",
        kind: "failover",
        node: "n1",
        cluster: "shop",
        decider: "d1",
        lockRevision: 1,
        nodes: { n1: null },
      },
    },
  ]);
});
