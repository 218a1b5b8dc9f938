/** A person's failover: what it may do that Baton does not do by itself, and what it is refused. */
import type { BatonError, CommandRequest } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { Scene, uuid } from "../scene.testkit.ts";
import { planFailoverByPerson } from "./failover.ts";

const N1 = uuid("n1");
const lost = { receiver: "connecting" as const };

function ask(s: Scene, more: Partial<CommandRequest<"failover">> = {}) {
  const request = {
    cluster: "shop",
    to: null,
    dryRun: false,
    acceptLoss: null,
    acceptUnproven: false,
    by: "ann@ops1",
    ...more,
  };
  return planFailoverByPerson(s.picture, request, s.now, s.settings);
}

function calm(policy: object = {}): Scene {
  const s = new Scene(3, {}, 1, policy);
  s.steady();
  s.calm();
  s.wait(250);
  s.calm();
  return s;
}

/** The replicas hold `upTo`, and the primary was seen to hold `seen`. */
function dead(seen: number, upTo: number, policy: object = {}): Scene {
  const s = calm(policy);
  s.now += 100;
  s.sample("n1", "p1", { status: s.status("n1", { executed: `${N1}:1-${seen}` }) });
  s.refused("n1");
  const set = `${N1}:1-${upTo}`;
  for (const n of ["n2", "n3"]) s.replica(n, { ...lost, received: set }, "p1", { executed: set });
  return s;
}

describe("a failover that a person orders", () => {
  it("is made where the mode leaves it to people", () => {
    const s = dead(10, 10, { mode: "advise" });
    expect(s.orders()).toEqual([]);
    expect(ask(s).order).toMatchObject({ kind: "failover", node: "n1", byPerson: true });
    expect(ask(s).order).not.toHaveProperty("acceptLoss");
  });

  it("goes to whom the person names, also against its promotion rule", () => {
    const s = dead(10, 10, { mode: "advise" });
    const { reply, order } = ask(s, { to: "n3" });
    expect(reply.to).toBe("n3");
    expect(reply.notChosen).toEqual([{ node: "n2", reason: "n3 was named" }]);
    expect(order?.candidate).toBe("n3");
  });

  it("of a dry run orders nothing", () => {
    expect(ask(dead(10, 10, { mode: "advise" }), { dryRun: true }).order).toBeNull();
  });

  it("is refused while the primary answers, with the command that passes the role on", () => {
    expect(() => ask(calm())).toThrowError(/this is healthy/);
  });

  it("says what would be lost, and is made once exactly that is given up", () => {
    const s = dead(12, 10);
    expect(() => ask(s)).toThrowError(new RegExp(`mark-missed.*${N1}:11-12`));
    expect(() => ask(s, { acceptLoss: `${N1}:11` })).toThrowError(new RegExp(`mark-missed.*${N1}:12`));
    expect(ask(s, { acceptLoss: `${N1}:11-12` }).order).toMatchObject({
      kind: "failover",
      acceptLoss: { gtids: `${N1}:11-12`, unproven: false, by: "ann@ops1" },
    });
  });

  it("goes on with whom it reaches when too few can be asked, only when that is said, and says what is open", () => {
    const s = dead(10, 10);
    for (let i = 0; i < 12; i++) {
      s.now += 500;
      s.refused("n1");
      s.replica("n2", lost);
      s.sample("n3", "p1", { outcome: "timeout-connect", attempts: 9, silentMs: 9_000 });
    }
    expect(() => ask(s)).toThrowError(/ackers-unreachable/);
    expect(ask(s, { acceptUnproven: true })).toMatchObject({
      reply: {
        to: "n2",
        reason: expect.stringMatching(
          /needed\. Nobody proves this \(ackers-unreachable\).*n3.*shut it first/,
        ),
      },
      order: { acceptLoss: { unproven: true } },
    });
  });

  it("promotes the last of two where nobody is left to acknowledge, only when that is said, and says how", () => {
    const s = new Scene(2);
    s.steady();
    s.calm();
    s.wait(250);
    s.calm();
    for (let i = 0; i < 12; i++) {
      s.now += 500;
      s.refused("n1");
      s.replica("n2", lost);
    }
    expect(() => ask(s)).toThrowError(/too-few-ackers-left/);
    const remedyOf = () => {
      try {
        ask(s);
      } catch (error) {
        return (error as BatonError).remedy;
      }
      return "";
    };
    expect(remedyOf()).toMatch(/baton failover shop --accept-unproven; writes wait/);
    expect(ask(s, { acceptUnproven: true }).order).toMatchObject({ acceptLoss: { unproven: true } });
  });

  it("goes on without a proof of durability only when that is said", () => {
    const s = calm();
    const { semiSync } = s.status("n1");
    s.sample("n1", "p1", {
      status: s.status("n1", semiSync === null ? {} : { semiSync: { ...semiSync, sourceActive: false } }),
    });
    s.refused("n1");
    for (const n of ["n2", "n3"]) s.replica(n, lost);
    expect(() => ask(s)).toThrowError(/durability-unproven/);
    expect(ask(s, { acceptUnproven: true }).order).toMatchObject({ acceptLoss: { unproven: true } });
  });

  it("to the primary itself opens it as it is, with what it lacks given up", () => {
    const s = calm();
    for (const n of ["n1", "n2", "n3"]) s.refused(n);
    s.now += 1_000;
    const closed = { readOnly: true, superReadOnly: true, startedUnixS: 200, executed: `${N1}:1-4` };
    s.sample("n1", "p1", { status: s.status("n1", closed) });
    expect(ask(s, { to: "n1", acceptLoss: `${N1}:5-10` }).order).toMatchObject({
      kind: "reopen",
      node: "n1",
      acceptLoss: { gtids: `${N1}:5-10` },
    });
  });

  it.each([
    [{ to: "n7" }, /No node of shop is called "n7"/],
    [{ acceptLoss: "yes" }, /"yes" is no GTID set/],
    [{ acceptLoss: "" }, /"" is no GTID set/],
    [{ to: "n1" }, /n1 cannot be reached/],
  ])("with wrong input %o is refused, with the value", (more, message) => {
    expect(() => ask(dead(10, 10, { mode: "advise" }), more)).toThrowError(message);
  });
});
