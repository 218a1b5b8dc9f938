/** A seed must say everything about what is done. */
import { describe, expect, it } from "vitest";
import { drawCombination, drawRound, titleOf } from "./draw.ts";
import { combinationsNamed, FAULTS, faultNamed, faultsNamed } from "./faults.ts";

const plans = (seed: number, rounds: number) =>
  Array.from({ length: rounds }, (_, at) => drawRound(seed, at + 1, FAULTS));

describe("drawing", () => {
  it("gives the same rounds for the same seed, and others for another", () => {
    expect(plans(7, 50)).toEqual(plans(7, 50));
    expect(plans(7, 50).map(titleOf)).not.toEqual(plans(8, 50).map(titleOf));
  });

  it("draws a round without those before it, so that one can be run alone", () => {
    expect(drawRound(7, 33, FAULTS)).toEqual(plans(7, 40)[32]);
  });

  it("comes to every fault, and to a second one in two of five rounds", () => {
    const many = plans(1, 2_000);
    const seen = new Set(many.flatMap(({ faults }) => faults.map(({ name }) => name)));
    expect([...seen].sort()).toEqual(FAULTS.map(({ name }) => name).sort());
    const doubles = many.filter(({ faults }) => faults.length === 2).length;
    expect(doubles / many.length).toBeGreaterThan(0.35);
    expect(doubles / many.length).toBeLessThan(0.45);
  });

  it("keeps within what the faults say, in the order in which they are made", () => {
    for (const { faults } of plans(3, 500)) {
      for (const { name, lastsMs, draws } of faults) {
        const [least, most] = FAULTS.find((fault) => fault.name === name)?.lastsMs ?? [1, 0];
        expect(lastsMs).toBeGreaterThanOrEqual(least);
        expect(lastsMs).toBeLessThanOrEqual(most);
        expect(draws.every((drawn) => drawn >= 0 && drawn < 1)).toBe(true);
      }
      expect(faults.map(({ atMs }) => atMs)).toEqual(
        faults.map(({ atMs }) => atMs).toSorted((a, b) => a - b),
      );
    }
  });

  it("takes only the faults that were asked for, and refuses a name that it does not know", () => {
    const some = faultsNamed(["kill", "nats-kill"]);
    for (let round = 1; round <= 50; round++) {
      for (const { name } of drawRound(1, round, some).faults) expect(["kill", "nats-kill"]).toContain(name);
    }
    expect(() => faultsNamed(["kil"])).toThrow(/bad-option/);
    expect(() => faultsNamed(["executor-dies-at-step"])).toThrow(/only come on top/);
  });

  it("makes what lies in wait before the fault that it waits for", () => {
    const armed = new Set(FAULTS.filter((fault) => fault.armed).map(({ name }) => name));
    const waiting = plans(3, 500).flatMap(({ faults }) => faults.filter(({ name }) => armed.has(name)));
    expect(waiting.length).toBeGreaterThan(10);
    for (const { atMs } of waiting) expect(atMs).toBeLessThan(0);
  });
});

describe("each fault in turn", () => {
  it("is every main fault, when none is named", () => {
    const mains = FAULTS.filter(({ roles }) => roles.includes("main")).map((fault) => [fault]);
    expect(combinationsNamed(undefined)).toEqual(mains);
  });

  it("draws the rest from the seed, and is named with what comes on top", () => {
    const [turn] = combinationsNamed(["switchover+executor-dies-at-step=after:commit"]);
    if (turn === undefined) throw new Error("one is named");
    const plan = drawCombination(7, 3, turn);
    expect(plan).toEqual(drawCombination(7, 3, turn));
    expect(plan).not.toEqual(drawCombination(8, 3, turn));
    expect(titleOf(plan)).toBe("switchover + executor-dies-at-step=after:commit");
    for (const { name } of plan.faults) expect(faultNamed(name).name).toBe(name);
  });

  it.each([
    ["executor-dies-at-step", /can be a round's main fault/],
    ["kill+hang", /on top of it/],
    ["replica-kill+replica-kill", /on top of it/],
    ["kill+executor-dies-at-step=before:lunch", /before: or after:/],
    ["kill=before:open", /nothing can be said/],
  ])("refuses %s", (name, why) => {
    expect(() => combinationsNamed([name])).toThrow(why);
  });
});
