import { GtidSet } from "@baton/mysql/gtid";
import { describe, expect, it } from "vitest";
import { forgoing, markMissed, requiredOf } from "./mark.ts";

const P = "11111111-0000-0000-0000-000000000000";
const set = (text: string) => GtidSet.parse(text);
const state = {
  cluster: "shop",
  epoch: 1,
  primary: "n1",
  primaryUuid: P,
  phase: "fencing" as const,
  operation: null,
  last: null,
  quarantined: [],
  failovers: [],
};
const loss = (known: string) => ({ known, count: 2, unseen: 0, unseenMs: 0, atMost: 2, unfenced: false });

describe("the mark", () => {
  it("names what is missing and who holds it", () => {
    const others = [["n3", set(`${P}:1-9`)] as const];
    expect(markMissed("n2", set(`${P}:1-7`), set(`${P}:1-9`), others)?.reason).toBe(
      `n2 lacks 2 transactions (${P}:8-9) that the primary was seen to have executed; n3 holds them`,
    );
    expect(markMissed("n2", set(`${P}:1-9`), set(`${P}:1-9`))).toBeNull();
  });

  it("asks for nothing that was given up", () => {
    const given = { forgone: { gtids: `${P}:8`, by: "ann", atUnixMs: 1 } };
    expect(requiredOf(set(`${P}:1-9`), given, set(`${P}:9`)).toString()).toBe(`${P}:1-7`);
  });
});

describe("what is given up", () => {
  it("by a person stands in the state", () => {
    const acceptLoss = { gtids: `${P}:8-9`, unproven: false, by: "ann" };
    expect(forgoing(state, { acceptLoss }, set(`${P}:1-7`), 5).forgone).toEqual({
      gtids: `${P}:8-9`,
      by: "ann",
      atUnixMs: 5,
    });
  });

  it("by the policy, as the stated loss of a failover, does too: it must not be asked for afterwards", () => {
    const next = forgoing(state, {}, set(`${P}:1-7`), 5, loss(`${P}:8-9`));
    expect(next.forgone).toEqual({ gtids: `${P}:8-9`, by: "policy.loss", atUnixMs: 5 });
  });

  it("stays whose it was when a later failover gives up nothing", () => {
    const before = { ...state, forgone: { gtids: `${P}:8-9`, by: "ann", atUnixMs: 1 } };
    expect(forgoing(before, {}, set(`${P}:1-7`), 5, loss("")).forgone).toEqual(before.forgone);
  });

  it("ends where an opened node holds it: a server that lost its tail uses the same GTIDs again", () => {
    const before = { ...state, forgone: { gtids: `${P}:8-9`, by: "ann", atUnixMs: 1 } };
    expect(forgoing(before, {}, set(`${P}:1-8`), 5).forgone).toEqual({
      gtids: `${P}:9`,
      by: "ann",
      atUnixMs: 1,
    });
    expect(forgoing(before, {}, set(`${P}:1-9`), 5)).not.toHaveProperty("forgone");
  });
});
