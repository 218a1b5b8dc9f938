/** The shell of plans.ts: keeps what is planned as NATS has it, and carries out what there is to do when its time comes. */
import type { Bucket } from "@baton/bus";
import type { Planned } from "@baton/contracts";
import { utc } from "@baton/protocol";
import type { BrakePorts } from "./commands/brake-record.ts";
import { tellPlan } from "./commands/plan.ts";
import type { Order } from "./decide.ts";
import { type OrderResult, operationName } from "./order.ts";
import type { Picture } from "./picture.ts";
import { judgePlan } from "./plans.ts";
import type { VoteSettings } from "./votes.ts";

export interface PlannerPorts {
  readonly decider: string;
  readonly plans: Bucket<Planned>;
  now(): number;
  give(picture: Picture, order: Order): Promise<OrderResult>;
  telling(): BrakePorts;
  log(level: "info" | "error", cluster: string, text: string, error?: unknown): void;
}

export class Planner {
  readonly #ports: PlannerPorts;
  readonly #settings: VoteSettings;
  readonly #known = new Map<string, { plan: Planned; revision: number; seenMs: number }>();
  readonly #atWork = new Set<string>();

  constructor(settings: VoteSettings, ports: PlannerPorts) {
    this.#settings = settings;
    this.#ports = ports;
  }

  learn(cluster: string, plan: Planned | null, revision: number): void {
    if (plan === null) this.#known.delete(cluster);
    else this.#known.set(cluster, { plan, revision, seenMs: this.#ports.now() });
  }

  planned(cluster: string): Planned | null {
    return this.#known.get(cluster)?.plan ?? null;
  }

  /** Asked at every tick; one step at a time for each cluster. */
  tick(picture: Picture): void {
    const { cluster } = picture;
    if (!this.#known.has(cluster) || this.#atWork.has(cluster)) return;
    this.#atWork.add(cluster);
    void this.#step(cluster, picture)
      .catch((error: unknown) =>
        this.#ports.log(
          "error",
          cluster,
          "a planned switchover could not be seen to; it is tried again",
          error,
        ),
      )
      .finally(() => this.#atWork.delete(cluster));
  }

  async #step(cluster: string, picture: Picture): Promise<void> {
    const { plans, decider, now } = this.#ports;
    const known = this.#known.get(cluster);
    if (known === undefined) return;
    const { plan, revision, seenMs } = known;
    const step = judgePlan(plan, seenMs, picture, decider, now(), this.#settings);
    switch (step.do) {
      case "wait":
        return;
      case "skip":
        await tellPlan(plan, this.#ports.telling(), {
          type: "switchover-skipped",
          severity: "warning",
          title: `${cluster}: the switchover planned for ${utc(plan.atUnixMs)} is skipped`,
          summary: step.reason,
          action: `Nothing was touched. Remove the reason and plan it again, or now: baton switchover ${cluster}`,
        });
        await plans.remove(cluster, revision);
        return;
      case "take": {
        const { candidate, stateRevision } = step.order;
        const taken: Planned = {
          ...plan,
          order: { candidate: candidate as string, stateRevision, decider },
        };
        const mine = await plans.update(cluster, taken, revision);
        // Another was first: its order is the one.
        if (mine !== null) await this.#give(picture, step.order, mine);
        return;
      }
      case "give":
        await this.#give(picture, step.order, revision);
        return;
      case "forget":
        await plans.remove(cluster, revision);
    }
  }

  async #give(picture: Picture, order: Order, revision: number): Promise<void> {
    const { cluster } = picture;
    const result = await this.#ports.give(picture, order);
    if (!result.ok) {
      this.#ports.log("info", cluster, `${operationName(cluster, order)} not ordered yet: ${result.why}`);
      return;
    }
    this.#ports.log("info", cluster, `${result.operation} ordered: ${order.reason}`);
    await this.#ports.plans.remove(cluster, revision);
  }
}
