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
    cannotBeFollowed: false,
    lagMs: 0,
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
  lagCeilingMs: 10_000,
  ...more,
});
const reasons = (f: ChooseFacts) =>
  Object.fromEntries(choose(f).notChosen.map(({ node, reason }) => [node, reason]));

describe("choose", () => {
  it("takes the most advanced of equals, and says by what the other is behind", () => {
    const c = choose(facts([contender(2, `${P}:1-10`), contender(3, `${P}:1-12`)]));
    expect(c).toMatchObject({ ok: true, candidate: "n3", source: null, followers: ["n2"] });
    expect(c.notChosen).toEqual([{ node: "n2", reason: `behind by 2 transactions (${P}:11-12)` }]);
  });

  it("refuses first of all what lacks some of the mark, and says which quarantined node holds it", () => {
    const away = contender(4, `${P}:1-14`, { quarantined: true });
    const c = choose(
      facts([contender(2, `${P}:1-12`), contender(3, `${P}:1-12`), away], { mark: set(`${P}:1-14`) }),
    );
    expect(c).toMatchObject({ ok: false, refusal: "mark-missed" });
    expect(c.ok ? "" : c.reason).toContain(`${P}:13-14`);
    expect(c.ok ? "" : c.reason).toContain("n4 holds them");
    expect(
      choose(facts([contender(2, `${P}:1-12`), contender(3, `${P}:1-12`)], { mark: set(`${P}:1-12`) })),
    ).toMatchObject({ ok: true });
  });

  it("does not promote one that nobody could follow, however much it is preferred", () => {
    const deaf = contender(2, `${P}:1-12`, { cannotBeFollowed: true, promotion: "prefer" });
    const c = choose(facts([deaf, contender(3, `${P}:1-12`)]));
    expect(c).toMatchObject({ ok: true, candidate: "n3" });
    expect(c.notChosen).toContainEqual({ node: "n2", reason: expect.stringContaining("no binary log") });
  });

  it("needs k other servers to follow, however many names they have", () => {
    const twin = contender(3, `${P}:1-12`, { serverUuid: uuidOf(2) });
    expect(choose(facts([contender(2, `${P}:1-12`), twin]))).toMatchObject({
      ok: false,
      refusal: "too-few-ackers-left",
    });
    const three = [contender(2, `${P}:1-12`), twin, contender(4, `${P}:1-12`)];
    expect(choose(facts(three))).toMatchObject({ ok: true, followers: ["n4"] });
    expect(choose(facts(three, { acks: 2 }))).toMatchObject({ ok: false, refusal: "too-few-ackers-left" });
  });

  it("knows a server's own errant transactions under its second name, too", () => {
    const own = `${P}:1-12,${uuidOf(2)}:1`;
    const twin = contender(3, own, { serverUuid: uuidOf(2) });
    const both = facts([contender(2, own), twin, contender(4, `${P}:1-12`)]);
    expect(errantOf(twin, both).toString()).toBe(`${uuidOf(2)}:1`);
    expect(choose(both)).toMatchObject({ ok: true, candidate: "n4" });
  });

  it("neither promotes a filtered one, whatever its sets say, nor lets another catch up from it", () => {
    const filtered = contender(2, `${P}:1-12`, { promotion: "prefer", filtered: true });
    const whole = facts([filtered, contender(3, `${P}:1-12`)]);
    expect(choose(whole)).toMatchObject({ ok: true, candidate: "n3" });
    expect(reasons(whole).n2).toMatch(/^filtered: /);
    const behind = facts([filtered, contender(3, `${P}:1-10`)]);
    expect(choose(behind)).toMatchObject({ ok: false, refusal: "no-candidate" });
  });

  describe("one that is preferred and behind", () => {
    const ahead = contender(3, `${P}:1-12`);
    it.each([
      ["promotion rule", contender(2, `${P}:1-10`, { promotion: "prefer" }), ahead],
      ["region", contender(2, `${P}:1-10`), contender(3, `${P}:1-12`, { region: "us" })],
      [
        "right (the other never is)",
        contender(2, `${P}:1-10`),
        contender(3, `${P}:1-12`, { promotion: "never" }),
      ],
    ])("by %s catches up from the most advanced first", (_, behind, source) => {
      expect(choose(facts([behind, source]))).toMatchObject({ ok: true, candidate: "n2", source: "n3" });
    });
    it("is given up for the most advanced when it did not make it", () => {
      const f = facts([contender(2, `${P}:1-10`, { promotion: "prefer" }), ahead], {
        missed: new Map([["n2", "n2 did not catch up from n3 within 5 ms"]]),
      });
      expect(choose(f)).toMatchObject({ ok: true, candidate: "n3", source: null });
      expect(reasons(f)).toEqual({ n2: "n2 did not catch up from n3 within 5 ms" });
    });
    it("is refused, as too late, when nobody else may be promoted", () => {
      const f = facts([contender(2, `${P}:1-10`), contender(3, `${P}:1-12`, { promotion: "never" })], {
        missed: new Map([["n2", "late"]]),
      });
      expect(choose(f)).toMatchObject({ ok: false, refusal: "catch-up-timeout" });
    });
    it("catches up from none that is errant, broken, or of a newer series", () => {
      for (const bad of [
        contender(3, `${P}:1-12,${uuidOf(3)}:1`),
        contender(3, `${P}:1-12`, { applierErrno: 1062 }),
        contender(3, `${P}:1-12`, { version: "9.8.0" }),
      ]) {
        const f = facts([contender(2, `${P}:1-10`, { promotion: "prefer" }), bad]);
        expect(choose(f)).toMatchObject({ ok: false, refusal: "no-candidate" });
        expect(reasons(f).n2).toContain("nobody that it can follow");
      }
    });
    it("is not waited for while its source applies later than the ceiling", () => {
      const late = contender(3, `${P}:1-12`, { lagMs: 60_000 });
      const f = facts([contender(2, `${P}:1-10`, { promotion: "prefer" }), contender(4, `${P}:1-12`), late]);
      expect(choose(f)).toMatchObject({ ok: true, candidate: "n2", source: "n4" });
      const only = facts([contender(2, `${P}:1-10`), late]);
      expect(choose(only)).toMatchObject({ ok: true, candidate: "n3", source: null });
    });
  });

  it("takes one that applies late only if there is no other, and says so", () => {
    const f = facts([
      contender(2, `${P}:1-3`, { lagMs: 12_300, promotion: "prefer" }),
      contender(3, `${P}:1-3`),
    ]);
    expect(choose(f)).toMatchObject({ ok: true, candidate: "n3" });
    expect(reasons(f)).toEqual({ n2: "it applies 12.3 s late, the ceiling is 10 s" });
  });

  it("never takes one of a newer series than another has", () => {
    const f = facts([
      contender(2, `${P}:1-3`, { version: "9.8.0", promotion: "prefer" }),
      contender(3, `${P}:1-3`, { promotion: "never" }),
      contender(4, `${P}:1-3`, { version: "9.8.1" }),
    ]);
    expect(choose(f)).toMatchObject({ ok: false, refusal: "no-candidate" });
    expect(reasons(f)).toMatchObject({
      n2: "n3 runs 9.7.4 and cannot follow 9.8.0",
      n3: "promotion rule is never",
    });
  });

  it("has a reason for every replica that it does not take, those away and quarantined too", () => {
    const f = facts(
      [
        contender(2, `${P}:1-3`),
        contender(3, `${P}:1-3`, { region: "us" }),
        contender(4, `${P}:1-3`, { quarantined: true }),
        contender(5, `${P}:1-2`, { applierErrno: 1032 }),
      ],
      { absent: [{ node: "n6", reason: "it cannot be reached" }] },
    );
    expect(choose(f)).toMatchObject({ ok: true, candidate: "n2" });
    expect(reasons(f)).toEqual({
      n3: "n2 is in the old primary's region",
      n4: "quarantined: it holds transactions outside the history",
      n5: "applier stopped with error 1032",
      n6: "it cannot be reached",
    });
    const alone = facts([contender(2, `${P}:1-3`)]);
    expect(reasons(alone)).toEqual({ n2: "0 replicas would be left to acknowledge, 1 are needed" });
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

  it("never promotes equals that lack what another sound replica holds, and ignores order", () => {
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
