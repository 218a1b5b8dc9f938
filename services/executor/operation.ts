/**
 * The frame of every operation: one run of one intent. It keeps the state's revision, takes hands on nodes, times and
 * publishes each step. What an operation does is in failover.ts, rejoin.ts and adopt.ts.
 */
import type {
  Alert,
  ClusterState,
  DeclaredCluster,
  Event,
  Intent,
  MysqlAccess,
  OperationKind,
  RefusalCode,
  Step,
  StepName,
  Vouch,
} from "@baton/contracts";
import type { Brakes } from "@baton/protocol";
import type { Hand } from "./hand.ts";
import { Refusal, Superseded } from "./refusal.ts";

/** What an operation needs of the outside. Times are monotonic milliseconds unless named otherwise. */
export interface Ports {
  readonly executor: string;
  now(): number;
  nowUnixMs(): number;
  /** Compare-and-set of baton_state; null when the revision is not the last. */
  writeState(cluster: string, state: ClusterState, revision: number): Promise<number | null>;
  readState(cluster: string): Promise<{ value: ClusterState; revision: number } | null>;
  takeHand(cluster: string, node: string, connectMs: number): Promise<Hand>;
  /** A further session to a node whose hand this operation holds, without a lock of its own. */
  openHelper(cluster: string, node: string, connectMs: number): Promise<Hand>;
  vouches(cluster: string): ReadonlyMap<string, Vouch>;
  brakes(cluster: string): Promise<Brakes>;
  access(cluster: string): MysqlAccess;
  publishStep(step: Step): Promise<void>;
  publishEvent(event: Event): Promise<void>;
  /** As `publishEvent`, but rejects when the stream has not stored it. */
  archiveEvent(event: Event): Promise<void>;
  publishAlert(alert: Alert): Promise<void>;
  /** Where the lab may stop this process (fault-point.ts). */
  passing?(when: "before" | "after", kind: OperationKind, step: StepName): void;
}

/** What a step rests on, for the audit. */
export interface StepResult<T> {
  value: T;
  summary: string;
  detail?: Record<string, unknown>;
}

export class Operation {
  readonly intent: Intent;
  readonly declared: DeclaredCluster;
  readonly ports: Ports;
  /** Another executor began it: what it did must be looked at before it is done again. */
  readonly takenOver: boolean;
  readonly #startedMs: number;
  readonly #hands = new Map<string, Promise<Hand>>();
  readonly #published: Promise<void>[] = [];
  #state: ClusterState | null;
  #revision: number;
  #superseded: Superseded | null = null;
  #endTold = false;

  constructor(
    intent: Intent,
    declared: DeclaredCluster,
    found: { value: ClusterState; revision: number } | null,
    ports: Ports,
    takenOver: boolean,
  ) {
    this.intent = intent;
    this.declared = declared;
    this.ports = ports;
    this.takenOver = takenOver;
    this.#state = found?.value ?? null;
    this.#revision = found?.revision ?? 0;
    this.#startedMs = ports.now();
  }

  get cluster(): string {
    return this.intent.cluster;
  }

