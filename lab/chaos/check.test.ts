/** Each violation is made, and must be caught: a checker that never complains proves nothing. */
import { describe, expect, it } from "vitest";
import type { Ack } from "../writer.ts";
import { check, type FinalNode, longestSilence, type RoundRecord } from "./check.ts";
import { RegisterBook, type RegisterRow } from "./registers.ts";

const ack = (id: string, server: string, sentMs: number, atMs = sentMs + 1): Ack => ({
  id,
  server,
  sentMs,
  atMs,
});

const acks = [ack("w-0", "A", 10), ack("w-1", "A", 20), ack("w-2", "B", 200), ack("w-3", "B", 210)];
const rows = new Set(["w-0", "w-1", "w-2", "w-3", "w-4"]);

/** a: 1 to 3 acknowledged. b: deleted. c: version 2 got an error. d: nobody answered its delete. */
const version = (key: string, number: number, acknowledged = true) => ({
  row: { version: number, value: `${key}=${number}`, server: "A" },
  acknowledged,
  server: "A",
});
const gone = (acknowledged = true) => ({ row: null, acknowledged, server: "A" });
const registers = [
  { key: "a", versions: [version("a", 1), version("a", 2), version("a", 3)] },
  { key: "b", versions: [version("b", 1), gone()] },
  { key: "c", versions: [version("c", 1), version("c", 2, false)] },
  { key: "d", versions: [version("d", 1), gone(false)] },
];
const row = (key: string, number: number): RegisterRow => version(key, number).row;
const held = new Map([
  ["a", row("a", 3)],
  ["c", row("c", 2)],
  ["d", row("d", 1)],
]);
const holding = (change: Record<string, RegisterRow | null>) => {
  const now = new Map(held);
  for (const [key, value] of Object.entries(change)) value === null ? now.delete(key) : now.set(key, value);
  return now;
};

const primary: FinalNode = {
  node: "n2",
  server: "B",
  primary: true,
  rows,
  registers: held,
  executed: "B:1-9",
  readOnly: false,
  superReadOnly: false,
  semiSyncSource: true,
  semiSyncReplica: false,
  channel: null,
};
const replica: FinalNode = {
  ...primary,
  node: "n1",
  server: "A",
  primary: false,
  readOnly: true,
  superReadOnly: true,
  semiSyncSource: false,
  semiSyncReplica: true,
  channel: { host: "10.66.3.2", receiver: "ON", applier: "ON" },
};

const good: RoundRecord = {
  acks,
  registerAcks: [],
  registers,
  losses: [],
  reigns: [
    { epoch: 4, server: "A" },
    { epoch: 5, server: "B" },
  ],
  begunBeforeHealing: 1,
  operations: [{ id: "failover-chaos-5-1", kind: "failover", outcome: "completed", code: null }],
  notWhole: null,
  nodes: [replica, primary],
  primaryHost: "10.66.3.2",
  leftOver: { processes: [], network: [] },
  refusals: [],
  recoveredBeforeHealing: true,
  recoveredAfterHealing: true,
  expects: "failover",
  rightRefusals: [],
};

const codes = (change: Partial<RoundRecord>) => check({ ...good, ...change }).map(({ code }) => code);
const withReplica = (change: Partial<FinalNode>) => codes({ nodes: [{ ...replica, ...change }, primary] });
const withPrimary = (change: Partial<FinalNode>) => codes({ nodes: [replica, { ...primary, ...change }] });

