/**
 * Virtual time: a queue of events, one run after another, each in the name of the actor it belongs to. The real code's timers and
 * clocks are replaced in this thread (`installClock`), so that product code needs no clock port and days pass in seconds.
 */

interface Entry {
  atMs: number;
  seq: number;
  actor: Actor | null;
  run: () => void;
  cancelled: boolean;
}

/** Whoever has events of its own: a process or a server. One that was stopped gets them when it goes on; a dead one never. */
export class Actor {
  readonly name: string;
  /** Its wall clock's error, in milliseconds. */
  skewMs = 0;
  #state: "up" | "paused" | "down" = "up";
  readonly #inbox: Entry[] = [];
  protected readonly timeline: Timeline;

  constructor(name: string, timeline: Timeline) {
    this.name = name;
    this.timeline = timeline;
  }

  get up(): boolean {
    return this.#state === "up";
  }
  get paused(): boolean {
    return this.#state === "paused";
  }
  get down(): boolean {
    return this.#state === "down";
  }

  pause(): void {
    if (this.#state === "up") this.#state = "paused";
  }

  resume(): void {
    if (this.#state !== "paused") return;
    this.#state = "up";
    for (const entry of this.#inbox.splice(0)) if (!entry.cancelled) this.timeline.again(entry);
  }

  die(): void {
    this.#state = "down";
    this.#inbox.length = 0;
  }

  keep(entry: Entry): void {
    this.#inbox.push(entry);
  }
}

export class Timeline {
  nowMs = 0;
  events = 0;
  /** Whose event is being run. */
  current: Actor | null = null;
  /** What the real code threw with nobody to catch it: in a process of its own it would have died of it. */
  onUncaught: (actor: Actor | null, error: unknown) => void = (_actor, error) => {
    throw error;
  };
  readonly #heap: Entry[] = [];
  #seq = 0;
  #stopped = false;

  /** Runs `run` after `delayMs` in the name of `actor`. */
  after(delayMs: number, actor: Actor | null, run: () => void): Entry {
    return this.at(this.nowMs + delayMs, actor, run);
  }

  /** At an exact time: what must stay in order must not be added up twice. */
  at(atMs: number, actor: Actor | null, run: () => void): Entry {
    return this.#push({
      atMs,
      seq: this.#seq++,
      actor,
      run,
      cancelled: false,
    });
  }

  /** An event that its actor missed, now. */
  again(entry: Entry): void {
    entry.atMs = this.nowMs;
    entry.seq = this.#seq++;
    this.#push(entry);
  }

  stop(): void {
    this.#stopped = true;
  }

  /**
   * Runs until `stop` or until nothing is left. After each event of an actor its promises are settled: that is done by the
   * event loop itself between two immediates, so that no promise of the real code is looked at too early.
   */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      let left = 0;
      const turn = () => {
        left--;
        try {
          if (!this.#stopped && !this.#step()) this.#stopped = true;
        } catch (error) {
          this.#stopped = true;
          reject(error);
        }
        if (left > 0) return;
        if (this.#stopped) resolve();
        else more();
      };
      const more = () => {
        left = BATCH;
        for (let i = 0; i < BATCH; i++) setImmediate(turn);
      };
      more();
    });
  }

  /** Runs events up to and including the next one of an actor; false when none is left. */
  #step(): boolean {
    for (;;) {
      const entry = this.#pop();
      if (entry === null) return false;
      if (entry.cancelled || entry.actor?.down) continue;
      this.nowMs = entry.atMs;
      const { actor } = entry;
      if (actor?.paused) {
        actor.keep(entry);
        continue;
      }
      this.events++;
      this.current = actor;
      try {
        entry.run();
      } catch (error) {
        this.onUncaught(actor, error);
      }
      if (this.#stopped) return false;
      if (actor !== null) return true;
    }
  }

  #push(entry: Entry): Entry {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const p = heap[parent] as Entry;
      if (!before(entry, p)) break;
      heap[i] = p;
      i = parent;
    }
    heap[i] = entry;
    return entry;
  }

  #pop(): Entry | null {
    const heap = this.#heap;
    const top = heap[0];
    if (top === undefined) return null;
    const last = heap.pop() as Entry;
    const size = heap.length;
    if (size === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= size) break;
      if (child + 1 < size && before(heap[child + 1] as Entry, heap[child] as Entry)) child++;
      const c = heap[child] as Entry;
      if (!before(c, last)) break;
      heap[i] = c;
      i = child;
    }
    heap[i] = last;
    return top;
  }
}

const BATCH = 256;

function before(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.seq < b.seq);
}

export type { Entry };

/** What `setTimeout` gives in virtual time. */
class VirtualTimer {
  entry: Entry | null = null;
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
  hasRef(): boolean {
    return true;
  }
}

/** 2026-01-01; only differences matter. */
const EPOCH_UNIX_MS = 1_767_225_600_000;

let timeline: Timeline | null = null;

/** The timeline that this thread's timers and clocks now follow. */
export function follow(next: Timeline): void {
  timeline = next;
}

/** The wall clock of whoever runs now. */
export function nowUnixMs(of: Timeline): number {
  return EPOCH_UNIX_MS + Math.floor(of.nowMs) + (of.current?.skewMs ?? 0);
}

/**
 * Replaces timers and clocks in this thread for good. To be called in a worker thread that does nothing else. `setImmediate` stays: the
 * timeline itself turns by it, and neither service's core uses it.
 */
export function installClock(): void {
  const running = (): Timeline => {
    if (timeline === null) throw new Error("a timer was set outside an incident");
    return timeline;
  };
  const set = (run: (...args: unknown[]) => void, ms: number | undefined, args: unknown[]): VirtualTimer => {
    const of = running();
    const timer = new VirtualTimer();
    timer.entry = of.after(Math.max(1, Math.trunc(ms ?? 1)), of.current, () => run(...args));
    return timer;
  };
  const clear = (timer: unknown): void => {
    if (timer instanceof VirtualTimer && timer.entry !== null) timer.entry.cancelled = true;
  };
  Object.assign(globalThis, {
    setTimeout: (run: () => void, ms?: number, ...args: unknown[]) => set(run, ms, args),
    clearTimeout: clear,
    setInterval: (run: () => void, ms: number, ...args: unknown[]) => {
      const of = running();
      const timer = new VirtualTimer();
      const turn = (): void => {
        timer.entry = of.after(Math.max(1, ms), of.current, turn);
        run(...(args as []));
      };
      timer.entry = of.after(Math.max(1, ms), of.current, turn);
      return timer;
    },
    clearInterval: clear,
  });
  Object.defineProperty(performance, "now", { value: () => running().nowMs, configurable: true });
  Date.now = () => nowUnixMs(running());
}
