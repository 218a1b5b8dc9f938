import { DeclaredCluster, type NodeStatus, type Outcome, type Sample } from "@baton/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ClusterWatch, type Effect, type Input } from "./cluster-watch.ts";
import type { Fault, LinkName } from "./node-watch.ts";
import { findingOf } from "./suspicion.ts";

const settings = { prober: "p1", region: "local", calmMs: 1_000, suspectMs: 100, floorMs: 300 };
const fault = (outcome: Outcome): Fault => ({ outcome, errno: null, message: outcome });

function status(replica: Partial<NonNullable<NodeStatus["replica"]>> | null): NodeStatus {
  return {
    serverUuid: "u",
    serverId: 1,
    version: "9.7.4",
    flavour: "mysql",
    startedUnixS: 1,
    readOnly: replica !== null,
    superReadOnly: replica !== null,
    gtidMode: true,
    executed: "",
    relayLogRecovery: false,
    semiSync: null,
    replica: replica && {
      sourceHost: "h",
      sourcePort: 1,
      sourceUuid: "s",
      receiver: "on",
      receiverErrno: 0,
      receiverError: "",
      heardAgeMs: 100,
      applier: "on",
      applierErrno: 0,
      applierError: "",
      received: "",
      autoPosition: true,
      delayMs: 0,
      ...replica,
    },
  };
}

/** Plays a world to the core: every node answers after 1 ms, unless told otherwise. */
class World {
  now = 0;
  readonly watch = new ClusterWatch("shop", settings);
  readonly samples: (Sample & { atMs: number; incident: boolean })[] = [];
  readonly replies: { ask: number; samples: Sample[]; atMs: number }[] = [];
  readonly pings: { node: string; atMs: number }[] = [];
  /** What a connection attempt finds; null is success. `hang`: no answer at all. */
  readonly server = new Map<
    string,
    { connect: Outcome | null; hang: boolean; hangRead: boolean; status: NodeStatus }
  >();
  #queue: { atMs: number; input: Input; unless?: () => boolean }[] = [];
  readonly #stuck: { node: string; input: () => Input }[] = [];

  constructor(names = ["a", "b", "c"]) {
    for (const [i, n] of names.entries())
      this.server.set(n, {
        connect: null,
        hang: false,
        hangRead: false,
        status: status(i === 0 ? null : {}),
      });
    this.declare(names);
  }

  declare(names: readonly string[]): void {
    const nodes = Object.fromEntries(names.map((n) => [n, { host: n, port: 1 }]));
    this.feed({ type: "declared", declared: DeclaredCluster.parse({ cluster: "shop", nodes }) });
  }

  feed(input: Input): void {
    for (const e of this.watch.on(input, this.now)) this.#carryOut(e);
  }

  /** Runs until `ms` later. */
  run(ms: number): this {
    const end = this.now + ms;
    let idle = 0;
    for (;;) {
      this.#queue.sort((x, y) => x.atMs - y.atMs);
      const wakeAt = this.watch.wakeAt(this.now);
      const next = this.#queue[0];
      const at = Math.max(this.now, Math.min(wakeAt, next?.atMs ?? Number.POSITIVE_INFINITY));
      if (at > end) break;
      idle = at > this.now ? 0 : idle + 1;
      if (idle > 10_000) throw new Error("the core wants to be woken again and again at the same time");
      this.now = at;
      if (next && next.atMs <= wakeAt) {
        this.#queue.shift();
        this.feed(next.input);
      } else this.feed({ type: "wake", plannedAt: wakeAt });
    }
    this.now = end;
    return this;
  }

  kill(node: string): void {
    this.server.get(node)!.connect = "refused";
    this.feed({ type: "closed", node, link: "pulse", fault: fault("closed") });
    this.feed({ type: "closed", node, link: "status", fault: fault("closed") });
  }

  hang(node: string): void {
    Object.assign(this.server.get(node)!, { hang: true, connect: "timeout-connect" });
  }

