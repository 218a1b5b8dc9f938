import type { ClusterState, EpochRow, NodeStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { type Answer, type Facts, propose } from "./propose.ts";

const uuid = (n: number) => `${String(n).repeat(8)}-0000-4000-8000-000000000000`;
const row = (over: Partial<EpochRow> = {}): EpochRow => ({
  installation: "here",
  cluster: "shop",
  epoch: 3,
  primaryUuid: uuid(2),
  ...over,
});
/** n2 is the primary of epoch 3; `set` changes single nodes. */
function answers(carried: EpochRow | null, set: Record<string, Partial<NodeStatus> | null> = {}): Answer[] {
  return [1, 2, 3].map((n) => {
    const node = `n${n}`;
    const change = set[node];
    const status = {
      serverUuid: uuid(n),
      readOnly: n !== 2,
      executed: `${uuid(1)}:1-9,${uuid(2)}:1-4`,
      replica: null,
      startedUnixS: 7,
      epoch: carried,
      ...change,
    } as NodeStatus;
    return { node, host: node, port: 3306, status: change === null ? null : status, error: "refused" };
  });
}
const state: ClusterState = {
  cluster: "shop",
  epoch: 3,
  primary: "n2",
  primaryUuid: uuid(2),
  installation: "here",
  phase: "steady",
  operation: null,
  last: null,
  quarantined: ["n3"],
  failovers: [5],
};
const facts = (over: Partial<Facts>): Facts => ({
  cluster: "shop",
  state: null,
  answers: answers(row()),
  archived: null,
  takeOver: false,
  primary: null,
  newInstallation: "new",
  ...over,
});

describe("the state that fits", () => {
  it("is the one that the data name, when NATS has none", () => {
    const made = propose(facts({}));
    expect(made).toMatchObject({
      kind: "state",
      writeRow: false,
      state: { epoch: 3, primary: "n2", primaryUuid: uuid(2), installation: "here", phase: "steady" },
    });
  });

  it("keeps what a state that went back still tells of quarantines", () => {
    const old: ClusterState = { ...state, epoch: 1, primary: "n1", primaryUuid: uuid(1), phase: "fencing" };
    const made = propose(facts({ state: old }));
    expect(made).toMatchObject({ state: { epoch: 3, primary: "n2", quarantined: ["n3"], failovers: [5] } });
  });

  it("is left alone where it fits", () => {
    expect(propose(facts({ state }))).toMatchObject({ kind: "nothing" });
  });

  it("begins an epoch of its own when the archive knows a later one than the nodes that answer", () => {
    expect(propose(facts({ archived: 4 }))).toMatchObject({ state: { epoch: 4 }, writeRow: true });
  });

  it("has its primary opened by Baton when all are read-only", () => {
    const made = propose(facts({ answers: answers(row(), { n2: { readOnly: true } }) }));
    expect(made).toMatchObject({ state: { primary: "n2", epoch: 3 }, writeRow: false });
    expect(made.kind === "state" && made.state.primaryStartedUnixS).toBeUndefined();
  });

  it("names what a node holds alone", () => {
    const errant = { executed: `${uuid(1)}:1-9,${uuid(2)}:1-4,${uuid(3)}:1` };
    const made = propose(facts({ answers: answers(row(), { n3: errant }) }));
    expect(made.kind === "state" && made.why.join(" ")).toContain(`n3 holds ${uuid(3)}:1`);
  });
});

describe("is asked for", () => {
  it.each([
    [
      "nobody answers",
      facts({ answers: answers(row(), { n1: null, n2: null, n3: null }) }),
      "start the nodes",
    ],
    ["the primary of the epoch is away", facts({ answers: answers(row(), { n2: null }) }), "--primary"],
    ["another accepts writes", facts({ answers: answers(row(), { n1: { readOnly: false } }) }), "--primary"],
    ["the data are another installation's", facts({ state: { ...state, installation: "x" } }), "--take-over"],
    ["the data are another cluster's", facts({ answers: answers(row({ cluster: "old" })) }), "--take-over"],
  ])("when %s", (_, of, next) => {
    const made = propose(of);
    expect(made.kind).toBe("unclear");
    expect(made.kind === "unclear" && made.next).toContain(next);
  });
});

describe("a person decides", () => {
  it("that this Baton leads the cluster: a new epoch, marked first", () => {
    const made = propose(facts({ answers: answers(row({ installation: "there" })), takeOver: true }));
    expect(made).toMatchObject({ state: { epoch: 4, installation: "new", primary: "n2" }, writeRow: true });
  });

  it("who is the primary: a new epoch", () => {
    const made = propose(facts({ answers: answers(row(), { n2: null }), primary: "n1" }));
    expect(made).toMatchObject({ state: { epoch: 4, primary: "n1", installation: "here" }, writeRow: false });
  });
});
