/** What an executor does with an order that rests on wrong names or on somebody else's server. */
import {
  DeclaredCluster,
  type Intent,
  type NodeStatus,
  type OperationKind,
  type Vouch,
} from "@baton/contracts";
import { expect, it } from "vitest";
import { meant } from "./identity.ts";

const uuid = (n: number) => `${String(n).repeat(8)}-0000-0000-0000-000000000000`;
const declared = DeclaredCluster.parse({
  cluster: "shop",
  nodes: { n1: { host: "h1" }, n2: { host: "h2" }, n3: { host: "h3" } },
});
const state = { primary: "n1", primaryUuid: uuid(1) };

const status = (n: number, executed = `${uuid(1)}:1-9`): NodeStatus => ({
  serverUuid: uuid(n),
  serverId: n,
  version: "9.7.4",
  flavour: "mysql",
  startedUnixS: 1,
  readOnly: true,
  superReadOnly: true,
  gtidMode: true,
  executed,
  relayLogRecovery: false,
  replica: null,
  semiSync: null,
});

const foreign = status(7, `${uuid(7)}:1-3`);
const intent = (kind: OperationKind, node: string, nodes: Record<string, NodeStatus | null>): Intent => ({
  operation: `${kind}-shop-${node}-5`,
  cluster: "shop",
  kind,
  node,
  epoch: 1,
  stateRevision: 5,
  lockRevision: 1,
  diagnosis: "healthy",
  reason: "a test",
  decider: "d1",
  candidate: null,
  nodes,
});
const none = new Map<string, Vouch>();
const known = new Map([
  ["n3", { cluster: "shop", node: "n3", serverUuid: uuid(3), startedUnixS: 1, held: "" }],
]);

it("all are who they are: nothing changes", () => {
  const order = intent("failover", "n1", { n1: status(1), n2: status(2), n3: status(3) });
  expect(meant(order, declared, state, none)).toEqual({ declared, refusal: null });
});

it("a failover goes by somebody else's server, and is refused where that name's own may have acknowledged", () => {
  const order = intent("failover", "n1", { n1: status(1), n2: status(2), n3: foreign });
  const found = meant(order, declared, state, none);
  expect(found.refusal).toBeNull();
  expect(Object.keys(found.declared.nodes)).toEqual(["n1", "n2"]);
  expect(meant(order, declared, state, known).refusal?.code).toBe("foreign-server");
});

it.each(["rejoin", "rebuild", "repair"] as const)("a %s of somebody else's server is refused", (kind) => {
  const order = intent(kind, "n3", { n1: status(1), n2: status(2), n3: foreign });
  expect(meant(order, declared, state, none).refusal?.code).toBe("foreign-server");
  const accepted = { ...declared, accepted: { n3: uuid(7) } };
  expect(meant(order, accepted, state, none)).toEqual({ declared: accepted, refusal: null });
});

it("nothing runs by names that have changed places", () => {
  const order = intent("rejoin", "n2", { n1: status(2), n2: status(1), n3: status(3) });
  expect(meant(order, declared, state, none).refusal?.code).toBe("topology-mismatch");
});
