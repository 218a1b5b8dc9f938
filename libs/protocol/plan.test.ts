import { DeclaredCluster, type NodeStatus, type Vouch } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ackersToStop, isFenced } from "./fence.ts";
import { type PlanFacts, planFailover } from "./plan.ts";
import { canVouch, nextVouch } from "./vouch.ts";

const P = "aaaaaaaa-0000-0000-0000-000000000001";

function status(
  n: number,
  received: string,
  executed = received,
  more: Partial<NodeStatus> = {},
): NodeStatus {
  return {
    serverUuid: `bbbbbbbb-0000-0000-0000-00000000000${n}`,
    serverId: n,
    version: "9.7.4",
    flavour: "mysql",
    startedUnixS: 1_000,
    readOnly: true,
    superReadOnly: true,
    gtidMode: true,
    executed,
    relayLogRecovery: false,
    replica: {
      sourceHost: "h1",
      sourcePort: 1,
      sourceUuid: P,
      receiver: "on",
      receiverErrno: 0,
      receiverError: "",
      heardAgeMs: 10,
      applier: "on",
      applierErrno: 0,
      applierError: "",
      received,
      autoPosition: true,
      delayMs: 0,
    },
    semiSync: null,
    ...more,
  };
}

/** As if the ledger had seen each of them whole. */
function ledger(statuses: Record<string, NodeStatus>): Map<string, Vouch> {
  return new Map(
    Object.entries(statuses).map(([node, { serverUuid, startedUnixS }]) => [
      node,
      { cluster: "shop", node, serverUuid, startedUnixS, held: "" },
    ]),
  );
}

function facts(
  nodes: number,
  acks: number,
  reachable: Record<string, NodeStatus>,
  more: Partial<PlanFacts> = {},
): PlanFacts {
  const declared = DeclaredCluster.parse({
    cluster: "shop",
    nodes: Object.fromEntries(Array.from({ length: nodes }, (_, i) => [`n${i + 1}`, { host: `h${i + 1}` }])),
    policy: { acks },
  });
  return {
    declared,
    primary: "n1",
    quarantined: [],
    statuses: new Map(Object.entries(reachable)),
    primaryExecuted: GtidSet.empty,
    vouches: ledger(reachable),
    ...more,
  };
}

describe("the N−k+1 rule", () => {
  it("holds for every N and k: any k ackers share a member with the stopped", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), (n, k) => {
        fc.pre(k <= n);
        const stopped = ackersToStop(n, k);
        return stopped + k > n && n - stopped < k && (stopped === 0 || stopped - 1 + k <= n);
      }),
    );
  });
  it("is not needed when the old primary itself confirms", () => {
    expect(isFenced({ ackers: 2, acks: 1, stopped: 0, primaryFenced: true })).toBe(true);
    expect(isFenced({ ackers: 2, acks: 1, stopped: 1, primaryFenced: false })).toBe(false);
  });
});

describe("planFailover", () => {
  it("is possible with all ackers of N=2, k=1", () => {
    expect(planFailover(facts(3, 1, { n2: status(2, `${P}:1-5`), n3: status(3, `${P}:1-5`) }))).toMatchObject(
      {
        possible: true,
        candidate: "n2",
      },
    );
  });
  it("refuses N=2, k=1 with one replica away", () => {
    expect(planFailover(facts(3, 1, { n3: status(3, `${P}:1-5`) }))).toMatchObject({
      possible: false,
      refusal: "ackers-unreachable",
    });
  });
  it("tolerates one replica away with N=4, k=2", () => {
    const up = { n2: status(2, `${P}:1-5`), n3: status(3, `${P}:1-6`), n4: status(4, `${P}:1-6`) };
    expect(planFailover(facts(5, 2, up))).toMatchObject({ possible: true, candidate: "n3" });
  });
  it("takes one server behind two addresses for one voice, and the primary behind a second one for none", () => {
    const twin = status(3, `${P}:1-5`, `${P}:1-5`, { serverUuid: status(2, "").serverUuid });
    const twice = planFailover(facts(3, 1, { n2: status(2, `${P}:1-5`), n3: twin }));
    expect(twice).toMatchObject({ possible: false, refusal: "ackers-unreachable" });
    expect(twice.reason).toContain("n3 is the same server as n2");
    const itself = status(3, `${P}:1-5`, `${P}:1-5`, { serverUuid: P });
    const primary = status(1, `${P}:1-5`, `${P}:1-5`, { serverUuid: P, replica: null });
    expect(
      planFailover(facts(3, 1, { n1: primary, n2: status(2, `${P}:1-5`), n3: itself })).reason,
    ).toContain("n3 is the same server as n1");
    const four = {
      n2: status(2, `${P}:1-5`),
      n3: twin,
      n4: status(4, `${P}:1-5`),
      n5: status(5, `${P}:1-5`),
    };
    expect(planFailover(facts(5, 2, four))).toMatchObject({
      possible: true,
      notChosen: expect.arrayContaining([
        { node: "n3", reason: expect.stringContaining("the same server as n2") },
      ]),
    });
  });
  it("does not count a quarantined node as an acker", () => {
    const up = { n2: status(2, `${P}:1-5`), n4: status(4, `${P}:1-5`) };
    expect(planFailover(facts(4, 1, up, { quarantined: ["n3"] }))).toMatchObject({
      possible: true,
      candidate: "n2",
    });
  });
  it("refuses when an acker lost what the ledger saw it hold", () => {
    const lost: Vouch = { cluster: "shop", node: "n3", serverUuid: "x", startedUnixS: 1, held: `${P}:1-9` };
    const plan = planFailover(
      facts(
        3,
        1,
        { n2: status(2, `${P}:1-5`), n3: status(3, `${P}:1-5`) },
        { vouches: new Map([["n3", lost]]) },
      ),
    );
    expect(plan).toMatchObject({ possible: false, refusal: "acker-cannot-vouch" });
  });
});

