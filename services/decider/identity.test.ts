/** Another server at the primary's address, names that changed places, somebody else's server among the nodes. */
import { DeclaredCluster } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { planRebuild } from "./commands/rebuild.ts";
import { planNow } from "./diagnose.ts";
import { Scene, uuid } from "./scene.testkit.ts";

const OTHER = uuid("n9");

function calm(...probers: string[]): Scene {
  const s = new Scene();
  s.steady();
  s.calm(...probers);
  s.effects = [];
  return s;
}

/** So many seconds in which `look` says what is seen. */
function watch(s: Scene, seconds: number, look: () => void): void {
  for (let i = 0; i < seconds * 4; i++) {
    s.wait(250);
    look();
  }
}

function nodesOf(s: Scene): DeclaredCluster["nodes"] {
  if (s.picture.declared === null) throw new Error("nothing is declared");
  return s.picture.declared.nodes;
}

const newcomer = (s: Scene, prober = "p1") =>
  s.sample("n1", prober, { status: s.status("n1", { serverUuid: OTHER, executed: "", readOnly: true }) });

describe("another server at the primary's address", () => {
  it("is a failover, when the receivers have lost the primary or speak to that server", () => {
    const s = calm();
    watch(s, 1, () => {
      newcomer(s);
      s.replica("n2", { receiver: "connecting", receiverErrno: 2003 });
      s.replica("n3", { sourceUuid: OTHER, heardAgeMs: 5 });
    });
    expect(s.code()).toBe("primary-gone-other-server");
    expect(s.picture.diagnosis?.summary).toContain(`${OTHER} answers at its address`);
    expect(s.picture.diagnosis?.probers[0]).toMatchObject({ finds: "dead", otherUuid: OTHER });
    expect(s.orders()).toEqual(["failover n1"]);
    // What the primary is known to hold is its own last word.
    expect(s.picture.statuses.get("n1")?.status.serverUuid).toBe(uuid("n1"));
  });

  it("is still there when a ping goes without its status", () => {
    const s = calm();
    watch(s, 1, () => {
      newcomer(s);
      for (const node of ["n2", "n3"]) s.replica(node, { sourceUuid: OTHER, heardAgeMs: 5 });
      s.sample("n1", "p1", { status: null });
    });
    expect(s.code()).toBe("primary-gone-other-server");
  });

  it("is none while a replica hears the primary: the address is wrong, not the server", () => {
    const s = calm();
    watch(s, 3, () => {
      newcomer(s);
      s.sample("n2");
      s.sample("n3");
    });
    expect(s.code()).toBe("primary-unreachable-replicas-fine");
    expect(s.orders()).toEqual([]);
  });

  it("is none by the word of one prober of three: its resolver may be stale", () => {
    const s = calm("p1", "p2", "p3");
    watch(s, 3, () => {
      newcomer(s, "p1");
      for (const p of ["p2", "p3"]) s.sample("n1", p);
      for (const node of ["n2", "n3"]) s.replica(node, { receiver: "connecting" });
    });
    expect(s.orders()).toEqual([]);
  });

  it("is a failover, too, for a decider that has only just started", () => {
    const s = new Scene();
    s.mark();
    s.steady();
    watch(s, 7, () => {
      newcomer(s);
      for (const node of ["n2", "n3"]) s.replica(node, { sourceUuid: OTHER, heardAgeMs: 5 });
    });
    expect(s.code()).toBe("primary-gone-other-server");
    expect(s.orders()).toEqual(["failover n1"]);
  });

  it("is none when its word came before the state did", () => {
    const s = new Scene();
    newcomer(s);
    s.steady();
    expect(s.picture.statuses.has("n1")).toBe(false);
  });
});

describe("names and servers that do not fit", () => {
  const swapped = (s: Scene) => {
    const { n1, n2, n3 } = nodesOf(s);
    s.feed({
      type: "declared",
      declared: DeclaredCluster.parse({ cluster: "shop", nodes: { n1: n2, n2: n1, n3 } }),
    });
    s.effects = [];
  };

  it("nothing is shut, and the primary is not failed over from, dead or alive", () => {
    const s = calm();
    swapped(s);
    watch(s, 5, () => {
      s.replica("n1", {}, "p1", { serverUuid: uuid("n2"), readOnly: true });
      s.replica("n2", null, "p1", { serverUuid: uuid("n1"), readOnly: false });
      s.replica("n3", { receiver: "connecting" });
    });
    expect(s.code()).toBe("topology-mismatch");
    expect(s.picture.diagnosis?.summary).toContain("n2 (h1:3306) is the primary");
    expect(s.orders()).toEqual([]);
    expect(planNow(s.picture, s.now, s.settings)).toMatchObject({
      possible: false,
      refusal: "topology-mismatch",
    });
  });

  it("what was seen at an address before says nothing of the new one", () => {
    const s = calm();
    swapped(s);
    expect([...s.picture.statuses.keys()]).toEqual(["n3"]);
  });

  it("the primary is not declared any more: no green", () => {
    const s = calm();
    const { n2, n3 } = nodesOf(s);
    s.feed({ type: "declared", declared: DeclaredCluster.parse({ cluster: "shop", nodes: { n2, n3 } }) });
    watch(s, 2, () => {
      s.sample("n2");
      s.sample("n3");
    });
    expect(s.code()).toBe("topology-mismatch");
    expect(planNow(s.picture, s.now, s.settings)?.possible).toBe(false);
  });

  it("one server by two names is not two voices", () => {
    const s = calm();
    watch(s, 1, () => {
      s.sample("n1");
      s.sample("n2");
      s.replica("n3", {}, "p1", { serverUuid: uuid("n2") });
    });
    expect(s.code()).toBe("topology-mismatch");
    watch(s, 1, () => {
      s.refused("n1");
      s.replica("n2", { receiver: "connecting" });
      s.replica("n3", { receiver: "connecting" }, "p1", { serverUuid: uuid("n2") });
    });
    expect(s.orders()).toEqual([]);
  });
});