describe("the checker", () => {
  it("finds nothing in a good round, also not in a write whose outcome nobody was told", () => {
    expect(check(good)).toEqual([]);
  });

  it("finds an acknowledged write that one node has not, or none", () => {
    const without = new Set([...rows].filter((id) => id !== "w-1"));
    expect(withReplica({ rows: without })).toEqual(["lost", "histories-differ"]);
    expect(
      codes({
        nodes: [
          { ...replica, rows: without },
          { ...primary, rows: without },
        ],
      }),
    ).toEqual(["lost", "lost"]);
  });

  const everywhere = (change: Record<string, RegisterRow | null>) =>
    codes({
      nodes: [
        { ...replica, registers: holding(change) },
        { ...primary, registers: holding(change) },
      ],
    });

  it("finds a lost update, a lost insert, and a delete that came back", () => {
    expect(everywhere({ a: row("a", 2) })).toEqual(["lost", "lost"]);
    expect(everywhere({ a: null })).toEqual(["lost", "lost"]);
    expect(everywhere({ b: row("b", 1) })).toEqual(["resurrected", "resurrected"]);
    expect(everywhere({ c: null })).toEqual(["lost", "lost"]);
  });

  it("lets no more be missing than a failover has stated, and never a value from nowhere be there", () => {
    const lost = (atMost: number, change: Record<string, RegisterRow | null>) => {
      const without = { rows: new Set([...rows].filter((id) => id !== "w-1")), registers: holding(change) };
      const losses = [{ atMost, unfenced: false }];
      return codes({
        losses,
        nodes: [
          { ...replica, ...without },
          { ...primary, ...without },
        ],
      });
    };
    expect(lost(2, { a: row("a", 2) })).toEqual([]);
    expect(lost(1, { a: row("a", 2) })).toEqual(["lost", "lost", "lost", "lost"]);
    expect(lost(9, { a: row("a", 9) })).toEqual(["from-nowhere", "from-nowhere"]);
  });

  it("finds a value that nobody wrote", () => {
    const nowhere = ["from-nowhere", "from-nowhere"];
    expect(everywhere({ a: row("a", 9) })).toEqual(nowhere);
    expect(everywhere({ a: { ...row("a", 3), value: "b=3" } })).toEqual(nowhere);
    expect(everywhere({ a: { ...row("a", 3), server: "C" } })).toEqual(nowhere);
    expect(everywhere({ x: row("x", 1) })).toEqual(nowhere);
  });

  it("finds a version that is stale on one node", () => {
    expect(withReplica({ registers: holding({ a: row("a", 2) }) })).toEqual(["lost", "histories-differ"]);
    expect(withReplica({ registers: holding({ c: row("c", 1) }) })).toEqual(["histories-differ"]);
  });

  it("lets a version that got no OK be there or not, and nothing else for it", () => {
    expect(everywhere({ c: row("c", 1) })).toEqual([]);
    expect(everywhere({ d: null })).toEqual([]);
    expect(everywhere({ d: row("d", 2) })).toEqual(["from-nowhere", "from-nowhere"]);
  });

  it("finds a second pen by the registers too", () => {
    expect(codes({ registerAcks: [ack("v-1", "A", 202, 230)] })).toEqual(["second-pen"]);
  });

  it("finds a second pen: the earlier primary takes a write on after the later one acknowledged", () => {
    const second = ack("w-4", "A", 202, 230);
    expect(codes({ acks: [...acks, second] })).toEqual(["second-pen"]);
  });

  it("lets a primary answer that could not be shut, where a failover has said so, and nobody else", () => {
    const unfenced = [{ atMost: 0, unfenced: true }];
    const second = ack("w-4", "A", 202, 230);
    expect(codes({ losses: unfenced, acks: [...acks, second] })).toEqual([]);
    expect(codes({ losses: [{ atMost: 0, unfenced: false }], acks: [...acks, second] })).toEqual([
      "second-pen",
    ]);
    expect(codes({ losses: unfenced, acks: [...acks, ack("w-4", "C", 202, 230)] })).toEqual(["second-pen"]);
  });

  it("lets a late answer pass, for a write that was sent before the pen passed on", () => {
    expect(codes({ acks: [...acks, ack("w-4", "A", 30, 230)] })).toEqual([]);
  });

  it("finds an acknowledgement of a server that never had the pen", () => {
    expect(codes({ acks: [...acks, ack("w-4", "C", 300)] })).toEqual(["second-pen"]);
  });

  it("lets a server have the pen again in a later reign", () => {
    const reigns = [...good.reigns, { epoch: 6, server: "A" }];
    expect(codes({ reigns, acks: [...acks, ack("w-4", "A", 300)] })).toEqual([]);
  });

  it("finds an epoch that was given twice, and one that was left out", () => {
    for (const epoch of [4, 6]) {
      expect(
        codes({
          reigns: [
            { epoch: 4, server: "A" },
            { epoch, server: "B" },
          ],
        }),
      ).toEqual(["epoch-twice"]);
    }
  });

  it("finds an operation without an end", () => {
    expect(codes({ operations: [{ id: "x", kind: "rejoin", outcome: null, code: null }] })).toEqual([
      "operation-unended",
    ]);
  });

  it("finds nodes whose histories differ", () => {
    expect(withReplica({ executed: "B:1-8" })).toEqual(["histories-differ"]);
    expect(withReplica({ rows: new Set([...rows, "w-9"]) })).toEqual(["histories-differ"]);
  });

  it("finds what is left stopped on a node", () => {
    const channel = { host: "10.66.3.2", receiver: "ON", applier: "ON" };
    const replicas: Partial<FinalNode>[] = [
      { channel: { ...channel, receiver: "OFF" } },
      { channel: { ...channel, applier: "OFF" } },
      { channel: { ...channel, host: "10.66.9.2" } },
      { superReadOnly: false },
      { semiSyncSource: true },
      { semiSyncReplica: false },
    ];
    for (const change of replicas) expect(withReplica(change)).toEqual(["left-stopped"]);
    expect(withReplica({ channel: null })).toContain("left-stopped");
    for (const change of [{ superReadOnly: true }, { semiSyncSource: false }, { channel }]) {
      expect(withPrimary(change)).toEqual(["left-stopped"]);
    }
  });

  it("finds a process that is stopped and a cut that is still in force", () => {
    expect(codes({ leftOver: { processes: ["executor-1 stands still"], network: [] } })).toEqual([
      "left-stopped",
    ]);
    expect(codes({ leftOver: { processes: [], network: ["from n1 to n2"] } })).toEqual(["left-stopped"]);
  });

  it("finds a cluster that is not whole again, and clients that are not answered again", () => {
    expect(codes({ notWhole: "n1 is quarantined", nodes: [primary] })).toEqual(["not-recovered"]);
    const behind = { ...replica, rows: new Set<string>() };
    expect(codes({ notWhole: "n1 is behind", nodes: [behind, primary] })).toEqual(["not-recovered"]);
    const lacking = { ...primary, rows: new Set(["w-0"]) };
    expect(codes({ notWhole: "n1 is errant", nodes: [behind, lacking] })).toEqual(["not-recovered", "lost"]);
    expect(codes({ recoveredAfterHealing: false })).toEqual(["not-recovered"]);
    // What is left stopped may be the reason.
    const shut = { notWhole: "n2 is read-only", nodes: [replica, { ...primary, superReadOnly: true }] };
    expect(codes(shut)).toEqual(["not-recovered", "left-stopped"]);
  });

  it("finds a failover where the primary should have kept the pen", () => {
    expect(codes({ expects: "keep" })).toEqual(["needless-failover"]);
    expect(codes({ expects: "keep", reigns: good.reigns.slice(0, 1), acks: acks.slice(0, 2) })).toEqual([]);
  });

  it("finds a failover that was not made, and lets a right refusal pass for it", () => {
    const waiting: Partial<RoundRecord> = {
      recoveredBeforeHealing: false,
      reigns: good.reigns.slice(0, 1),
      begunBeforeHealing: 0,
      acks: acks.slice(0, 2),
    };
    expect(codes(waiting)).toEqual(["no-failover"]);
    const refused: Partial<RoundRecord> = { ...waiting, refusals: ["ackers-unreachable"] };
    expect(codes(refused)).toEqual(["wrong-refusal"]);
    expect(codes({ ...refused, rightRefusals: ["ackers-unreachable"] })).toEqual([]);
  });

  it("finds silence where Baton should have said why it does nothing, and a failover that it should have refused", () => {
    const kept = { reigns: good.reigns.slice(0, 1), begunBeforeHealing: 0, acks: acks.slice(0, 2) };
    expect(codes({ ...kept, expects: "refuse" })).toEqual(["no-failover"]);
    const said: Partial<RoundRecord> = {
      expects: "refuse",
      refusals: ["ackers-unreachable"],
      rightRefusals: ["ackers-unreachable"],
    };
    expect(codes({ ...kept, ...said })).toEqual([]);
    expect(codes(said)).toEqual(["needless-failover"]);
    expect(codes({ ...said, expects: "wait" })).toEqual(["needless-failover"]);
    expect(codes({ ...kept, expects: "wait" })).toEqual([]);
    // Once a node is back, the failover that was refused is right.
    expect(codes({ ...said, begunBeforeHealing: 0 })).toEqual([]);
  });
});