  resume(node: string): void {
    Object.assign(this.server.get(node)!, { hang: false, connect: null });
    for (const s of this.#stuck.splice(0)) this.#queue.push({ atMs: this.now + 1, input: s.input() });
  }

  of(node: string): (Sample & { atMs: number; incident: boolean })[] {
    return this.samples.filter((s) => s.node === node);
  }

  forget(): void {
    this.samples.length = 0;
    this.pings.length = 0;
  }

  #carryOut(e: Effect): void {
    if (e.type === "publish") this.samples.push({ ...e.sample, atMs: this.now, incident: e.incident });
    else if (e.type === "reply") this.replies.push({ ...e, atMs: this.now });
    else if (e.type === "open") this.#open(e.node, e.link);
    else if (e.type === "ping" || e.type === "read") this.#ask(e.node, e.type);
  }

  #open(node: string, link: LinkName): void {
    const server = this.server.get(node)!;
    const tookMs = server.connect === "timeout-connect" ? 1_000 : 1;
    const why = server.connect === null ? null : fault(server.connect);
    this.#queue.push({ atMs: this.now + tookMs, input: { type: "opened", node, link, fault: why, tookMs } });
  }

  #ask(node: string, what: "ping" | "read"): void {
    if (what === "ping") this.pings.push({ node, atMs: this.now });
    const server = this.server.get(node)!;
    const began = this.now;
    const input = (): Input =>
      what === "ping"
        ? { type: "ponged", node, fault: null, tookMs: this.now - began }
        : { type: "answered", node, answer: server.status };
    if (server.hang || (what === "read" && server.hangRead)) this.#stuck.push({ node, input });
    else
      this.#queue.push({
        atMs: this.now + 1,
        input: what === "ping" ? ({ ...input(), tookMs: 1 } as Input) : input(),
      });
  }
}

describe("in calm", () => {
  it("gives one sample with a status of each node each interval, all of one moment, none of an incident", () => {
    const w = new World().run(2_000);
    w.forget();
    w.run(10_000);
    for (const n of ["a", "b", "c"]) {
      expect(w.of(n)).toHaveLength(10);
      expect(
        w.of(n).every((s) => s.outcome === "ok" && s.status !== null && !s.incident && s.silentMs === 0),
      ).toBe(true);
    }
    const moments = ["a", "b", "c"].map((n) => w.of(n)[0]!.atMs).sort((x, y) => x - y);
    expect(moments[2]! - moments[0]!).toBeLessThan(50);
  });

  it("numbers the samples of a node without a gap", () => {
    const w = new World().run(5_000);
    expect(w.of("a").map((s) => s.seq)).toEqual(w.of("a").map((_, i) => i));
  });
});

describe("a node that is killed", () => {
  it("is closed, refused, refused again, all before any tick, and the others are looked at in the same moment", () => {
    const w = new World().run(2_500);
    w.forget();
    w.kill("a");
    w.run(5);
    expect(w.of("a").map((s) => [s.outcome, s.cause, s.attempts])).toEqual([
      ["closed", "closed", 0],
      ["refused", "confirm", 1],
      ["refused", "confirm", 2],
    ]);
    expect(w.of("b")[0]).toMatchObject({ outcome: "ok", cause: "confirm", incident: true });
    expect(w.of("c")[0]).toMatchObject({ outcome: "ok", cause: "confirm", incident: true });
  });

  it("is tried again ever more rarely but never more rarely than in calm, and told when it is back", () => {
    const w = new World().run(2_500);
    w.kill("a");
    w.forget();
    w.run(30_000);
    const times = w.of("a").map((s) => s.atMs);
    const gaps = times.slice(1).map((t, i) => t - times[i]!);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(1_010);
    expect(gaps.at(-1)).toBeGreaterThan(900);
    w.server.get("a")!.connect = null;
    w.forget();
    w.run(1_200);
    expect(w.of("a")[0]).toMatchObject({ outcome: "ok", attempts: 0, silentMs: 0 });
    expect(w.of("a").some((s) => s.status !== null)).toBe(true);
  });

  it("is old news after a while: the others are looked at in calm again", () => {
    const w = new World().run(2_500);
    w.kill("a");
    w.run(1_000);
    w.forget();
    w.run(2_000);
    expect(w.of("b").length).toBeGreaterThan(15);
    w.run(20_000);
    w.forget();
    w.run(5_000);
    expect(w.of("b")).toHaveLength(5);
    expect(w.of("b").every((s) => !s.incident)).toBe(true);
  });

  it("whose sockets are still being torn down is not called refused, nor counted, until it refuses", () => {
    const w = new World().run(2_500);
    w.forget();
    w.kill("a");
    w.server.get("a")!.connect = "closed";
    w.run(100);
    expect(w.of("a").map((s) => s.outcome)).toEqual(["closed", "refused"].slice(0, w.of("a").length));
    w.server.get("a")!.connect = "refused";
    w.run(20);
    expect(w.of("a").at(-1)).toMatchObject({ outcome: "refused", attempts: 2 });
  });
});