it("replicas that look for the primary where it was are led to where it is declared now", () => {
  const s = calm();
  for (const node of ["n2", "n3"])
    s.feed({
      type: "vouch",
      node,
      vouch: { cluster: "shop", node, serverUuid: uuid(node), startedUnixS: 100, held: "" },
      revision: 1,
    });
  s.feed({
    type: "declared",
    declared: DeclaredCluster.parse({
      cluster: "shop",
      nodes: { ...nodesOf(s), n1: { host: "h1", port: 3307 } },
    }),
  });
  watch(s, 3, () => {
    s.sample("n1");
    s.replica("n2", { receiver: "connecting", receiverErrno: 2003 });
    s.sample("n3");
  });
  // n3 is still connected: by whatever address, it follows.
  expect(s.orders()).toEqual(["rejoin n2"]);
});

describe("somebody else's server among the nodes", () => {
  const stranger = { serverUuid: OTHER, executed: `${OTHER}:1-3`, readOnly: false, superReadOnly: false };
  const look = (s: Scene, more: object = {}) => {
    s.sample("n1");
    s.sample("n2");
    s.replica("n3", null, "p1", { ...stranger, ...more });
  };

  it.each([
    ["writable", {}],
    ["read-only", { readOnly: true, superReadOnly: true }],
    ["with semi-sync", { semiSync: new Scene().status("n1").semiSync }],
  ])("is left alone and named, %s", (_, more) => {
    const s = calm();
    s.clients = 1;
    watch(s, 5, () => look(s, more));
    expect(s.orders()).toEqual([]);
    expect(s.code()).toBe("foreign-server");
    expect(s.picture.faults).toEqual([]);
  });

  it("a person does not copy over it by mistake either", () => {
    const s = calm();
    watch(s, 2, () => look(s));
    const request = { cluster: "shop", node: "n3", from: null };
    expect(() => planRebuild(s.picture, request, s.now, s.settings)).toThrow("3 transactions of its own");
  });

  it("a failover neither asks nor counts it; it does, where the ledger knew another by its name", () => {
    const s = calm();
    s.feed({
      type: "declared",
      declared: DeclaredCluster.parse({
        ...s.picture.declared,
        nodes: { ...s.picture.declared?.nodes, n4: { host: "h4" } },
      }),
    });
    s.feed({ type: "vouch", node: "n3", vouch: null, revision: 2 });
    s.vouched("n4");
    watch(s, 1, () => {
      look(s);
      s.sample("n4");
    });
    expect(planNow(s.picture, s.now, s.settings)).toMatchObject({ possible: true, candidate: "n2" });
    const vouch = { cluster: "shop", node: "n3", serverUuid: uuid("n3"), startedUnixS: 1, held: "" };
    s.feed({ type: "vouch", node: "n3", vouch, revision: 1 });
    expect(planNow(s.picture, s.now, s.settings)).toMatchObject({
      possible: false,
      refusal: "foreign-server",
    });
  });

  it("a replica that was led to it is what is mended, and not by shutting it", () => {
    const s = calm();
    const vouch = { cluster: "shop", node: "n2", serverUuid: uuid("n2"), startedUnixS: 1, held: "" };
    s.feed({ type: "vouch", node: "n2", vouch, revision: 1 });
    watch(s, 3, () => {
      s.sample("n1");
      s.replica("n3", null, "p1", stranger);
      const both = `${uuid("n1")}:1-10,${OTHER}:1-3`;
      s.replica("n2", { sourceUuid: OTHER, sourceHost: "h3" }, "p1", { executed: both });
    });
    expect(s.orders()).toEqual(["rejoin n2"]);
  });

  it("is led home like any other once a person has given up what it holds", () => {
    const s = calm();
    s.feed({
      type: "declared",
      declared: DeclaredCluster.parse({ ...s.picture.declared, accepted: { n3: OTHER } }),
    });
    watch(s, 3, () => look(s));
    // It has written beside the primary: that is settled as a split brain.
    expect(s.orders()).toEqual(["split-brain n1"]);
  });
});