describe("the longest silence", () => {
  it("is measured between acknowledgements, from the fault to the end", () => {
    expect(longestSilence(acks, 15, 220)).toBe(180);
    expect(longestSilence([], 15, 220)).toBe(205);
    expect(longestSilence(acks, 100, 2_000)).toBe(1_789);
  });
});

describe("the book of registers", () => {
  it("writes inserts, updates and deletes, each only upon the version before it", () => {
    const book = new RegisterBook("t");
    const said: string[] = [];
    for (let number = 0; number < 60; number++) {
      said.push(book.statement(`w-${number}`, "A"));
      book.acknowledged(`w-${number}`);
    }
    const of = said.filter((sql) => sql.includes("'t-0'")).map((sql) => sql.split(" ")[0]);
    expect(of).toEqual(["INSERT", "UPDATE", "UPDATE", "DELETE", "INSERT"]);
    expect(
      said.filter((sql) => sql.startsWith("UPDATE")).every((sql) => /AND version = \d+$/.test(sql)),
    ).toBe(true);
    expect(book.registers()).toHaveLength(12);
  });

  it("writes a key no more while its answer is open, and takes another one for it", () => {
    const book = new RegisterBook("t");
    for (let number = 0; number < 13; number++) book.statement(`w-${number}`, "A");
    expect(book.registers().map(({ versions }) => versions.length)).toEqual(Array(13).fill(1));
    book.acknowledged("w-4");
    expect(book.statement("w-13", "A")).toContain("'t-4'");
  });
});
