import type { ClusterState, EpochRow } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { type Carriers, dataAgree, epochFault } from "./epoch-row.ts";

const A = "aaaaaaaa-0000-4000-8000-000000000000";
const B = "bbbbbbbb-0000-4000-8000-000000000000";
const C = "cccccccc-0000-4000-8000-000000000000";

const steady = (over: Partial<ClusterState> = {}): ClusterState => ({
  cluster: "shop",
  epoch: 2,
  primary: "n2",
  primaryUuid: B,
  installation: "here",
  phase: "steady",
  operation: null,
  last: null,
  quarantined: [],
  failovers: [],
  ...over,
});
const row = (over: Partial<EpochRow> = {}): EpochRow => ({
  installation: "here",
  cluster: "shop",
  epoch: 2,
  primaryUuid: B,
  ...over,
});
const on = (rows: Record<string, EpochRow | null | undefined>, executed = `${A}:1-9`): Carriers =>
  new Map(Object.entries(rows).map(([node, epoch]) => [node, { epoch, executed }]));

describe("a state fits the data", () => {
  it.each([
    ["no node carries a row", on({ n1: null, n2: undefined })],
    ["all carry its epoch", on({ n1: row(), n2: row(), n3: row() })],
    ["some are an epoch behind", on({ n1: row({ epoch: 1, primaryUuid: A }), n2: row() })],
  ])("when %s", (_, statuses) => {
    expect(epochFault("shop", steady(), statuses)).toBeNull();
  });

  it("while its next epoch is fenced for, and while a new primary has not written yet", () => {
    const statuses = on({ n2: row(), n3: row() });
    expect(epochFault("shop", steady({ epoch: 3, phase: "fencing" }), statuses)).toBeNull();
    const promoting = steady({ epoch: 3, phase: "promoting", primary: "n3", primaryUuid: C });
    expect(epochFault("shop", promoting, statuses)).toBeNull();
    expect(
      epochFault("shop", promoting, on({ n2: row(), n3: row({ epoch: 3, primaryUuid: C }) })),
    ).toBeNull();
  });

  it("of an older version, which names no installation", () => {
    const { installation: _, ...old } = steady();
    expect(epochFault("shop", old, on({ n1: row() }))).toBeNull();
  });
});

describe("a state that went back", () => {
  it.each([
    ["is of an earlier epoch", steady({ epoch: 1, primary: "n1", primaryUuid: A })],
    ["names another primary of the same epoch", steady({ primary: "n1", primaryUuid: A })],
    ["is in the middle of an earlier failover", steady({ epoch: 1, phase: "promoting" })],
    ["fences for the epoch that the data are of", steady({ phase: "fencing", primaryUuid: A })],
  ])("%s", (_, state) => {
    expect(epochFault("shop", state, on({ n1: null, n3: row() }))).toMatchObject({
      code: "state-went-back",
      node: "n3",
    });
  });
});

describe("a foreign installation", () => {
  it("is found where there is no state at all", () => {
    expect(epochFault("shop", null, on({ n1: row() }))).toMatchObject({ code: "foreign-installation" });
    expect(epochFault("shop", null, on({ n1: null }))).toBeNull();
  });

  it.each([
    ["by its name", row({ installation: "there", epoch: 1 })],
    ["by its cluster's name", row({ cluster: "store" })],
  ])("is found %s, whatever its epoch", (_, theirs) => {
    expect(epochFault("shop", steady(), on({ n1: theirs, n2: theirs }))).toMatchObject({
      code: "foreign-installation",
    });
  });

  it("stops only itself when it has no history in common with this cluster", () => {
    const statuses = new Map([
      ...on({ n1: row(), n2: row() }),
      ...on({ n3: row({ installation: "there", epoch: 9 }) }, `${C}:1-5`),
    ]);
    expect(epochFault("shop", steady(), statuses)).toBeNull();
    const kin = new Map([...statuses, ...on({ n3: row({ installation: "there" }) }, `${A}:3`)]);
    expect(epochFault("shop", steady(), kin)).toMatchObject({ node: "n3" });
  });
});

describe("a state that is remembered is put back", () => {
  it("when a node carries its epoch, and none a later one", () => {
    expect(dataAgree("shop", steady(), on({ n2: row() }))).toBe(true);
    expect(dataAgree("shop", steady(), on({ n2: row(), n3: row({ epoch: 3 }) }))).toBe(false);
    expect(dataAgree("shop", steady(), on({ n2: row({ epoch: 1 }) }))).toBe(false);
    expect(dataAgree("shop", steady(), on({ n2: null }))).toBe(false);
  });

  it("in the middle of a failover, when the data are of the epoch before", () => {
    const before = on({ n2: row() });
    expect(dataAgree("shop", steady({ epoch: 3, phase: "fencing" }), before)).toBe(true);
    const promoting = steady({ epoch: 3, phase: "promoting", primary: "n3", primaryUuid: C });
    expect(dataAgree("shop", promoting, before)).toBe(true);
  });
});
