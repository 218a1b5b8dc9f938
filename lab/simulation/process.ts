/**
 * One process of Baton. All that it does to the outside is an effect, counted, and at any of them it may be killed or
 * stopped: what it still does in the same turn is then done never, or when it goes on.
 */
import { Actor, type Timeline } from "./timeline.ts";

export interface Strike {
  /** Before which of its next effects; 1 is the next. */
  effect: number;
  when: "before" | "after";
  strike(): void;
}

export class Process extends Actor {
  readonly host: string;
  readonly service: "decider" | "executor";
  effects = 0;
  #outbox: (() => void)[] = [];
  #strike: Strike | null = null;
  /** Called when it dies: its sockets are closed by the kernel, unless the whole host has gone. */
  readonly onDeath: ((silently: boolean) => void)[] = [];

  constructor(name: string, service: "decider" | "executor", host: string, timeline: Timeline) {
    super(name, timeline);
    this.service = service;
    this.host = host;
  }

  /** Arms a fault at an effect from now on. */
  arm(strike: Strike): void {
    this.#strike = { ...strike, effect: this.effects + strike.effect };
  }

  disarm(): void {
    this.#strike = null;
  }

  /** Everything that leaves the process goes through here. */
  emit(send: () => void): void {
    if (this.down) return;
    if (this.paused) {
      this.#outbox.push(send);
      return;
    }
    this.effects++;
    const strike = this.#strike;
    if (strike === null || this.effects < strike.effect) {
      send();
      return;
    }
    this.#strike = null;
    if (strike.when === "after") {
      send();
      strike.strike();
      return;
    }
    strike.strike();
    if (this.paused) this.#outbox.push(send);
  }

  override resume(): void {
    if (!this.paused) return;
    // What was about to be sent when it was stopped comes before anything that it hears now.
    const waiting = this.#outbox;
    this.#outbox = [];
    for (const send of waiting) this.timeline.after(0, this, send);
    super.resume();
  }

  kill(silently: boolean): void {
    if (this.down) return;
    this.die();
    this.#outbox = [];
    for (const tell of this.onDeath.splice(0)) tell(silently);
  }
}