  /** The state as this operation last wrote it. */
  get state(): ClusterState {
    if (this.#state === null) throw new Error(`${this.cluster} has no state`);
    return this.#state;
  }

  /** The state says that this operation is over. */
  get hasEnded(): boolean {
    return this.#state?.last?.id === this.intent.operation;
  }

  /** The epoch this operation leads to. */
  get epoch(): number {
    return this.#state?.epoch ?? this.intent.epoch;
  }

  /** Writes the next state behind the one we know. @throws Superseded when somebody else wrote first. */
  async change(next: ClusterState): Promise<void> {
    this.assertMine();
    const revision = await this.ports.writeState(this.cluster, next, this.#revision);
    if (revision === null) {
      this.supersede("state-changed", "the cluster's state was changed by another");
      this.assertMine();
    }
    this.#state = next;
    this.#revision = revision as number;
  }

  /** From now on this operation must not touch anything: its sessions are dropped, its next step throws. */
  supersede(code: RefusalCode, why: string): void {
    if (this.#superseded !== null) return;
    this.#superseded = new Superseded(code, why);
    for (const hand of this.#hands.values()) hand.then((h) => h.destroy()).catch(() => undefined);
  }

  /** Asks whether the state is still as this operation wrote it. No fence, only good manners before putting things back. */
  async confirmMine(): Promise<void> {
    const found = await this.ports.readState(this.cluster);
    if (found?.revision !== this.#revision)
      this.supersede("state-changed", "the cluster's state was changed by another");
    this.assertMine();
  }

  assertMine(): void {
    if (this.#superseded !== null) throw this.#superseded;
  }

  /** The hand on a node, taken once an operation and kept. @throws Refusal node-lost, MysqlFault */
  hand(node: string, connectMs: number): Promise<Hand> {
    let hand = this.#hands.get(node);
    if (hand === undefined) {
      hand = this.ports.takeHand(this.cluster, node, connectMs).then((h) => {
        if (this.#superseded !== null) {
          h.destroy();
          throw this.#superseded;
        }
        return h;
      });
      hand.catch(() => undefined);
      this.#hands.set(node, hand);
    }
    return hand;
  }

  /**
   * A hand on a server that was restarted on this operation's own behalf (the end of a clone), or is put back as it was (the end of a
   * switchover), in place of the one that was lost. Only here is a lost hand replaced. The state is asked after the lock is taken: an executor that slept in
   * between learns so that the operation is no longer its own, before it has sent anything else.
   */
  async renewHand(node: string, connectMs: number): Promise<Hand> {
    this.assertMine();
    const before = this.#hands.get(node);
    this.#hands.delete(node);
    before?.then((h) => h.destroy()).catch(() => undefined);
    const hand = await this.hand(node, connectMs).catch((error: unknown) => {
      this.#hands.delete(node);
      throw error;
    });
    await this.confirmMine();
    return hand;
  }

  /** Runs one step, publishes how it ended and how long it took. Publishing is not waited for. */
  async step<T>(name: StepName, run: () => Promise<StepResult<T>> | StepResult<T>): Promise<T> {
    this.assertMine();
    this.#passing("before", name);
    const beganMs = this.ports.now();
    const report = (
      outcome: Step["outcome"],
      code: RefusalCode | null,
      summary: string,
      detail: Record<string, unknown>,
    ) =>
      this.#published.push(
        this.ports.publishStep({
          cluster: this.cluster,
          operation: this.intent.operation,
          kind: this.intent.kind,
          epoch: this.epoch,
          executor: this.ports.executor,
          takeovers: this.#state?.operation?.takeovers ?? 0,
          step: name,
          outcome,
          code,
          atMs: beganMs - this.#startedMs,
          tookMs: this.ports.now() - beganMs,
          summary,
          detail: detail as Step["detail"],
        }),
      );
    try {
      const result = await run();
      this.assertMine();
      report("done", null, result.summary, result.detail ?? {});
      this.#passing("after", name);
      return result.value;
    } catch (error) {
      if (error instanceof Refusal) report("refused", error.code, error.message, error.detail);
      else if (error instanceof Superseded) report("failed", error.code, error.message, {});
      else report("failed", "internal", error instanceof Error ? error.message : String(error), {});
      throw error;
    }
  }

  #passing(when: "before" | "after", step: StepName): void {
    if (!this.takenOver) this.ports.passing?.(when, this.intent.kind, step);
  }

  event(event: Omit<Event, "cluster" | "epoch" | "operation" | "kind"> & { epoch?: number }): void {
    if (event.type === "operation-ended") this.#endTold = true;
    this.#published.push(
      this.ports.publishEvent({
        epoch: this.epoch,
        ...event,
        cluster: this.cluster,
        operation: this.intent.operation,
        kind: this.intent.kind,
      }),
    );
  }

  /** As `event`, and returns once it is stored: for what must not be lost before the next step destroys its source. */
  async archive(event: Omit<Event, "cluster" | "epoch" | "operation" | "kind">): Promise<void> {
    await this.ports.archiveEvent({
      ...event,
      epoch: this.epoch,
      cluster: this.cluster,
      operation: this.intent.operation,
      kind: this.intent.kind,
    });
  }

  /** Every operation that ends says so; those that have said more keep their own words. */
  tellEnd(): void {
    const last = this.#state?.last;
    if (this.#endTold || last?.id !== this.intent.operation) return;
    this.event({
      type: "operation-ended",
      node: this.intent.node,
      outcome: last.outcome,
      code: last.code,
      summary: `${last.kind} of ${this.intent.node} in ${this.cluster}: ${last.outcome}`,
      primary: null,
      previous: null,
      next: null,
      detail: {},
    });
  }

  alert(alert: Pick<Alert, "severity" | "code" | "title" | "summary" | "action" | "node">): void {
    this.#published.push(
      this.ports.publishAlert({
        ...alert,
        id: `${this.intent.operation}.${alert.code}`,
        cluster: this.cluster,
        epoch: this.epoch,
        operation: this.intent.operation,
        source: this.ports.executor,
        atUnixMs: this.ports.nowUnixMs(),
      }),
    );
  }

  /** Lets go of every node and waits until what was published is stored. Hands still being taken are dropped. */
  async letGo(withinMs: number): Promise<void> {
    await Promise.all(
      [...this.#hands.values()].map(async (hand) => {
        const taken = await within(hand, 0).catch(() => null);
        if (taken === null) hand.then((h) => h.destroy()).catch(() => undefined);
        else if (this.#superseded !== null) taken.destroy();
        else await taken.release();
      }),
    );
    this.#hands.clear();
    await within(Promise.allSettled(this.#published), withinMs);
  }
}

/** The promise's value, or null once `ms` have passed; with 0, only what is settled already. */
export async function within<T>(promise: Promise<T>, ms: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