describe("a node that hangs", () => {
  it("is told at the threshold and not before, again as the silence grows, and at once when it answers", () => {
    const w = new World().run(2_500);
    w.forget();
    w.hang("a");
    const hungAt = w.now;
    w.run(2_000);
    const said = w.of("a").filter((s) => s.outcome !== "ok");
    const asked = w.pings.find((p) => p.node === "a" && p.atMs >= hungAt)!.atMs;
    expect(asked - hungAt).toBeLessThanOrEqual(250);
    expect(said[0]).toMatchObject({ outcome: "timeout-query", attempts: 1, thresholdMs: 300 });
    expect(said[0]!.atMs).toBeCloseTo(asked + 300, 3);
    for (const s of said) expect(s.silentMs).toBeGreaterThanOrEqual(s.thresholdMs);
    expect(said[1]!.atMs - said[0]!.atMs).toBeCloseTo(100, 3);
    expect(said.length).toBeGreaterThan(10);
    expect(w.of("b").find((s) => s.atMs >= said[0]!.atMs && s.atMs < said[0]!.atMs + 5)).toMatchObject({
      cause: "confirm",
    });
    w.forget();
    w.resume("a");
    w.run(10);
    expect(w.of("a")[0]).toMatchObject({ outcome: "ok", attempts: 0, silentMs: 0 });
    expect(w.of("a").at(-1)!.status).not.toBeNull();
  });

  it("is alive when a trial connection succeeds: only the old one was broken", () => {
    const w = new World().run(2_500);
    w.server.get("a")!.hang = true;
    w.run(600);
    const at = w.of("a").findIndex((s) => s.outcome === "timeout-query");
    expect(at).toBeGreaterThan(0);
    w.server.get("a")!.hang = false;
    w.run(50);
    expect(w.of("a").at(-1)).toMatchObject({ outcome: "ok" });
  });

  it("is alive when it says so to a trial connection, with whatever error", () => {
    const w = new World().run(2_500);
    Object.assign(w.server.get("a")!, { hang: true, connect: "too-many-connections" });
    w.run(2_000);
    expect(w.of("a").at(-1)).toMatchObject({ outcome: "too-many-connections" });
  });

  it("is no death when only its status read hangs", () => {
    const w = new World().run(2_500);
    w.forget();
    w.server.get("b")!.hangRead = true;
    w.run(5_000);
    expect(w.of("b").length).toBeGreaterThanOrEqual(4);
    expect(w.of("b").every((s) => s.outcome === "ok" && s.status === null)).toBe(true);
  });

  it("is not blamed when this prober itself slept", () => {
    const w = new World().run(2_500);
    w.hang("a"); // the answers are late because we are
    w.run(260);
    w.forget();
    const planned = w.watch.wakeAt(w.now);
    w.now += 5_000;
    w.feed({ type: "wake", plannedAt: planned });
    w.resume("a");
    w.run(50);
    expect(w.of("a").filter((s) => s.outcome !== "ok")).toEqual([]);
  });
});

describe("a replica that no longer hears its source", () => {
  it("makes the whole cluster suspect", () => {
    const w = new World().run(2_500);
    w.server.get("b")!.status = status({ heardAgeMs: 700 });
    w.run(1_100);
    w.forget();
    w.run(1_000);
    expect(w.of("a").length).toBeGreaterThan(8);
    expect(w.of("a").every((s) => s.incident)).toBe(true);
  });
});

