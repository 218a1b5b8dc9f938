/** A small stage for the decider's core: three nodes, any probers, a clock that the test moves. */
import {
  type ClusterState,
  DeclaredCluster,
  type Mark,
  type NodeStatus,
  type ReplicaStatus,
  type Sample,
} from "@baton/contracts";
import { decide, type Effect, type Settings } from "./decide.ts";
import { emptyPicture, type Input, type Picture } from "./picture.ts";

export const SETTINGS: Settings = { decider: "d1", freshMs: 3_000, heartbeatSilentMs: 500, retryMs: 5_000 };
export const uuid = (node: string) => `${(node.at(-1) ?? "").repeat(8)}-0000-0000-0000-000000000000`;

export class Scene {
  now = 1_000;
  /** The decider's wall clock. */
  unixMs = 1_700_000_000_000;
  picture: Picture;
  effects: Effect[] = [];
  /** Semi-sync replicas that the primary counts. */
  clients = 2;
  readonly #seq = new Map<string, number>();
  readonly settings: Settings;

  constructor(nodes = 3, settings: Partial<Settings> = {}, acks = 1, policy: object = {}) {
    this.settings = { ...SETTINGS, ...settings };
    this.picture = emptyPicture("shop", this.now);
    const declared = DeclaredCluster.parse({
      cluster: "shop",
      nodes: Object.fromEntries(
        Array.from({ length: nodes }, (_, i) => [`n${i + 1}`, { host: `h${i + 1}`, port: 3306 }]),
      ),
      policy: { acks, ...policy },
    });
    this.feed({ type: "declared", declared });
    this.feed({ type: "state-known" });
    this.feed({ type: "brakes-known" });
    this.feed({ type: "marks-known" });
  }

  /** What a decider before this one left in NATS. */
  mark(executed = `${uuid("n1")}:1-10`, proven = true, why = "seen"): Effect[] {
    const mark: Mark = {
      cluster: "shop",
      epoch: 1,
      primary: "n1",
      primaryUuid: uuid("n1"),
      executed,
      durability: { proven, acks: 1, why, sinceUnixMs: 0 },
      decider: "d0",
    };
    return this.feed({ type: "mark", mark, revision: 1, decider: "d1" });
  }

  feed(input: Input): Effect[] {
    const { picture, effects } = decide(this.picture, input, this.now, this.settings);
    this.picture = picture;
    this.effects.push(...effects);
    return effects;
  }

  /** Lets time pass; deciders tick every 250 ms. */
  wait(ms: number): Effect[] {
    const out: Effect[] = [];
    for (let left = ms; left > 0; left -= 250) {
      this.now += Math.min(250, left);
      this.unixMs += Math.min(250, left);
      out.push(...this.feed({ type: "tick", nowUnixMs: this.unixMs }));
    }
    return out;
  }

  /** Every node has been seen whole since its start. */
  steady(more: Partial<ClusterState> = {}, revision = 5): Effect[] {
    for (const node of Object.keys(this.picture.declared?.nodes ?? {})) this.vouched(node);
    return this.feed({
      type: "state",
      revision,
      nowUnixMs: this.unixMs,
      state: {
        cluster: "shop",
        epoch: 1,
        primary: "n1",
        primaryUuid: uuid("n1"),
        phase: "steady",
        operation: null,
        last: null,
        quarantined: [],
        failovers: [],
        ...more,
      },
    });
  }

  vouched(node: string, startedUnixS = 100): void {
    if (this.picture.vouches.has(node)) return;
    const vouch = { cluster: "shop", node, serverUuid: uuid(node), startedUnixS, held: "" };
    this.feed({ type: "vouch", node, vouch, revision: 1 });
  }

  status(
    node: string,
    more: Partial<NodeStatus> = {},
    replica: Partial<ReplicaStatus> | null = {},
  ): NodeStatus {
    const primary = node === "n1" && replica !== null && Object.keys(replica).length === 0;
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
      replica:
        primary || replica === null
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
              ...replica,
            },
      semiSync: primary
        ? {
            source: true,
            sourceActive: true,
            acks: 1,
            timeoutMs: 4_294_967_295,
            waitNoReplica: true,
            afterSync: true,
            clients: this.clients,
            waiting: 0,
            replica: false,
            replicaActive: false,
          }
        : null,
      ...more,
    };
  }

  sample(node: string, prober = "p1", more: Partial<Sample> = {}): Effect[] {
    const key = `${node}/${prober}`;
    const seq = (this.#seq.get(key) ?? 0) + 1;
    this.#seq.set(key, seq);
    return this.feed({
      type: "sample",
      sample: {
        cluster: "shop",
        node,
        region: prober.includes("us") ? "us" : "eu",
        prober,
        seq,
        cause: "tick",
        outcome: "ok",
        rttMs: 1,
        attempts: 0,
        silentMs: 0,
        thresholdMs: 300,
        errno: null,
        error: null,
        status: more.outcome !== undefined && more.outcome !== "ok" ? null : this.status(node),
        ...more,
      },
    });
  }

  replica(
    node: string,
    replica: Partial<ReplicaStatus> | null,
    prober = "p1",
    more: Partial<NodeStatus> = {},
  ): Effect[] {
    return this.sample(node, prober, { status: this.status(node, more, replica) });
  }

  /** Every prober sees every node well; a moment later than the last change of state. */
  calm(...probers: string[]): Effect[] {
    this.now += 10;
    const out: Effect[] = [];
    for (const p of probers.length === 0 ? ["p1"] : probers)
      for (const node of Object.keys(this.picture.declared?.nodes ?? {})) out.push(...this.sample(node, p));
    return out;
  }

  refused(node: string, prober = "p1"): Effect[] {
    this.sample(node, prober, { outcome: "closed", attempts: 0 });
    this.sample(node, prober, { outcome: "refused", attempts: 1 });
    return this.sample(node, prober, { outcome: "refused", attempts: 2 });
  }

  orders(): string[] {
    return this.effects.flatMap((e) => (e.type === "order" ? [`${e.order.kind} ${e.order.node}`] : []));
  }

  code(): string | undefined {
    return this.picture.diagnosis?.code;
  }
}
