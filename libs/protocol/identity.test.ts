/** Whose server is it? What must never be taken for somebody else's, and what never for ours. */
import { DeclaredCluster, type NodeStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { foreignNodes, historyOf, isForeign, replacedAckers, topologyMismatch, without } from "./identity.ts";

const uuid = (n: number) => `${String(n).repeat(8)}-0000-0000-0000-000000000000`;
const GOLDEN = uuid(8);

const status = (n: number, executed: string, sourceUuid: string | null = null): NodeStatus => ({
  serverUuid: uuid(n),
  serverId: n,
  version: "9.7.4",
  flavour: "mysql",
  startedUnixS: 100,
  readOnly: true,
  superReadOnly: true,
  gtidMode: true,
  executed,
  relayLogRecovery: false,
  replica:
    sourceUuid === null
      ? null
      : {
          sourceHost: "h1",
          sourcePort: 3306,
          sourceUuid,
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
});

const declared = DeclaredCluster.parse({
  cluster: "shop",
  nodes: { n1: { host: "h1" }, n2: { host: "h2" }, n3: { host: "h3" } },
});

/** n1 is the primary, n2 is in the ledger, n4 was primary once; all of them began from one image. */
const history = historyOf(
  { primaryUuid: uuid(1), servers: { n5: uuid(5) } },
  [{ serverUuid: uuid(2) }],
  () => [status(1, `${uuid(1)}:1-50,${uuid(4)}:1-9,${GOLDEN}:1-5`), status(7, `${uuid(7)}:1-999`)],
);

describe("somebody else's", () => {
  it.each([
    ["writes of its own and nothing else", status(7, `${uuid(7)}:1-3`)],
    ["a history of many servers, all unknown", status(7, `${uuid(7)}:1-3,${uuid(6)}:1-900`)],
    ["follows a server that is unknown", status(7, `${uuid(6)}:1-900`, uuid(6))],
    ["the same golden image, and writes of its own", status(7, `${GOLDEN}:1-5,${uuid(7)}:1-3`)],
  ])("%s", (_, server) => {
    expect(isForeign(server, history)).toBe(true);
    const writable: NodeStatus = { ...server, readOnly: false };
    expect(isForeign(writable, history)).toBe(true);
  });
});

describe("not somebody else's", () => {
  it.each([
    ["empty", status(7, "")],
    ["a copy, whole or old", status(7, `${uuid(1)}:1-20`)],
    ["the golden image alone", status(7, `${GOLDEN}:1-5`)],
    ["the primary's data with an errant write", status(7, `${uuid(1)}:1-50,${uuid(7)}:1`)],
    ["a known replica that has lost its data and was written on", status(2, `${uuid(2)}:1-3`)],
    ["a former primary with writes that nobody has", status(4, `${uuid(4)}:5-12`)],
    ["a former primary that had written nothing, and was written on", status(5, `${uuid(5)}:1`)],
    ["follows the primary", status(7, `${uuid(7)}:1-3`, uuid(1))],
    ["MariaDB, whose positions prove nothing", { ...status(7, "0-7-3"), flavour: "mariadb" as const }],
  ])("%s", (_, server) => {
    expect(isForeign(server, history)).toBe(false);
  });

  it("nobody, while the cluster's own history is not known", () => {
    const server = status(7, `${uuid(7)}:1`);
    expect(
      isForeign(
        server,
        historyOf({ primaryUuid: uuid(1) }, [], () => [server]),
      ),
    ).toBe(false);
    // Known and empty, as of a new cluster: then it is.
    expect(
      isForeign(
        server,
        historyOf({ primaryUuid: uuid(1) }, [], () => [server, status(1, "")]),
      ),
    ).toBe(true);
  });

  it("one that was taken in when it was declared, and that very one only", () => {
    const of = (accepted: Record<string, string>) =>
      foreignNodes({ ...declared, accepted }, new Map([["n3", status(7, `${uuid(7)}:1-3`)]]), history);
    expect(of({})).toEqual(["n3"]);
    expect(of({ n3: uuid(6) })).toEqual(["n3"]);
    expect(of({ n3: uuid(7) })).toEqual([]);
  });
});

it("a foreign server counts as no acker only where no other was known by its name", () => {
  const statuses = new Map([["n3", status(7, `${uuid(7)}:1`)]]);
  expect(replacedAckers(["n3"], statuses, new Map())).toEqual([]);
  expect(replacedAckers(["n3"], statuses, new Map([["n3", { serverUuid: uuid(3) }]]))).toEqual(["n3"]);
  expect(Object.keys(without(declared, ["n3"]).nodes)).toEqual(["n1", "n2"]);
});

describe("names that do not fit", () => {
  const of = (...servers: [string, number][]) =>
    topologyMismatch(declared, "n1", uuid(1), new Map(servers.map(([n, u]) => [n, status(u, "")])));

  it("none, as long as each answers by its own", () => {
    expect(of(["n1", 1], ["n2", 2], ["n3", 3])).toBeNull();
    // Another server at the primary's address: it is gone, and nobody is confused by that.
    expect(of(["n1", 7], ["n2", 2])).toBeNull();
  });

  it("the primary answers by another name", () => {
    expect(of(["n1", 2], ["n2", 1], ["n3", 3])).toContain("n2 (h2:3306) is the primary");
    expect(of(["n2", 1])).toContain("known as n1");
  });

  it("one server by two names", () => {
    expect(of(["n2", 2], ["n3", 2])).toContain("n2 (h2:3306) and n3 (h3:3306)");
  });

  it("the primary is not declared", () => {
    expect(topologyMismatch(declared, "n9", uuid(9), new Map())).toContain("n9");
  });
});