describe("look now", () => {
  it("asks every node at once and answers with what they said", () => {
    const w = new World().run(2_500);
    w.feed({ type: "look-now", nodes: [], ask: 7 });
    w.run(5);
    expect(w.replies).toHaveLength(1);
    expect(w.replies[0]!.samples.map((s) => [s.node, s.cause]).sort()).toEqual([
      ["a", "look-now"],
      ["b", "look-now"],
      ["c", "look-now"],
    ]);
  });

  it("joins the look under way: a thousand askers cause one ping a node, and each is answered", () => {
    const w = new World().run(2_620);
    w.forget();
    for (let i = 0; i < 1_000; i++) w.feed({ type: "look-now", nodes: ["a"], ask: i });
    w.run(5);
    expect(w.replies).toHaveLength(1_000);
    expect(w.pings.filter((p) => p.node === "a")).toHaveLength(1);
  });

  it("is answered in bounded time even when a node hangs", () => {
    const w = new World().run(2_500);
    w.hang("a");
    w.run(10);
    w.feed({ type: "look-now", nodes: [], ask: 1 });
    const at = w.now;
    w.run(1_000);
    expect(w.replies[0]!.atMs - at).toBeLessThanOrEqual(501);
    expect(w.replies[0]!.samples.map((s) => s.node).sort()).toEqual(["a", "b", "c"]);
  });

  it("tries a dead node at once, whatever its back-off", () => {
    const w = new World().run(2_500);
    w.kill("a");
    w.run(20_000);
    w.forget();
    w.feed({ type: "look-now", nodes: ["a"], ask: 1 });
    w.run(3);
    expect(w.of("a")[0]).toMatchObject({ outcome: "refused", cause: "look-now" });
  });

  it("names no node that is not declared", () => {
    const w = new World().run(2_500);
    w.feed({ type: "look-now", nodes: ["nobody"], ask: 1 });
    expect(w.replies).toEqual([{ type: "reply", ask: 1, samples: [], atMs: w.now }]);
  });
});

describe("a declaration that changes", () => {
  it("begins and ends watching while it runs", () => {
    const w = new World().run(2_500);
    w.server.set("d", { connect: null, hang: false, hangRead: false, status: status({}) });
    w.declare(["a", "b", "d"]);
    w.forget();
    w.run(3_000);
    expect(w.of("c")).toEqual([]);
    expect(w.of("d").length).toBeGreaterThanOrEqual(2);
    expect(w.of("a").length).toBeGreaterThanOrEqual(2);
  });
});

describe("whatever happens", () => {
  it("ok is never silent, a failure always counts, and nothing stops the looking", () => {
    const event = fc.record({
      node: fc.constantFrom("a", "b", "c"),
      what: fc.constantFrom("kill", "hang", "resume", "start", "auth", "1040", "look-now", "sleep"),
      afterMs: fc.integer({ min: 0, max: 3_000 }),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 15 }), (events) => {
        const w = new World();
        for (const { node, what, afterMs } of events) {
          w.run(afterMs);
          const server = w.server.get(node)!;
          if (what === "kill") w.kill(node);
          else if (what === "hang") w.hang(node);
          else if (what === "resume") w.resume(node);
          else if (what === "start") server.connect = null;
          else if (what === "auth") server.connect = "auth";
          else if (what === "1040") server.connect = "too-many-connections";
          else if (what === "look-now") w.feed({ type: "look-now", nodes: [], ask: w.now });
          else w.now += 400;
        }
        for (const s of w.samples) {
          if (s.outcome === "ok") expect([s.silentMs, s.attempts]).toEqual([0, 0]);
          else if (s.outcome !== "closed") expect(s.attempts).toBeGreaterThan(0);
          if (s.outcome === "timeout-query") expect(s.silentMs).toBeGreaterThanOrEqual(s.thresholdMs - 1e-6);
        }
        // All is mended: within a few seconds every node is well again, with its status.
        for (const n of ["a", "b", "c"]) w.resume(n);
        w.run(5_000);
        w.forget();
        w.run(2_500);
        for (const n of ["a", "b", "c"]) {
          expect(w.of(n).length).toBeGreaterThan(0);
          for (const s of w.of(n)) expect([s.outcome, s.status !== null]).toEqual(["ok", true]);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("findingOf", () => {
  it("counts a receiver that is stopped or silent against its node, and a primary's silence of one not", () => {
    const w = new World().run(2_500);
    const ok = w.of("b").at(-1)!;
    expect(findingOf(ok)).toBeNull();
    expect(findingOf({ ...ok, status: status({ receiver: "off" }) })).toBe("receiver-off");
    expect(findingOf({ ...ok, status: status({ heardAgeMs: 501 }) })).toBe("unheard");
    expect(findingOf({ ...ok, status: status(null) })).toBeNull();
    expect(findingOf({ ...ok, outcome: "auth", status: null })).toBe("auth");
  });
});
