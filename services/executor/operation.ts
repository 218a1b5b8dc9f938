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
  Mark,
  MysqlAccess,
  OperationKind,
  RefusalCode,
  Salvage,
  Step,
  StepName,
  Vouch,
} from "@baton/contracts";
import { GtidSet } from "@baton/mysql";
import { type Brakes, counted, requiredOf } from "@baton/protocol";
import type { Hand } from "./hand.ts";
import { Refusal, Superseded } from "./refusal.ts";

/** What an operation needs of the outside. Times are monotonic milliseconds unless named otherwise. */
export interface Ports {
  readonly executor: string;
  now(): number;
  nowUnixMs(): number;
  /** For how long the state's operation has stood on its side of the commit point, as far as this executor has seen. */
  standingMs(state: ClusterState): number;
  /** How old the judgement behind the intent is, as its decider says within `withinMs`; null: it does not. */
  judgedAgoMs(intent: Intent, withinMs: number): Promise<number | null>;
  /** Compare-and-set of baton_state; null when the revision is not the last. */
  writeState(cluster: string, state: ClusterState, revision: number): Promise<number | null>;
  readState(cluster: string): Promise<{ value: ClusterState; revision: number } | null>;
  /** Takes the node's lock; whoever holds it is killed first. */
  takeHand(cluster: string, node: string, connectMs: number): Promise<Hand>;
  /** Takes the node's lock if it is free; null when somebody holds it, who is left alone. */
  takeFreeHand(cluster: string, node: string, connectMs: number): Promise<Hand | null>;
  /** A second session to a node whose hand this operation holds, for changes. */
  openHelper(cluster: string, hand: Hand, connectMs: number): Promise<Hand>;
  /** A session that only looks. */
  openLook(cluster: string, node: string, connectMs: number): Promise<Hand>;
  vouches(cluster: string): ReadonlyMap<string, Vouch>;
  /** The high-water mark, as NATS has it. */
  mark(cluster: string): Promise<Mark | null>;
  brakes(cluster: string): Promise<Brakes>;
  access(cluster: string): MysqlAccess;
  publishStep(step: Step): Promise<void>;
  publishEvent(event: Event): Promise<void>;
  /** Keeps a part of what a node alone holds; rejects when it is not stored. */
  keepSalvage(part: Salvage): Promise<void>;
  /** As `publishEvent`, but rejects when the stream has not stored it. */
  archiveEvent(event: Event): Promise<void>;
  publishAlert(alert: Alert): Promise<void>;
  /** Where the lab may stop this process (fault-point.ts). */
  passing?(when: "before" | "after", kind: OperationKind, step: StepName): void;
}

/** A lock taken before the claim, and how many compare-and-sets had been begun by then. */
interface Early {
  hand: Hand;
  afterWrite: number;
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
  /** Those that may act. */
  readonly #hands = new Map<string, Promise<Hand>>();
  /** Locks taken before the claim, where they were free. */
  readonly #early = new Map<string, Promise<Early | null>>();
  readonly #helpers = new Set<Hand>();
  /** Hands that were taken, until one is found lost. */
  readonly #held = new Set<Hand>();
  readonly #published: Promise<void>[] = [];
  #state: ClusterState | null;
  #revision: number;
  /** Compare-and-sets: how many were begun, and the number of the last that succeeded. */
  #writes = 0;
  #lastWritten = 0;
  #writing: Promise<unknown> = Promise.resolve();
  #confirming: Promise<void> | null = null;
  #asking: Promise<void> | null = null;
  #superseded: Superseded | null = null;
  #mark: Mark | null = null;
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

  /** Reads the high-water mark; what the intent carries may be newer, and counts too. Nothing is opened before it was read. */
  async learnMark(): Promise<void> {
    this.#mark = await this.ports.mark(this.cluster);
  }

  /** The mark as it was read: also says whether the primary's writes were seen to wait for acks. */
  get mark(): Mark | null {
    return this.#mark;
  }

