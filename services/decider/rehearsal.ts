/**
 * A death on paper, judged and ordered when a decider starts, so that the code and the schemas of the real one are warm.
 * A decider whose rehearsal does not end in an order is not fit to judge and does not start.
 */
import { Alert, DeclaredCluster, Diagnosis, Intent, type NodeStatus, Sample, Vouch } from "@baton/contracts";
import { alertFor } from "./alert.ts";
import { decide, type Effect, type Settings } from "./decide.ts";
import { giveOrder } from "./order.ts";
import { emptyPicture, type Input } from "./picture.ts";

const uuidOf = (node: string) => `${(node.at(-1) ?? "0").repeat(8)}-0000-0000-0000-000000000000`;
const history = `${uuidOf("n1")}:1-1000`;

function statusOf(node: string, receiver: "on" | "connecting"): NodeStatus {
  const primary = node === "n1";
  return {
    serverUuid: uuidOf(node),
    serverId: 1,
    version: "9.7.4",
    flavour: "mysql",
    startedUnixS: 0,
    readOnly: !primary,
    superReadOnly: !primary,
    gtidMode: true,
    executed: history,
    relayLogRecovery: false,
    replica: primary
      ? null
      : {
          sourceHost: "n1",
          sourcePort: 3306,
          sourceUuid: uuidOf("n1"),
          receiver,
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
    semiSync: primary
      ? {
          source: true,
          sourceActive: true,
          acks: 1,
          timeoutMs: 4_294_967_295,
          waitNoReplica: true,
          afterSync: true,
          clients: 2,
          waiting: 0,
          replica: false,
          replicaActive: false,
        }
      : null,
  };
}

/** @throws Error when no failover is ordered */
export async function rehearse(settings: Settings): Promise<void> {
  const cluster = "rehearsal";
  const declared = DeclaredCluster.parse({
    cluster,
    nodes: { n1: { host: "n1" }, n2: { host: "n2" }, n3: { host: "n3" } },
  });
  let picture = emptyPicture(cluster, 0);
  const effects: Effect[] = [];
  let now = 0;
  let seq = 0;
  const feed = (input: Input) => {
    const next = decide(picture, input, ++now, settings);
    picture = next.picture;
    effects.push(...next.effects);
  };
  const sample = (node: string, outcome: Sample["outcome"], attempts: number, status: NodeStatus | null) =>
    feed({
      type: "sample",
      sample: Sample.parse({
        cluster,
        node,
        region: "local",
        prober: "rehearsal",
        seq: seq++,
        cause: "tick",
        outcome,
        rttMs: 1,
        attempts,
        silentMs: 0,
        thresholdMs: 300,
        errno: null,
        error: null,
        status,
      }),
    });
  feed({ type: "declared", declared });
  feed({ type: "state-known" });
  feed({ type: "brakes-known" });
  feed({
    type: "state",
    revision: 1,
    nowUnixMs: Date.now(),
    state: {
      cluster,
      epoch: 1,
      primary: "n1",
      primaryUuid: uuidOf("n1"),
      phase: "steady",
      operation: null,
      last: null,
      quarantined: [],
      failovers: [],
    },
  });
  // Twice: the ledger knows a node once its primary was read after it.
  for (const node of ["n1", "n2", "n3", "n1"]) sample(node, "ok", 0, statusOf(node, "on"));
  for (const effect of effects)
    if (effect.type === "vouch")
      feed({ type: "vouch", node: effect.vouch.node, vouch: Vouch.parse(effect.vouch), revision: 1 });
  sample("n1", "refused", 1, null);
  sample("n1", "refused", 2, null);
  for (const node of ["n2", "n3"]) sample(node, "ok", 0, statusOf(node, "connecting"));

  for (const effect of effects) {
    if (effect.type !== "diagnosed") continue;
    const alert = alertFor(
      Diagnosis.parse(effect.diagnosis),
      { faultWasTold: false, heldBack: null },
      Date.now(),
    );
    if (alert !== null) Alert.parse(alert);
  }
  const order = effects.find((e) => e.type === "order");
  if (order?.order.kind !== "failover")
    throw new Error("the rehearsal of a primary's death ended without an order");
  const statuses = new Map([...picture.statuses].map(([node, known]) => [node, known.status]));
  await giveOrder(
    cluster,
    order.order,
    settings.decider,
    statuses,
    ["n1", "n2", "n3"],
    history,
    0,
    Date.now(),
    {
      lockCreate: async () => 1,
      lockGet: async () => null,
      lockUpdate: async () => null,
      lockRemove: async () => true,
      append: async (intent) => {
        JSON.stringify(Intent.parse(intent));
        return { sequence: 1 };
      },
      isConflict: () => false,
      lastSequence: async () => 0,
      now: () => performance.now(),
      stateMoves: async () => true,
      state: () => null,
    },
  );
}
