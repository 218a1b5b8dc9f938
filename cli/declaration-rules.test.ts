/** What `apply` and `up` refuse to declare. */
import { type ClusterState, DeclaredCluster, type NodeStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import type { ServerAnswer } from "./ask-servers.ts";
import { type DeclarationFacts, judgeDeclaration } from "./declaration-rules.ts";

const uuid = (n: number) => `${String(n).repeat(8)}-0000-0000-0000-000000000000`;

/** `n1: 1` is node n1 at host h1. */
const cluster = (nodes: Record<string, number>, name = "shop", accepted?: Record<string, string>) =>
  DeclaredCluster.parse({
    cluster: name,
    nodes: Object.fromEntries(Object.entries(nodes).map(([n, host]) => [n, { host: `h${host}` }])),
    ...(accepted === undefined ? {} : { accepted }),
  });

const state: ClusterState = {
  cluster: "shop",
  epoch: 3,
  primary: "n1",
  primaryUuid: uuid(1),
  phase: "steady",
  operation: null,
  last: null,
  quarantined: [],
  failovers: [],
};

const own = new Map([
  ["n2", uuid(2)],
  ["n3", uuid(3)],
]);

function server(
  n: number,
  o: { executed?: string; sourceUuid?: string; tables?: number | null } = {},
): ServerAnswer {
  const executed = o.executed ?? `${uuid(1)}:1-50`;
  const source = o.sourceUuid ?? (n === 2 || n === 3 ? uuid(1) : "");
  const status: NodeStatus = {
    serverUuid: uuid(n),
    serverId: n,
    version: "9.7.4",
    flavour: "mysql",
    startedUnixS: 1,
    readOnly: n !== 1,
    superReadOnly: n !== 1,
    gtidMode: true,
    executed,
    relayLogRecovery: false,
    replica:
      source === ""
        ? null
        : {
            sourceHost: "h1",
            sourcePort: 3306,
            sourceUuid: source,
            receiver: "on",
            receiverErrno: 0,
            receiverError: "",
            heardAgeMs: 1,
            applier: "on",
            applierErrno: 0,
            applierError: "",
            received: "",
            autoPosition: true,
            delayMs: 0,
          },
    semiSync: null,
  };
  return { status, error: "", tables: o.tables === undefined ? null : o.tables };
}
const away: ServerAnswer = { status: null, error: "connect ECONNREFUSED", tables: null };
const stranger = server(7, { executed: `${uuid(7)}:1-300` });

/** The servers that answer at the hosts of `wanted`; h1, h2, h3 are the cluster's, unless said otherwise. */
function judge(
  wanted: DeclaredCluster,
  o: Partial<DeclarationFacts> & { at?: Record<string, ServerAnswer>; new?: true } = {},
) {
  const at: Record<string, ServerAnswer> = { h1: server(1), h2: server(2), h3: server(3), ...o.at };
  return judgeDeclaration({
    wanted,
    before:
      o.new === true
        ? { declared: null, state: null, uuids: new Map() }
        : { declared: cluster({ n1: 1, n2: 2, n3: 3 }), state, uuids: own },
    answers: new Map(Object.entries(wanted.nodes).map(([n, { host }]) => [n, at[host] ?? away])),
    others: new Map(),
    forceJoin: new Map(),
    force: false,
    by: "apply",
    ...o,
  });
}

const codes = (j: ReturnType<typeof judgeDeclaration>) => j.refusals.map((r) => r.code);

it("what is as it was is accepted, whoever is down", () => {
  expect(judge(cluster({ n1: 1, n2: 2, n3: 3 })).refusals).toEqual([]);
  expect(judge(cluster({ n1: 1, n2: 2, n3: 3 }), { at: { h1: away, h2: away } }).refusals).toEqual([]);
  expect(judge(cluster({ n1: 1, n2: 2 })).refusals).toEqual([]);
});

describe("the primary", () => {
  it.each([
    ["taken out", cluster({ n2: 2, n3: 3 }), "E_PRIMARY_DROPPED", "baton switchover shop"],
    ["renamed", cluster({ m1: 1, n2: 2, n3: 3 }), "E_PRIMARY_RENAMED", "Write n1 as it was, at h1:3306"],
    ["in another's place", cluster({ n1: 2, n2: 1, n3: 3 }), "E_PRIMARY_MOVED", "Write n1"],
    ["moved to where nobody answers", cluster({ n1: 5, n2: 2, n3: 3 }), "E_PRIMARY_MOVED", "Write n1"],
    ["moved to another server", cluster({ n1: 7, n2: 2, n3: 3 }), "E_PRIMARY_MOVED", "Write n1"],
  ])("%s", (_, wanted, code, words) => {
    const judged = judge(wanted, { at: { h7: stranger }, force: true });
    expect(codes(judged)).toContain(code);
    expect(judged.refusals[0]?.line()).toContain(words);
  });

  it("may move to another address of its own", () => {
    expect(codes(judge(cluster({ n1: 5, n2: 2, n3: 3 }), { at: { h5: server(1) } }))).toEqual([]);
  });

  it("another server at its old address is the deciders' to see", () => {
    expect(
      codes(judge(cluster({ n1: 1, n2: 2, n3: 3 }), { at: { h1: server(8, { executed: "" }) } })),
    ).toEqual([]);
  });
});

describe("replicas", () => {
  it("do not change places", () => {
    expect(codes(judge(cluster({ n1: 1, n2: 3, n3: 2 })))).toContain("E_NODE_SWAPPED");
  });

  it("may be renamed, unless the state remembers something by the old name", () => {
    const renamed = cluster({ n1: 1, n2: 2, m3: 3 });
    expect(codes(judge(renamed))).toEqual([]);
    const before = { declared: cluster({ n1: 1, n2: 2, n3: 3 }), uuids: own };
    expect(
      codes(judge(renamed, { before: { ...before, state: { ...state, quarantined: ["n3"] } } })),
    ).toEqual(["E_CONFLICT"]);
  });

  it("are not taken out under a running operation", () => {
    const operation = {
      id: "failover-shop-4-9",
      kind: "failover" as const,
      node: "n1",
      executor: "e",
      takeovers: 0,
      startedUnixMs: 1,
      candidate: null,
      before: { receiverOn: [], writable: [] },
    };
    const before = {
      declared: cluster({ n1: 1, n2: 2, n3: 3 }),
      uuids: own,
      state: { ...state, phase: "fencing" as const, operation },
    };
    expect(codes(judge(cluster({ n1: 1, n2: 2 }), { before }))).toEqual(["E_LOCKED"]);
    expect(codes(judge(cluster({ n1: 1, n2: 2, n3: 3 }), { before }))).toEqual([]);
  });

  it("the last that acknowledges is not taken out, unless forced", () => {
    const stopped = server(3);
    if (stopped.status?.replica != null) stopped.status.replica.receiver = "off";
    const without = cluster({ n1: 1, n3: 3 });
    expect(codes(judge(without, { at: { h3: stopped } }))).toEqual(["E_NODE_LAST_ACKER"]);
    expect(codes(judge(without, { at: { h3: stopped }, force: true }))).toEqual([]);
    expect(codes(judge(without, { at: { h3: stopped }, by: "up" }))).toEqual([]);
    // One that is down already is taken out of three.
    expect(codes(judge(cluster({ n1: 1, n2: 2 }), { at: { h3: away } }))).toEqual([]);
    expect(codes(judge(without))).toEqual([]);
  });

  it("that are taken out leave first, unless they count no more, keep their server, or a person says otherwise", () => {
    const without = cluster({ n1: 1, n2: 2 });
    const known = (more: object) => ({
      declared: cluster({ n1: 1, n2: 2, n3: 3 }),
      state: { ...state, ...more } as never,
      uuids: own,
    });
    const parked = {
      n3: { serverUuid: uuid(3), startedUnixS: 1, sinceUnixMs: 1, byPerson: false, why: "gone" },
    };
    expect(judge(without).leaving).toEqual(["n3"]);
    expect(judge(without, { at: { h3: away }, by: "up" }).leaving).toEqual(["n3"]);
    expect(judge(cluster({ n1: 1, n2: 2, n3: 3 })).leaving).toEqual([]);
    expect(judge(cluster({ n1: 1, n2: 2, other: 3 })).leaving).toEqual([]);
    expect(judge(without, { before: known({ parked }) }).leaving).toEqual([]);
    expect(judge(without, { before: known({ quarantined: ["n3"] }) }).leaving).toEqual([]);
    expect(judge(without, { force: true }).leaving).toEqual([]);
    expect(judge(without, { new: true }).leaving).toEqual([]);
  });

  it("one server by a second name is refused; where it was so already it is only said", () => {
    expect(codes(judge(cluster({ n1: 1, n2: 2, n3: 3, n4: 4 }), { at: { h4: server(2) } }))).toContain(
      "E_CONFIG_DUPLICATE_NODE",
    );
    const twins = judge(cluster({ n1: 1, n2: 2, n3: 3 }), { at: { h3: server(2) } });
    expect(codes(twins)).toEqual([]);
    expect(twins.warnings[0]).toContain("one server_uuid");
  });
});

describe("a new node", () => {
  const four = cluster({ n1: 1, n2: 2, n3: 3, n4: 4 });

  it("joins when it is empty, holds a copy, or follows already", () => {
    for (const h4 of [
      server(4, { executed: "" }),
      server(4, { executed: `${uuid(1)}:1-20` }),
      server(4, { executed: `${uuid(4)}:1-3`, sourceUuid: uuid(1) }),
    ])
      expect(codes(judge(four, { at: { h4 } }))).toEqual([]);
  });

  it("joins when it has no table: what set it up is given up", () => {
    const judged = judge(four, { at: { h4: server(4, { executed: `${uuid(4)}:1-3`, tables: 0 }) } });
    expect(codes(judged)).toEqual([]);
    expect(judged.accepted).toEqual({ n4: uuid(4) });
  });

  it.each([
    ["somebody else's data", server(7, { executed: `${uuid(7)}:1-300` })],
    ["tables that cannot be seen", server(7, { executed: `${uuid(7)}:1-3` })],
    ["a copy that went its own way", server(7, { executed: `${uuid(1)}:1-20,${uuid(7)}:1-300` })],
  ])("is refused with %s", (_, h4) => {
    const judged = judge(four, { at: { h4 } });
    expect(codes(judged)).toEqual(["E_NODE_FOREIGN"]);
    expect(judged.refusals[0]?.line()).toContain("baton apply --force-join n4 --confirm-size");
  });

  it("is taken in when a person types how much it loses", () => {
    const join = (size: number | null) =>
      judge(four, { at: { h4: stranger }, forceJoin: new Map([["n4", size]]) });
    expect(codes(join(null))).toEqual(["E_NODE_FOREIGN"]);
    expect(codes(join(3))).toEqual(["E_NODE_FOREIGN"]);
    expect(join(300)).toMatchObject({ refusals: [], accepted: { n4: uuid(7) } });
    // It goes on writing while the person types.
    expect(codes(join(290))).toEqual([]);
  });

  it("needs no force where it holds nothing of its own: that is said", () => {
    const h4 = server(7, { executed: `${uuid(1)}:1-20` });
    const judged = judge(four, { at: { h4 }, forceJoin: new Map([["n4", 20]]) });
    expect(judged).toMatchObject({
      refusals: [],
      warnings: expect.arrayContaining([expect.stringContaining("n4 (h4:3306) needs no --force-join")]),
    });
  });

  it("is refused when nobody answers, unless forced; at a start it is only said", () => {
    expect(codes(judge(four))).toEqual(["E_NODE_UNREACHABLE"]);
    expect(judge(four, { force: true }).refusals).toEqual([]);
    expect(judge(four, { by: "up" })).toMatchObject({
      refusals: [],
      warnings: [expect.stringContaining("n4 (h4:3306) cannot be asked")],
    });
  });

  it("somebody else's server where a node always was is said, and left alone", () => {
    const judged = judge(cluster({ n1: 1, n2: 2, n3: 3 }), { at: { h3: stranger } });
    expect(codes(judged)).toEqual([]);
    expect(judged.warnings[0]).toContain("left alone");
  });

  it("what was accepted once stays so for that server only", () => {
    const before = { declared: cluster({ n1: 1, n2: 2, n3: 3 }, "shop", { n3: uuid(7) }), state, uuids: own };
    expect(judge(cluster({ n1: 1, n2: 2, n3: 3 }), { before, at: { h3: stranger } }).accepted).toEqual({
      n3: uuid(7),
    });
    expect(judge(cluster({ n1: 1, n2: 2, n3: 3 }), { before }).accepted).toEqual({});
    expect(judge(cluster({ n1: 1, n2: 2 }), { before }).accepted).toEqual({});
  });
});

describe("two clusters", () => {
  const store = cluster({ a: 1, b: 2 }, "store");
  const shop = { declared: cluster({ n1: 1, n2: 2, n3: 3 }), state, uuids: own };

  it("do not share a server, by its address or by another one", () => {
    const others = new Map([["shop", shop]]);
    const judged = judge(store, { new: true, others });
    expect(codes(judged)).toEqual(["E_CONFIG_SHARED_NODE"]);
    expect(judged.refusals[0]?.line()).toContain("in the cluster shop, as n1");
    expect(judged.refusals[0]?.line()).toContain("baton apply --prune");
    for (const n of [1, 2])
      expect(
        codes(
          judge(cluster({ a: 5, b: 6 }, "store"), {
            new: true,
            others,
            at: { h5: server(n), h6: server(8, { executed: "" }) },
          }),
        ),
      ).toEqual(["E_CONFIG_SHARED_NODE"]);
  });

  it("may follow each other when the first is taken out", () => {
    expect(codes(judge(store, { new: true }))).toEqual([]);
  });
});

describe("a cluster that is declared for the first time", () => {
  it("is who replicates each other; an empty node comes along", () => {
    expect(codes(judge(cluster({ n1: 1, n2: 2, n3: 3 }), { new: true }))).toEqual([]);
    expect(
      codes(judge(cluster({ n1: 1, n2: 2, n4: 4 }), { new: true, at: { h4: server(4, { executed: "" }) } })),
    ).toEqual([]);
  });

  it("has no stranger among it, writable or not", () => {
    const judged = judge(cluster({ n1: 1, n2: 2, n3: 7 }), { new: true, at: { h7: stranger } });
    expect(codes(judged)).toEqual(["E_NODE_FOREIGN"]);
    expect(judged.refusals[0]?.place).toBe("clusters.shop.nodes.n3");
    // Nor one that is as new as its cluster.
    const [h1, h2] = [server(1, { executed: "" }), server(2, { executed: "" })];
    expect(
      codes(judge(cluster({ n1: 1, n2: 2, n3: 7 }), { new: true, at: { h1, h2, h7: stranger } })),
    ).toEqual(["E_NODE_FOREIGN"]);
  });

  it("of two servers that share nothing neither is the cluster", () => {
    const judged = judge(cluster({ n1: 1, n7: 7 }), { new: true, at: { h7: stranger } });
    expect(codes(judged)).toEqual(["E_NODE_FOREIGN"]);
    expect(judged.refusals[0]?.message).toContain("n1 (h1:3306) and n7 (h7:3306)");
  });
});
