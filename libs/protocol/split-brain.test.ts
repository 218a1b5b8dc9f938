import { GtidSet } from "@baton/mysql/gtid";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { arbitrate, type SplitFacts } from "./split-brain.ts";

const A = "aaaaaaaa-0000-0000-0000-000000000000";
const B = "bbbbbbbb-0000-0000-0000-000000000000";
const facts = (held: Record<string, string>, more: Partial<SplitFacts> = {}): SplitFacts => ({
  primary: "n1",
  rivals: ["n3"],
  held: new Map(Object.entries(held).map(([n, set]) => [n, GtidSet.parse(set)])),
  away: new Map(),
  acks: 1,
  ...more,
});

describe("whose history is kept", () => {
  it("the primary's, when nobody else holds what the rival wrote", () => {
    const ruling = arbitrate(facts({ n1: `${A}:1-12`, n2: `${A}:1-12`, n3: `${A}:1-10,${B}:1-2` }));
    expect(ruling).toMatchObject({ keep: "n1" });
    expect(ruling.claims.map((c) => [c.node, c.own.toString(), c.acknowledged.toString()])).toEqual([
      ["n1", `${A}:11-12`, `${A}:11-12`],
      ["n3", `${B}:1-2`, ""],
    ]);
  });

  it("the rival's, when only its writes were acknowledged", () => {
    const held = { n1: `${A}:1-11`, n2: `${A}:1-10,${B}:1-2`, n3: `${A}:1-10,${B}:1-2` };
    expect(arbitrate(facts(held))).toMatchObject({ keep: "n3" });
  });

  it("nobody's, when each has writes that a replica of its own acknowledged", () => {
    const held = { n1: `${A}:1-12`, n2: `${A}:1-12`, n3: `${A}:1-10,${B}:1-2`, n4: `${A}:1-10,${B}:1` };
    const ruling = arbitrate(facts(held));
    expect(ruling.keep).toBeNull();
    expect(ruling.reason).toContain(`n3 alone has ${B}:1, which replicas acknowledged`);
    // Where a write needs two, the rival's one holder proves nothing.
    expect(arbitrate(facts({ ...held, n5: `${A}:1-12` }, { acks: 2 }))).toMatchObject({ keep: "n1" });
  });

  it("nobody's, while one that is away was seen to follow the rival, or the primary itself is away", () => {
    const held = { n1: `${A}:1-12`, n2: `${A}:1-12`, n3: `${A}:1-10,${B}:1-2` };
    expect(arbitrate(facts(held, { away: new Map([["n4", "n3"]]) })).keep).toBeNull();
    expect(arbitrate(facts(held, { away: new Map([["n4", "n1"]]) })).keep).toBe("n1");
    expect(arbitrate(facts({ n2: held.n2, n3: held.n3 })).keep).toBeNull();
  });

  it("never one that lacks a write which k others hold", () => {
    const set = fc
      .tuple(fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 6 }))
      .map(([a, b]) => [a && `${A}:1-${a}`, b && `${B}:1-${b}`].filter(Boolean).join(","));
    fc.assert(
      fc.property(
        fc.array(set, { minLength: 4, maxLength: 4 }),
        fc.integer({ min: 1, max: 2 }),
        (sets, acks) => {
          const held = Object.fromEntries(sets.map((s, i) => [`n${i + 1}`, s]));
          const f = facts(held, { acks });
          const { keep } = arbitrate(f);
          if (keep === null) return true;
          const kept = f.held.get(keep) as GtidSet;
          return ["n1", "n3"].every((claimant) =>
            [...(f.held.get(claimant) as GtidSet).gtids()].every((gtid) => {
              const one = GtidSet.parse(gtid);
              const holders = [...f.held].filter(([n, s]) => n !== claimant && s.contains(one)).length;
              return holders < acks || kept.contains(one);
            }),
          );
        },
      ),
    );
  });
});
