import type { DeclaredCluster, NodeStatus, ReplicaStatus } from "@baton/contracts";
import { expect, test } from "vitest";
import { checkLines } from "../view/check-view.ts";
import { paint } from "../view/colour.ts";
import { checkCluster, type NodeAnswer, sharedServers } from "./cluster-checks.ts";
import { helloFindings } from "./nats-checks.ts";

const shop = {
  cluster: "shop",
  nodes: {},
  policy: { acks: 1, durability: "lossless" },
} as unknown as DeclaredCluster;

function replica(o: Partial<ReplicaStatus> = {}): ReplicaStatus {
  return {
    sourceHost: "h1",
    sourcePort: 3306,
    sourceUuid: "uuid-1",
    receiver: "on",
    receiverErrno: 0,
    receiverError: "",
    heardAgeMs: 10,
    applier: "on",
    applierErrno: 0,
    applierError: "",
    received: "",
    autoPosition: true,
    delayMs: 0,
    ...o,
  };
}

function answer(number: number, o: Partial<NodeStatus> = {}): NodeAnswer {
  const status = {
    serverUuid: `uuid-${number}`,
    serverId: number,
    flavour: "mysql",
    gtidMode: true,
    readOnly: number !== 1,
    semiSync: { clients: number === 1 ? 2 : 0 },
    replica: number === 1 ? null : replica(),
    ...o,
  } as NodeStatus;
  return { node: `n${number}`, host: `h${number}`, port: 3306, status, outcome: "ok", error: "" };
}
const gone = (number: number, outcome: NodeAnswer["outcome"]): NodeAnswer => ({
  ...answer(number),
  status: null,
  outcome,
  error: "it said so",
});
const findings = (...answers: NodeAnswer[]) =>
  checkCluster(shop, answers).map(({ code, place, found }) => [code, place, found]);

test("a primary and two replicas that follow it are fit", () => {
  expect(findings(answer(1), answer(2), answer(3))).toEqual([]);
});

test("too few ackers forbid a lossless cluster, and are advice where writes go on without", () => {
  const alone = [answer(1, { semiSync: { clients: 0 } as never }), answer(2)];
  expect(checkCluster(shop, alone).map((f) => f.level)).toEqual(["error"]);
  const available = { ...shop, policy: { ...shop.policy, durability: "available" } } as DeclaredCluster;
  expect(checkCluster(available, alone).map((f) => f.level)).toEqual(["advice"]);
});

