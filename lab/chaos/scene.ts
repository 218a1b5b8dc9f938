/** What a fault may touch, and what it must say of itself. */
import type { RefusalCode } from "@baton/contracts";
import type { Lab } from "../lab.ts";
import type { LabNode } from "../lab-node.ts";
import type { Disks } from "./disks.ts";
import type { Card } from "./draw.ts";
import type { Network } from "./network.ts";
import type { World } from "./world.ts";

/** A process of Baton that is kept running: killed, it is started again. */
export interface Service {
  readonly name: string;
  /** The host that it runs on. */
  readonly site: string;
  readonly running: boolean;
  /** It runs, and a signal has stopped it. */
  readonly standsStill: boolean;
  kill(): void;
  hang(): void;
  resume(): void;
}

export interface Scene {
  readonly lab: Lab;
  readonly world: World;
  readonly network: Network;
  /** Where the nodes' binary logs are. */
  readonly disks: Disks;
  /** Where probers, deciders and executors are. */
  readonly sites: readonly string[];
  /** As they were when the round began. */
  readonly primary: LabNode;
  readonly replicas: readonly LabNode[];
  services(kind: "prober" | "decider" | "executor" | "notifier" | "auditor"): readonly Service[];
  /** Orders a planned switchover, as a person would. Resolves when it is ordered or refused. */
  switchover(): Promise<void>;
  /** Orders the rebuild of a node, as a person would who reads that it is errant. */
  rebuild(node: string): Promise<void>;
  /** `baton apply` with these nodes, as a person would. Null: written, and who was taken out has left; else why not. */
  apply(nodes: readonly string[]): Promise<string | null>;
  /** The next executor that passes this point of a failover or a switchover ends or sleeps there: `after:commit=kill`. Null: none does. */
  armExecutors(point: string | null): void;
  /** Puts the wall clock of all of Baton at a site off by so much; 0: right again. */
  setClock(site: string, offsetMs: number): void;
  /** How many failovers, switchovers and rebuilds were ordered and have ended, as far as was heard. */
  operations(): { ordered: number; ended: number };
}

/** Ends a fault, and brings back what it took away. Called once. */
export type Heal = () => Promise<void>;

/**
 * What must come of a fault that is alone. `failover`: another node has the pen before it is healed, or Baton has refused with one of
 * `refusals`. `keep`: the primary keeps the pen. `refuse`: as `keep` until it is healed, and Baton says why. `wait`: the
 * same, and it need not say so. `either`: both are right.
 */
export type Expectation = "failover" | "keep" | "refuse" | "wait" | "either";

export interface Fault extends Card {
  /** For a person: what is done. */
  what: string;
  expects: Expectation;
  /** Right reasons not to fail over while it stands. */
  refusals: readonly RefusalCode[];
  /** What is right in a world in which that is another thing than with three nodes, one ack and lossless durability. */
  inWorld?(world: World): { expects: Expectation; refusals: readonly RefusalCode[] };
  /** The worlds that it can be made in. Default: all. */
  fits?(world: World): boolean;
  /** As a second fault it may keep a failover from beginning or ending before it is healed. */
  holdsUp?: boolean;
  /** Makes it; `draws` decide what the seed leaves open. Resolves when it stands, or rejects having touched nothing. */
  make(scene: Scene, draws: readonly [number, number, number]): Promise<Heal>;
  /** The same fault with what is said behind `=` in place of what is drawn. Error: LabError `bad-option`. */
  at?(said: string): Fault;
}