describe("the vouch ledger", () => {
  const held = GtidSet.parse(`${P}:1-100`);
  const whole = { required: GtidSet.parse(`${P}:1-50`) };
  const first = () => nextVouch("shop", "n2", status(2, `${P}:1-50`), held, undefined, whole) as Vouch;
  it("gives no word to a replica that it does not know", () => {
    expect(canVouch(status(2, `${P}:1-50`), undefined).canVouch).toBe(false);
    const up = { n2: status(2, `${P}:1-5`), n3: status(3, `${P}:1-5`) };
    expect(planFailover(facts(3, 1, up, { vouches: ledger({ n2: up.n2 }) }))).toMatchObject({
      possible: false,
      refusal: "acker-cannot-vouch",
    });
  });
  it("knows a replica only once it holds what was executed when it was first seen", () => {
    const behind = status(2, `${P}:1-49`);
    expect(nextVouch("shop", "n2", behind, held, undefined)).toBeNull();
    expect(nextVouch("shop", "n2", behind, held, undefined, whole)).toBeNull();
    expect(canVouch(status(2, `${P}:1-50`), first()).canVouch).toBe(true);
  });
  it("gives no word to a replica restarted with relay_log_recovery on, until it is whole again", () => {
    const before = first();
    // It had acknowledged 51 to 60 since the ledger saw it.
    const required = GtidSet.parse(`${P}:1-60`);
    const restarted = (last: number) =>
      status(2, `${P}:1-${last}`, `${P}:1-${last}`, { startedUnixS: 2_000, relayLogRecovery: true });
    expect(canVouch(restarted(50), before).canVouch).toBe(false);
    expect(nextVouch("shop", "n2", restarted(50), held, before, { required })).toBeNull();
    const after = nextVouch("shop", "n2", restarted(60), held, before, { required }) as Vouch;
    expect(canVouch(restarted(60), after).canVouch).toBe(true);
  });
  it("nor to another server in its place, though it holds as much as the entry", () => {
    const other = { ...status(2, `${P}:1-50`), serverUuid: "dddddddd-0000-0000-0000-000000000001" };
    expect(canVouch(other, first())).toMatchObject({
      canVouch: false,
      reason: expect.stringContaining("its data were replaced"),
    });
  });
  it("does not move to a start that holds less", () => {
    const less = status(2, `${P}:1-49`, "", { startedUnixS: 2_000 });
    expect(nextVouch("shop", "n2", less, held, first(), { required: GtidSet.empty })).toBeNull();
  });
  it("is never lowered but for a node that has left, by what is in no history", () => {
    const lost = { ...first(), held: `${P}:1-120` };
    const now = status(2, `${P}:1-90`);
    expect(nextVouch("shop", "n2", now, held, lost)).toBeNull();
    expect(nextVouch("shop", "n2", now, held, lost, { quarantined: true })).toBeNull();
    const whole = status(2, `${P}:1-100`);
    expect(nextVouch("shop", "n2", whole, held, lost)).toBeNull();
    expect(nextVouch("shop", "n2", whole, held, lost, { quarantined: true })?.held).toBe(`${P}:1-100`);
  });
  it("leaves errant transactions out", () => {
    const errant = status(2, `${P}:1-50,cccccccc-0000-0000-0000-000000000001:1`);
    expect(nextVouch("shop", "n2", errant, held, undefined, whole)?.held).toBe(`${P}:1-50`);
  });
});