test.each([
  [
    "no primary",
    [answer(1, { readOnly: true }), answer(2)],
    "E_NODE_SETTING",
    "shop",
    "No node that can be reached is writable.",
  ],
  [
    "two primaries",
    [answer(1), answer(2, { readOnly: false })],
    "E_NODE_SETTING",
    "shop",
    "n1 and n2 are all writable.",
  ],
  ["one node", [answer(1)], "E_CONFIG_NO_REPLICA", "shop", "It has no replica."],
  [
    "no GTIDs",
    [answer(1), answer(2, { gtidMode: false })],
    "E_NODE_NO_GTID",
    "shop.n2",
    "gtid_mode is not ON.",
  ],
  [
    "one server twice",
    [answer(1), answer(2), answer(2)],
    "E_CONFIG_DUPLICATE_NODE",
    "shop",
    "n2 and n2 are one and the same server (uuid-2).",
  ],
  [
    "one server_id twice",
    [answer(1), answer(2), answer(3, { serverId: 2 })],
    "E_NODE_SETTING",
    "shop",
    "n2 and n3 share server_id 2.",
  ],
  [
    "MariaDB and MySQL in one cluster",
    [answer(1), answer(2), answer(3, { flavour: "mariadb" })],
    "E_NODE_SETTING",
    "shop",
    "n1, n2: mysql; n3: mariadb (mixed-flavours).",
  ],
  [
    "a node that follows nobody",
    [answer(1), answer(2), answer(3, { replica: null })],
    "E_NODE_SETTING",
    "shop.n3",
    "It follows nobody.",
  ],
  [
    "a replica of somebody else",
    [answer(1), answer(2), answer(3, { replica: replica({ sourceUuid: "uuid-9", sourceHost: "h9" }) })],
    "E_NODE_SETTING",
    "shop.n3",
    "It follows h9:3306, which is not the primary n1.",
  ],
  [
    "a stopped receiver",
    [answer(1), answer(2, { replica: replica({ receiver: "off" }) })],
    "E_NODE_SETTING",
    "shop.n2",
    "Its receiver is stopped.",
  ],
  [
    "a broken applier",
    [answer(1), answer(2, { replica: replica({ applier: "off", applierError: "row is gone" }) })],
    "E_NODE_SETTING",
    "shop.n2",
    "Its applier is stopped: row is gone",
  ],
  [
    "positions instead of GTIDs",
    [answer(1), answer(2, { replica: replica({ autoPosition: false }) })],
    "E_NODE_SETTING",
    "shop.n2",
    "It follows by file and position, not by GTID.",
  ],
  [
    "no ackers",
    [answer(1, { semiSync: { clients: 0 } as NodeStatus["semiSync"] }), answer(2)],
    "E_NODE_SETTING",
    "shop.n1",
    "0 ackers attached, and a write waits for 1.",
  ],
  [
    "wrong credentials",
    [answer(1), answer(2), gone(3, "auth")],
    "E_NODE_AUTH",
    "shop.n3",
    "h3:3306 refuses the account: it said so",
  ],
  [
    "nobody there",
    [answer(1), answer(2), gone(3, "refused")],
    "E_NODE_UNREACHABLE",
    "shop.n3",
    "h3:3306 cannot be asked (refused): it said so",
  ],
] as const)("%s", (_what, answers, code, place, found) => {
  expect(findings(...answers)).toEqual([[code, place, found]]);
});

test("a server in two clusters is found by its UUID, whatever it is called", () => {
  expect(
    sharedServers([
      { cluster: "a", answers: [answer(1), answer(2)] },
      { cluster: "b", answers: [{ ...answer(2), node: "x" }, gone(3, "refused")] },
    ]).map(({ code, place, found }) => [code, place, found]),
  ).toEqual([["E_CONFIG_SHARED_NODE", "b.x", "It is the same server as a.n2 (uuid-2)."]]);
});

test("what answers as NATS is judged by its first line", () => {
  const hello = { version: "2.11.0", jetstream: true, serverName: "n", authRequired: false };
  const codes = (o: object | Error) =>
    helloFindings("u", o instanceof Error ? o : { ...hello, ...o }).map(
      ({ code, found }) => `${code} ${found}`,
    );
  expect(codes({})).toEqual([]);
  expect(codes({ version: "2.9.10" })).toEqual(["E_NATS_TOO_OLD u: nats-server 2.9.10 is older than 2.11."]);
  expect(codes({ jetstream: false })).toEqual(["E_NATS_NO_JETSTREAM u: JetStream is off."]);
  expect(codes(Object.assign(new Error("x"), { code: "ECONNREFUSED" }))).toEqual([
    "E_NATS_UNREACHABLE u: no NATS server there (ECONNREFUSED).",
  ]);
});

test("the picture: each place, what is wrong there, why, and what mends it", () => {
  const lines = checkLines(
    [
      { place: "nats", about: "2.15.1" },
      { place: "shop.n1", about: "h1:3306" },
      { place: "shop.n2", about: "h2:3306" },
    ],
    [
      { level: "error", code: "E_NODE_SETTING", place: "shop.n1", found: "A.", why: "B.", mend: "SET C" },
      { level: "advice", code: "E_NODE_SETTING", place: "shop.n2", found: "D.", why: "E.", mend: "" },
    ],
    paint(false),
  );
  expect(lines).toEqual([
    "✔ nats  2.15.1",
    "✘ shop.n1  h1:3306",
    "    E_NODE_SETTING  A.",
    "      B.",
    "      SET C",
    "! shop.n2  h2:3306",
    "    E_NODE_SETTING  D.",
    "      E.",
    "",
    "1 thing to mend before a failover would be safe, and 1 piece of advice.",
  ]);
  expect(checkLines([], [], paint(false)).at(-1)).toBe("Fit for a failover.");
});
