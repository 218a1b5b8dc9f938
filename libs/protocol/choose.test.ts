import { GtidSet } from "@baton/mysql/gtid";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ChooseFacts, type Contender, choose, errantOf } from "./choose.ts";

const P = "aaaaaaaa-0000-0000-0000-000000000001";
const uuidOf = (n: number) => `bbbbbbbb-0000-0000-0000-00000000000${n}`;
const set = (text: string) => GtidSet.parse(text);

function contender(n: number, held: string, more: Partial<Contender> = {}): Contender {
  return {
    node: `n${n}`,
    region: "eu",
    promotion: "neutral",
    serverUuid: uuidOf(n),
    version: "9.7.4",
    executed: set(held),
    held: set(held),
    applierErrno: 0,
    stranded: GtidSet.empty,
    quarantined: false,
    downtime: null,
    ...more,
  };
}
const facts = (contenders: Contender[], more: Partial<ChooseFacts> = {}): ChooseFacts => ({
  contenders,
  oldPrimaryRegion: "eu",
  primaryExecuted: GtidSet.empty,
  acks: 1,
  ...more,
});

describe("choose", () => {
  it("takes the most advanced even when another is preferred by rule, and says why not the other", () => {
    const c = choose(facts([contender(2, `${P}:1-10`, { promotion: "prefer" }), contender(3, `${P}:1-12`)]));
    expect(c).toMatchObject({ ok: true, candidate: "n3", followers: ["n2"] });
    expect(c.notChosen).toEqual([{ node: "n2", reason: `behind by 2 transactions (${P}:11-12)` }]);
  });

  it("refuses two histories", () => {
    const c = choose(facts([contender(2, `${P}:1-10:12`), contender(3, `${P}:1-11`)]));
    expect(c).toMatchObject({ ok: false, refusal: "diverged" });
  });

  it("does not take a replica's own stray write for history, nor promotes that replica", () => {
    const stray = contender(2, `${P}:1-10,${uuidOf(2)}:1`);
    const c = choose(facts([stray, contender(3, `${P}:1-10`)]));
    expect(c).toMatchObject({ ok: true, candidate: "n3" });
    expect(c.notChosen[0]?.reason).toContain("errant");
  });

  it("keeps what a former primary wrote in its own reign", () => {
    const former = contender(2, `${uuidOf(2)}:1-5,${P}:1-10`);
    const f = facts([former, contender(3, `${uuidOf(2)}:1-4,${P}:1-10`)], {
      primaryExecuted: set(`${uuidOf(2)}:1-5,${P}:1-9`),
    });
    expect(errantOf(former, f).isEmpty()).toBe(true);
    expect(choose(f)).toMatchObject({ ok: true, candidate: "n2" });
  });

  it("follows promotion rule, then region, then older version, then name", () => {
    const g = `${P}:1-3`;
    const pick = (...c: Contender[]) => {
      const choice = choose(facts(c));
      return choice.ok ? choice.candidate : choice.refusal;
    };
    expect(pick(contender(2, g), contender(3, g, { promotion: "prefer", region: "us" }))).toBe("n3");
    expect(pick(contender(2, g, { region: "us" }), contender(3, g))).toBe("n3");
    expect(pick(contender(2, g, { version: "9.8.0" }), contender(3, g))).toBe("n3");
    expect(pick(contender(3, g), contender(2, g))).toBe("n2");
    expect(pick(contender(2, g, { promotion: "never" }), contender(3, g, { promotion: "never" }))).toBe(
      "no-candidate",
    );
    expect(pick(contender(2, g))).toBe("too-few-ackers-left");
    expect(pick(contender(2, g, { applierErrno: 1062 }), contender(3, g))).toBe("n3");
  });

  it("never promotes a replica that lacks what another sound replica holds, and ignores order", () => {
    const prefix = fc.integer({ min: 0, max: 30 });
    fc.assert(
      fc.property(fc.array(prefix, { minLength: 2, maxLength: 5 }), fc.boolean(), (ends, reverse) => {
        const contenders = ends.map((end, i) => contender(i + 2, end === 0 ? "" : `${P}:1-${end}`));
        const choice = choose(facts(reverse ? contenders.toReversed() : contenders));
        if (!choice.ok) return false;
        const chosen = contenders.find((c) => c.node === choice.candidate) as Contender;
        return contenders.every((c) => chosen.held.contains(c.held)) && choose(facts(contenders)).ok;
      }),
    );
  });
});
