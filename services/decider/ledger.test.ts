/** Who is written into the vouch ledger, when, and behind which entry. */
import { describe, expect, it } from "vitest";
import type { Effect } from "./decide.ts";
import { Scene, uuid } from "./scene.testkit.ts";

const P = uuid("n1");
const entries = (effects: Effect[]) =>
  effects.flatMap((e) =>
    e.type === "vouch" ? [`${e.vouch.node}@${e.vouch.startedUnixS} ${e.vouch.held} over ${e.revision}`] : [],
  );

/** Nobody is in the ledger. */
function fresh(): Scene {
  const s = new Scene();
  s.steady();
  for (const node of ["n1", "n2", "n3"]) s.feed({ type: "vouch", node, vouch: null, revision: 2 });
  return s;
}

describe("a node that the ledger does not know", () => {
  it("is written as soon as it holds what the primary is read to have executed after it", () => {
    const s = fresh();
    // The primary was read before them.
    expect(entries(s.calm()).filter((e) => !e.startsWith("n1"))).toEqual([]);
    s.now += 600;
    expect(entries(s.sample("n1"))).toEqual([
      `n1@100 ${P}:1-10 over 0`,
      `n2@100 ${P}:1-10 over 0`,
      `n3@100 ${P}:1-10 over 0`,
    ]);
  });

  it("is not while it lacks something of that, nor when the primary is no more read", () => {
    const s = fresh();
    s.calm();
    s.replica("n3", { received: `${P}:1-9` }, "p1", { executed: `${P}:1-9`, startedUnixS: 100 });
    s.now += 600;
    expect(entries(s.sample("n1")).filter((e) => e.startsWith("n3"))).toEqual([]);
    s.now += 600;
    expect(entries(s.replica("n3", {}))).toEqual([`n3@100 ${P}:1-10 over 0`]);
    const t = fresh();
    t.calm();
    t.refused("n1");
    t.now += 600;
    for (const node of ["n2", "n3"]) t.replica(node, { receiver: "connecting" });
    expect(entries(t.effects).filter((e) => !e.startsWith("n1"))).toEqual([]);
    expect(t.orders()).toEqual([]);
    expect(t.picture.diagnosis).toMatchObject({
      code: "failover-not-possible",
      refusal: "acker-cannot-vouch",
    });
  });
});

describe("a new start", () => {
  it("takes the entry over when it holds what was executed after it was first seen, not what the entry says", () => {
    const s = new Scene();
    s.steady();
    s.calm();
    // Of what the ledger has never seen, 1 to 12 may have been acknowledged by the start before.
    const back = (last: number) =>
      s.replica("n3", { received: `${P}:1-${last}` }, "p1", {
        executed: `${P}:1-${last}`,
        startedUnixS: 200,
      });
    back(10);
    s.sample("n1", "p1", { status: s.status("n1", { executed: `${P}:1-12` }) });
    s.wait(2_100);
    expect(entries(back(11))).toEqual([]);
    expect(entries(back(12))).toEqual([`n3@200 ${P}:1-12 over 1`]);
  });
});

it("what a write is made behind is the entry that was judged, and older news does not bring it back", () => {
  const s = new Scene();
  s.steady();
  s.calm();
  s.wait(2_100);
  s.sample("n1");
  expect(entries(s.replica("n2", {}))).toEqual([`n2@100 ${P}:1-10 over 1`]);
  const vouch = { cluster: "shop", node: "n2", serverUuid: uuid("n2"), startedUnixS: 100, held: `${P}:1-10` };
  s.feed({ type: "vouch", node: "n2", vouch, revision: 9 });
  s.feed({ type: "vouch", node: "n2", vouch: { ...vouch, held: "" }, revision: 8 });
  expect(s.picture.vouches.get("n2")?.held).toBe(`${P}:1-10`);
  s.wait(2_100);
  s.sample("n1");
  expect(entries(s.replica("n2", {}))).toEqual([]);
});