  /** What a node must hold to be opened: the high-water mark, but for what a person has given up. */
  get required(): GtidSet {
    const { mark = "", acceptLoss } = this.intent;
    return requiredOf(
      GtidSet.parse(this.#mark?.executed ?? "").union(GtidSet.parse(mark)),
      this.#state ?? {},
      GtidSet.parse(acceptLoss?.gtids ?? ""),
    );
  }

  get stateOrNull(): ClusterState | null {
    return this.#state;
  }

  /** Some state was written by it here. */
  get hasWritten(): boolean {
    return this.#lastWritten > 0;
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
  change(next: ClusterState): Promise<void> {
    return this.#inTurn(() => this.#write(next));
  }

  /** One write at a time: each is made behind the revision of the one before. */
  #inTurn(write: () => Promise<void>): Promise<void> {
    const turn = this.#writing.then(write);
    this.#writing = turn.catch(() => undefined);
    return turn;
  }

  async #write(next: ClusterState): Promise<void> {
    this.assertMine();
    const write = ++this.#writes;
    const revision = await this.ports.writeState(this.cluster, next, this.#revision);
    if (revision === null) {
      this.supersede("state-changed", "the cluster's state was changed by another");
      this.assertMine();
    }
    this.#state = next;
    this.#revision = revision as number;
    this.#lastWritten = write;
  }

  /**
   * Shows by a compare-and-set, begun after a node's lock was taken, or before things are put back, that the operation is still ours. An executor that slept before it
   * took the lock learns here that its operation was ended by another; and whoever takes the operation over after this kills the lock's
   * session first. Reads would not do: they may be answered by a NATS server that has been cut off.
   */
  confirmMine(): Promise<void> {
    // One that waits for its turn comes late enough for this lock, too.
    this.#confirming ??= this.#inTurn(() => {
      this.#confirming = null;
      return this.#write(this.state);
    });
    return this.#confirming;
  }

  /**
   * Keeps in the state that this node accepted writes when the operation came, where the decider did not know: so that whoever rolls back
   * opens it again. After the commit point nobody does.
   */
  noteWritable(node: string): Promise<void> {
    return this.#inTurn(async () => {
      const { phase, operation } = this.state;
      if (phase !== "fencing" || operation === null || operation.before.writable.includes(node)) return;
      const before = { ...operation.before, writable: [...operation.before.writable, node] };
      await this.#write({ ...this.state, operation: { ...operation, before } });
    });
  }

  /** From now on this operation must not touch anything: its sessions are dropped, its next step throws. */
  supersede(code: RefusalCode, why: string): void {
    if (this.#superseded !== null) return;
    this.#superseded = new Superseded(code, why);
    for (const hand of this.#hands.values()) hand.then((h) => h.destroy()).catch(() => undefined);
    for (const early of this.#early.values()) early.then((e) => e?.hand.destroy()).catch(() => undefined);
    for (const helper of this.#helpers) helper.destroy();
  }

  assertMine(): void {
    if (this.#superseded !== null) throw this.#superseded;
  }

  /**
   * Takes the locks of nodes where they are free, before the claim: then the claim's own compare-and-set shows that they are
   * rightly ours, and `hand` costs no further write. Waits for those that answer within `waitMs`.
   */
  async reach(nodes: readonly string[], connectMs: number, waitMs: number): Promise<void> {
    for (const node of nodes) {
      const early = this.ports
        .takeFreeHand(this.cluster, node, connectMs)
        .then((hand) => (hand === null ? null : { hand, afterWrite: this.#writes }));
      early.catch(() => undefined);
      this.#early.set(node, early);
    }
    await within(Promise.allSettled(this.#early.values()), waitMs);
  }

  /** The hand on a node, taken once an operation and kept. @throws Refusal node-lost, MysqlFault, Superseded */
  hand(node: string, connectMs: number): Promise<Hand> {
    let hand = this.#hands.get(node);
    if (hand === undefined) {
      hand = this.#take(node, connectMs);
      hand.catch(() => undefined);
      this.#hands.set(node, hand);
    }
    return hand;
  }

  async #take(node: string, connectMs: number): Promise<Hand> {
    const early = this.#early.get(node);
    this.#early.delete(node);
    const found = (await early) ?? null;
    const hand = found?.hand ?? (await this.ports.takeHand(this.cluster, node, connectMs));
    const afterWrite = found?.afterWrite ?? this.#writes;
    this.#held.add(hand);
    try {
      this.assertMine();
      // Nothing is ours before the first state is written, and until then nothing is changed.
      if (this.#state !== null && this.#lastWritten <= afterWrite) await this.confirmMine();
      // Whatever this operation does there, it may start its receiver.
      if (this.#state?.parked?.[node] !== undefined) await this.#count(node);
      return hand;
    } catch (error) {
      hand.destroy();
      throw error;
    }
  }

  /** A parked member counts again from here on. */
  #count(node: string): Promise<void> {
    return this.#inTurn(async () => {
      if (this.state.parked?.[node] !== undefined) await this.#write(counted(this.state, node));
    });
  }

  /** A second session to a node whose hand is busy. Ends with the operation. @throws Refusal node-lost, MysqlFault */
  async helper(of: Hand, connectMs: number): Promise<Hand> {
    this.assertMine();
    const helper = await this.ports.openHelper(this.cluster, of, connectMs);
    this.#helpers.add(helper);
    if (this.#superseded !== null) helper.destroy();
    this.assertMine();
    return helper;
  }

  /**
   * A hand on a server that was restarted on this operation's own behalf (the end of a clone), or is put back as it was (the end of a
   * switchover), in place of the one that was lost. Only here is a lost hand replaced.
   */
  async renewHand(node: string, connectMs: number): Promise<Hand> {
    this.assertMine();
    const before = this.#hands.get(node);
    this.#hands.delete(node);
    before?.then((h) => h.destroy()).catch(() => undefined);
    return this.hand(node, connectMs).catch((error: unknown) => {
      this.#hands.delete(node);
      throw error;
    });
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
      await this.#askWhoIAm();
      this.assertMine();
      report("done", null, result.summary, result.detail ?? {});
      this.#passing("after", name);
      return result.value;
    } catch (caught) {
      await this.#askWhoIAm();
      // What it ran into after it was put out of charge only follows from that.
      const error = this.#superseded ?? caught;
      if (error instanceof Refusal) report("refused", error.code, error.message, error.detail);
      else if (error instanceof Superseded) report("failed", error.code, error.message, {});
      else report("failed", "internal", error instanceof Error ? error.message : String(error), {});
      throw error;
    }
  }

  /** A lost hand may have been killed by whoever took the operation over (SAFETY.md, "The executor that slept"). */
  async #askWhoIAm(): Promise<void> {
    const lost = [...this.#held].filter((hand) => hand.closed);
    for (const hand of lost) this.#held.delete(hand);
    if (this.#state !== null && lost.length > 0) this.#asking = this.confirmMine().catch(() => undefined);
    await this.#asking;
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
        id: `${this.intent.operation}.${alert.code}.${alert.node ?? "-"}`,
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
    for (const helper of this.#helpers) helper.destroy();
    const unused = [...this.#early.values()].map((early) =>
      early.then((e) => e?.hand ?? Promise.reject(new Error("not free"))),
    );
    await Promise.all(
      [...this.#hands.values(), ...unused].map(async (hand) => {
        const taken = await within(hand, 0).catch(() => null);
        if (taken === null) hand.then((h) => h.destroy()).catch(() => undefined);
        else if (this.#superseded !== null) taken.destroy();
        else await taken.release();
      }),
    );
    this.#hands.clear();
    this.#early.clear();
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
