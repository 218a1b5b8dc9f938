import { DeclaredCluster, type NodeStatus } from "@baton/contracts";
import { expect, it } from "vitest";
import { forbidding, planSwitchover, type SwitchoverFacts } from "./switchover.ts";

const uuid = (node: string) => `${node.at(-1)?.repeat(8)}-0000-0000-0000-000000000000`;

function status(node: string, more: Partial<NodeStatus> = {}): NodeStatus {
  const primary = node === "n1";
  return {
    serverUuid: uuid(node),
    serverId: 1,
    version: "9.7.4",
    flavour: "mysql",
    startedUnixS: 100,
    readOnly: !primary,
    superReadOnly: !primary,
    gtidMode: true,
    executed: `${uuid("n1")}:1-10`,
    relayLogRecovery: false,
    replica: primary
      ? null
      : {
          sourceHost: "h1",
          sourcePort: 3306,
          sourceUuid: uuid("n1"),
          receiver: "on",
          receiverErrno: 0,
          receiverError: "",
          heardAgeMs: 50,
          applier: "on",
          applierErrno: 0,
          applierError: "",
          received: `${uuid("n1")}:1-10`,
          autoPosition: true,
          delayMs: 0,
        },
    semiSync: {
      source: primary,
      sourceActive: primary,
      acks: 1,
      timeoutMs: 1,
      waitNoReplica: true,
      afterSync: true,
      clients: primary ? 2 : 0,
      waiting: 0,
      replica: !primary,
      replicaActive: !primary,
    },
    ...more,
  };
}

function facts(o: Partial<SwitchoverFacts> = {}, changed: Record<string, Partial<NodeStatus> | null> = {}) {
  const nodes = ["n1", "n2", "n3"];
  return {
    declared: DeclaredCluster.parse({
      cluster: "shop",
      nodes: Object.fromEntries(nodes.map((n) => [n, { host: n, port: 3306 }])),
      policy: { acks: 1 },
    }),
    primary: "n1",
    primaryUuid: uuid("n1"),
    quarantined: [],
    statuses: new Map(
      nodes.filter((n) => changed[n] !== null).map((n) => [n, status(n, changed[n] ?? {})] as const),
    ),
    named: null,
    oldestTransactionMs: 0,
    readLocked: false,
    ...o,
  };
}

const against = (f: SwitchoverFacts, force = false) =>
  forbidding(planSwitchover(f).checks, force).map((c) => c.check);

it("finds nothing against a healthy cluster", () => {
  expect(planSwitchover(facts()).candidate).toBe("n2");
  expect(against(facts())).toEqual([]);
});

it("a long transaction or a backup's lock forbids it unless a person insists", () => {
  const f = facts({ oldestTransactionMs: 11_000, readLocked: true });
  expect(against(f)).toEqual(["transactions", "locks"]);
  expect(against(f, true)).toEqual([]);
});

it("a primary that is read-only or another server, or has too few ackers, forbids it whoever insists", () => {
  expect(against(facts({}, { n1: { readOnly: true } }), true)).toEqual(["primary"]);
  expect(against(facts({ primaryUuid: uuid("n9") }), true)).toContain("primary");
  const semiSync = { ...(status("n1").semiSync as NonNullable<NodeStatus["semiSync"]>), clients: 0 };
  expect(against(facts({}, { n1: { semiSync } }), true)).toEqual(["semi-sync"]);
  const { declared } = facts();
  const available = { ...declared, policy: { ...declared.policy, durability: "available" as const } };
  expect(against(facts({ declared: available }, { n1: { semiSync } }))).toEqual([]);
});

it("never promotes a node of an older series, or one with transactions of its own", () => {
  const older = planSwitchover(facts({}, { n1: { version: "9.8.0" }, n3: { version: "9.8.1" } }));
  expect(older.candidate).toBe("n3");
  expect(older.notChosen).toEqual([{ node: "n2", reason: "n2 runs 9.7.4, n1 9.8.0" }]);
  const errant = facts({ named: "n2" }, { n2: { executed: `${uuid("n1")}:1-10,${uuid("n2")}:1` } });
  expect(against(errant, true)).toEqual(["clean"]);
});

it("never promotes one whose replication is filtered, whoever insists", () => {
  const replica = { ...(status("n2").replica as NonNullable<NodeStatus["replica"]>), filtered: true };
  expect(planSwitchover(facts({}, { n2: { replica } })).candidate).toBe("n3");
  expect(against(facts({ named: "n2" }, { n2: { replica } }), true)).toEqual(["filters"]);
});

it("the promotion rule never holds for the choice, not for whom a person names", () => {
  const f = facts();
  const n2 = f.declared.nodes.n2;
  if (n2 !== undefined) n2.promotion = "never";
  expect(planSwitchover(f).candidate).toBe("n3");
  expect(against({ ...f, named: "n2" })).toEqual([]);
});

it("counts the old primary among those who will acknowledge", () => {
  const f = facts({}, { n3: null });
  expect(planSwitchover(f).candidate).toBe("n2");
  expect(against(f)).toEqual([]);
  f.declared.policy.acks = 2;
  expect(against(f, true)).toEqual(["ackers"]);
});
