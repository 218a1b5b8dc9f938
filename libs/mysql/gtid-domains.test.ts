/** MariaDB's positions as sets: what containment means where histories are the same, and where they diverged. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GtidSet } from "./gtid.ts";
import { waitable } from "./gtid-domains.ts";

const set = (text: string) => GtidSet.parse(text);
const minus = (a: string, b: string) => set(a).subtract(set(b)).toString();

describe("reading and printing", () => {
  it.each([
    ["0-1-100", "0-1-100"],
    [" 0-2-105,\n0-1-100 ", "0-1-100,0-2-105"],
    ["10-1-3,2-1-4", "2-1-4,10-1-3"],
    ["0-1-100,0-1-99", "0-1-100"],
    ["0-1-14..15", "0-1-14..15"],
  ])("%s is %s", (text, printed) => {
    expect(set(text).toString()).toBe(printed);
  });

  it.each(["0-1", "0-1-x", "0-1-1-1", "a-1-1", "0-1-5..x"])("%s is none", (text) => {
    expect(() => set(text)).toThrow(/E_GTID_SYNTAX|GTID set: expected/);
  });
});

describe("what one holds and another has not", () => {
  it.each([
    // The same server, further on.
    ["0-1-105", "0-1-100", "0-1-101..105"],
    ["0-1-100", "0-1-105", ""],
    // A primary that died with two writes of its own, and its successor.
    ["0-1-15", "0-1-13,0-2-20", "0-1-14..15"],
    ["0-1-13,0-2-20", "0-1-15", "0-2-14..20"],
    // A position that names the newest server only stands for what came before it.
    ["0-1-13,0-2-20", "0-2-20", ""],
    ["0-2-20", "0-1-13,0-2-20", ""],
    ["0-1-13,0-2-20", "0-2-18", "0-2-19..20"],
    // But not for what came after the last that both hold.
    ["0-1-13,0-2-20,0-3-22", "0-2-21", "0-3-21..22"],
    // Domains are apart.
    ["0-1-5,1-1-9", "0-1-5", "1-1-1..9"],
    ["0-1-5", "", "0-1-5"],
  ])("%s less %s is %s", (a, b, rest) => {
    // From 1 on everything, which prints like a position.
    expect(minus(a, b)).toBe(rest.replace("1-1-1..9", "1-1-9"));
    expect(set(b).contains(set(a))).toBe(rest === "");
  });

  it("tells by the server id who wrote what is too much", () => {
    const rest = set("0-1-15,0-2-20").subtract(set("0-1-13"));
    expect(rest.onlyFrom("server-id-2").toString()).toBe("0-2-14..20");
    expect(rest.onlyFrom("server-id-22").isEmpty()).toBe(true);
  });

  it("takes away an errant tail and nothing before it", () => {
    const held = set("0-1-13,0-2-20");
    const errant = held.subtract(set("0-1-13,0-2-18"));
    expect(held.subtract(errant).toString()).toBe("0-1-13,0-2-18");
    expect(set("0-1-10").union(held.subtract(errant)).contains(set("0-1-13"))).toBe(true);
  });

  it("never takes what a server wrote first for a history", () => {
    const held = set("0-1-5,0-2-6");
    const own = held.subtract(GtidSet.empty).onlyFrom("server-id-2");
    expect(held.subtract(own).toString()).toBe("0-1-5");
  });
});

describe("against real histories", () => {
  /** A history: who wrote each number. Two that share the first `shared` and differ from there on. */
  const histories = fc.record({
    common: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 12 }),
    ours: fc.array(fc.integer({ min: 1, max: 2 }), { maxLength: 6 }),
    theirs: fc.array(fc.integer({ min: 3, max: 4 }), { maxLength: 6 }),
    forgetful: fc.boolean(),
  });
  const positionOf = (history: number[], newestOnly: boolean): string => {
    const last = new Map<number, number>();
    for (const [i, server] of history.entries()) last.set(server, i + 1);
    const items = [...last].sort(([, a], [, b]) => a - b).map(([server, seq]) => `0-${server}-${seq}`);
    return (newestOnly ? items.slice(-1) : items).join(",");
  };

  it("what is left over is what the other does not hold, and never less", () => {
    fc.assert(
      fc.property(histories, ({ common, ours, theirs, forgetful }) => {
        const a = [...common, ...ours];
        const b = [...common, ...theirs];
        const rest = set(positionOf(a, false)).subtract(set(positionOf(b, forgetful)));
        // A node that knows the newest only, and diverged, may look worse than it is: never better.
        if (forgetful) expect(ours.length === 0 || !rest.isEmpty()).toBe(true);
        else expect(rest.isEmpty()).toBe(ours.length === 0);
      }),
    );
  });

  it("a prefix is always contained", () => {
    fc.assert(
      fc.property(histories, fc.nat(20), ({ common, ours }, cut) => {
        const whole = [...common, ...ours];
        const part = whole.slice(0, cut);
        expect(set(positionOf(whole, false)).contains(set(positionOf(part, false)))).toBe(true);
        expect(set(positionOf(part, false)).contains(set(positionOf(whole, false)))).toBe(
          part.length === whole.length,
        );
      }),
    );
  });
});

describe("what MASTER_GTID_WAIT takes", () => {
  it("names each domain once, by its highest number", () => {
    expect(waitable("0-1-13,0-2-20,3-1-2")).toBe("0-2-20,3-1-2");
    expect(waitable("")).toBe("");
  });
});
