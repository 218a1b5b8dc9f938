/** When a decider orders a rebuild by itself, and when a person may. */
import type { BatonError, ClusterState, NodeStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { planRebuild } from "./commands/rebuild.ts";
import { Scene, uuid } from "./scene.testkit.ts";

const errant = `${uuid("n1")}:1-10,${uuid("n3")}:1`;

function cluster(rebuild: "auto" | "ask" | "never", state: Partial<ClusterState> = {}): Scene {
  const s = new Scene(3, {}, 1, { rebuild });
  s.steady();
  s.calm();
  s.steady({ quarantined: ["n3"], ...state }, 9);
  return s;
}

/** Five seconds in which n3 stands apart with `executed`. */
function watch(s: Scene, executed = errant, more: Partial<NodeStatus> = {}, seconds = 5): string[] {
  for (let i = 0; i < seconds; i++) {
    s.now += 1_000;
    s.sample("n1");
    s.sample("n2");
    s.replica("n3", null, "p1", { executed, ...more });
  }
  return s.orders();
}

describe("by itself", () => {
  it("an errant node is rebuilt under `auto`, once, and not under `ask` or `never`", () => {
    expect(watch(cluster("auto"))).toEqual(["rebuild n3"]);
    expect(watch(cluster("ask"))).toEqual([]);
    expect(watch(cluster("never"))).toEqual([]);
  });

  it("a clean one is led home without a copy", () => {
    expect(watch(cluster("auto"), "")).toEqual(["rejoin n3"]);
  });

  it("what was begun is carried on whatever the policy, and looks clean only because it is empty", () => {
    expect(watch(cluster("never", { unbuilt: { n3: 1 } }), "")).toEqual(["rebuild n3"]);
  });

  it("one that is not whole is rebuilt under `auto`, and under another server id led home", () => {
    const hollow = { hollow: { n3: 1 } };
    const before = `${uuid("n2")}:1-5`;
    const lacks = (s: Scene, serverId: number) => {
      s.clients = 1;
      for (let i = 0; i < 5; i++) {
        s.now += 1_000;
        s.sample("n1", "p1", { status: s.status("n1", { executed: `${before},${uuid("n1")}:1-10` }) });
        s.sample("n2");
        s.replica("n3", null, "p1", { executed: `${uuid("n1")}:1-10`, serverId });
      }
      return s.orders();
    };
    expect(lacks(cluster("auto", hollow), 1)).toEqual(["rebuild n3"]);
    const ask = cluster("ask", hollow);
    expect(lacks(ask, 1)).toEqual([]);
    expect(ask.picture.diagnosis).toMatchObject({ code: "replica-hollow", node: "n3" });
    expect(lacks(cluster("ask", hollow), 101).at(0)).toBe("rejoin n3");
  });

  it("a failed one waits a minute", () => {
    const last = {
      id: "x",
      kind: "rebuild",
      outcome: "blocked",
      code: "clone-failed",
      endedUnixMs: 0,
    } as const;
    expect(watch(cluster("auto", { last }), errant, {}, 55)).toEqual([]);
    expect(watch(cluster("auto", { last }), errant, {}, 65)).toEqual(["rebuild n3"]);
  });

  it("never while the primary is suspect", () => {
    const s = cluster("auto");
    for (let i = 0; i < 5; i++) {
      s.now += 1_000;
      s.sample("n1", "p1", { outcome: "closed" });
      s.sample("n2");
      s.replica("n3", null, "p1", { executed: errant });
    }
    expect(s.orders()).toEqual([]);
  });
});

describe("while one runs", () => {
  const operation = {
    id: "rebuild-shop-n3-9",
    kind: "rebuild",
    node: "n3",
    executor: "e1",
    takeovers: 0,
    startedUnixMs: 0,
    candidate: null,
    before: { receiverOn: [], writable: [] },
  } as const;

  it("another node that restarted is led home; the one in work is left to it", () => {
    const s = cluster("ask", {
      phase: "mending",
      operation: { ...operation, before: { receiverOn: [], writable: [] } },
      quarantined: [],
    });
    for (let i = 0; i < 4; i++) {
      s.now += 1_000;
      s.sample("n1");
      s.replica("n2", null);
      s.replica("n3", null);
    }
    expect(s.orders()).toEqual(["rejoin n2"]);
  });
});

describe("a person's order", () => {
  const ask = (s: Scene, node: string, from: string | null = null) => {
    try {
      return planRebuild(s.picture, { cluster: "shop", node, from }, s.now, s.settings).donor;
    } catch (error) {
      return (error as BatonError).code;
    }
  };

  it("is refused for the primary, for strangers, for unfit donors and while something runs", () => {
    const s = cluster("ask");
    watch(s);
    expect(ask(s, "n1")).toBe("E_CONFLICT");
    expect(ask(s, "n9")).toBe("E_NOT_FOUND");
    expect(ask(s, "n3", "n9")).toBe("E_NOT_FOUND");
    expect(ask(s, "n3", "n2")).toBe("E_CONFLICT");
    expect(ask(s, "n3")).toBe("n1");
    s.steady({ phase: "fencing", epoch: 2 }, 10);
    expect(ask(s, "n3")).toBe("E_LOCKED");
  });
});
