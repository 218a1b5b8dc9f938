/**
 * A failover on paper, run when an executor starts. The real one comes months later and must not be the first time that
 * its code is compiled and its schemas are built: that cost some 50 ms of a first takeover. It is a test, too: an
 * executor whose rehearsal does not end `completed` does not take intents.
 */
import {
  Alert,
  ClusterState,
  DeclaredCluster,
  Event,
  Intent,
  LockHolder,
  type NodeStatus,
  Step,
} from "@baton/contracts";
import { dialectFor, type Row } from "@baton/mysql";
import { adopted, NO_BRAKES } from "@baton/protocol";
import type { Hand } from "./hand.ts";
import type { Ports } from "./operation.ts";
import { runIntent } from "./run.ts";

const nodes = ["n1", "n2", "n3"] as const;
const uuidOf = (node: string) => `${(node.at(-1) ?? "0").repeat(8)}-0000-0000-0000-000000000000`;
const history = `${uuidOf("n1")}:1-1000`;

function statusOf(node: string): NodeStatus {
  return {
    serverUuid: uuidOf(node),
    serverId: 1,
    version: "9.7.4",
    flavour: "mysql",
    startedUnixS: 0,
    readOnly: true,
    superReadOnly: true,
    gtidMode: true,
    executed: history,
    relayLogRecovery: false,
    replica: {
      sourceHost: "n1",
      sourcePort: 3306,
      sourceUuid: uuidOf("n1"),
      receiver: "off",
      receiverErrno: 0,
      receiverError: "",
      heardAgeMs: 0,
      applier: "on",
      applierErrno: 0,
      applierError: "",
      received: history,
      autoPosition: true,
      delayMs: 0,
    },
    semiSync: null,
  };
}

/** Answers every statement as a healthy replica would. */
function paperHand(node: string): Hand {
  const row: Row = { late: 0, taken: 1, closing: 1, checksum: "", executed: history };
  return {
    node,
    dialect: { ...dialectFor("9.7.4"), parseStatus: () => statusOf(node) },
    threadId: 1,
    closed: false,
    run: async (sql) => (typeof sql === "string" ? [sql] : sql).map(() => [row]),
    status: async () => statusOf(node),
    epoch: async () => null,
    release: async () => undefined,
    destroy: () => undefined,
  };
}

/** @throws Error when the rehearsal does not end as it must */
export async function rehearse(): Promise<void> {
  const declared = DeclaredCluster.parse({
    cluster: "rehearsal",
    nodes: Object.fromEntries(nodes.map((n) => [n, { host: n }])),
  });
  const intent = Intent.parse({
    operation: "failover-rehearsal-2-1",
    cluster: "rehearsal",
    kind: "failover",
    node: "n1",
    epoch: 1,
    stateRevision: 1,
    lockRevision: 1,
    diagnosis: "primary-dead",
    reason: "rehearsal",
    decider: "rehearsal",
    candidate: null,
    nodes: Object.fromEntries(nodes.map((n) => [n, statusOf(n)])),
  });
  LockHolder.parse({ operation: intent.operation, kind: intent.kind, holder: "rehearsal", sinceUnixMs: 0 });
  let revision = 1;
  const told: Event[] = [];
  const ports: Ports = {
    executor: "rehearsal",
    now: () => performance.now(),
    nowUnixMs: () => Date.now(),
    standingMs: () => 0,
    judgedAgoMs: async () => null,
    readState: async () => null,
    writeState: async (_cluster, state) => {
      JSON.stringify(ClusterState.parse(state));
      return ++revision;
    },
    takeHand: async (_cluster, node) => {
      if (node === "n1") throw new Error("the primary is dead");
      return paperHand(node);
    },
    takeFreeHand: async (_cluster, node) => paperHand(node),
    openHelper: async () => {
      throw new Error("the primary is dead");
    },
    openLook: async (_cluster, node) => paperHand(node),
    mark: async () => null,
    vouches: (cluster) =>
      new Map(
        nodes.map((node) => [
          node,
          { cluster, node, serverUuid: uuidOf(node), startedUnixS: 0, held: history },
        ]),
      ),
    brakes: async () => NO_BRAKES,
    access: () => ({ user: "rehearsal", password: "" }),
    publishStep: async (step) => void JSON.stringify(Step.parse(step)),
    publishEvent: async (event) => void told.push(Event.parse(event)),
    keepSalvage: async () => undefined,
    archiveEvent: async (event) => void JSON.stringify(Event.parse(event)),
    publishAlert: async (alert) => void JSON.stringify(Alert.parse(alert)),
  };
  const steady = adopted({ ...intent, operation: "adopt-rehearsal-n1-0" }, uuidOf("n1"), 0);
  const { operation } = await runIntent(
    intent,
    declared,
    { value: steady, revision: 1 },
    ports,
    false,
    () => undefined,
  );
  const last = operation?.state.last;
  if (last?.outcome !== "completed" || !told.some((e) => e.type === "primary-changed"))
    throw new Error(
      `the rehearsal of a failover ended ${last?.outcome ?? "without an end"} (${last?.code ?? "no code"})`,
    );
}
