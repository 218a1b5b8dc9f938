/** Whom a copy is taken from: never one whose acks are needed. */
import { DeclaredCluster, type NodeStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { chooseDonor, type DonorFacts } from "./donor.ts";

const uuid = (n: number) => `${n}174b383-5441-11e8-b90a-c80aa9429562`;

function status(o: { version?: string; receiver?: "on" | "off"; source?: string } = {}): NodeStatus {
  return {
    serverUuid: "",
    serverId: 1,
    version: o.version ?? "9.7.4",
    flavour: "mysql",
    startedUnixS: 0,
    readOnly: true,
    superReadOnly: true,
    gtidMode: true,
    executed: "",
    relayLogRecovery: false,
    semiSync: null,
    replica: {
      sourceHost: "h",
      sourcePort: 1,
      sourceUuid: o.source ?? uuid(1),
      receiver: o.receiver ?? "on",
      receiverErrno: 0,
      receiverError: "",
      heardAgeMs: 0,
      applier: "on",
      applierErrno: 0,
      applierError: "",
      received: "",
      autoPosition: true,
      delayMs: 0,
    },
  };
}

/** n1 is the primary, the last node is to be rebuilt. */
function facts(nodes: number, acks: number, o: Partial<DonorFacts> = {}): DonorFacts {
  const names = Array.from({ length: nodes }, (_, i) => `n${i + 1}`);
  return {
    declared: DeclaredCluster.parse({
      cluster: "shop",
      nodes: Object.fromEntries(names.map((n) => [n, { host: n }])),
      policy: { acks },
    }),
    primary: "n1",
    primaryUuid: uuid(1),
    quarantined: [names.at(-1) as string],
    node: names.at(-1) as string,
    named: null,
    statuses: new Map(names.map((n) => [n, n === "n1" ? { ...status(), replica: null } : status()])),
    ...o,
  };
}

describe("the donor", () => {
  it("is none whose replication is filtered: a copy would lack what it lacks", () => {
    const f = facts(4, 1);
    const n2 = status();
    const filtered = { ...n2, replica: n2.replica && { ...n2.replica, filtered: true } };
    const choice = chooseDonor({ ...f, statuses: new Map([...f.statuses, ["n2", filtered]]) });
    expect(choice).toMatchObject({ ok: true, donor: "n3" });
    expect(choice.notChosen).toMatchObject([{ node: "n2", reason: expect.stringContaining("filtered") }]);
  });

  it("is a replica when k others are left to acknowledge, else the primary", () => {
    expect(chooseDonor(facts(4, 1))).toMatchObject({ ok: true, donor: "n2" });
    const choice = chooseDonor(facts(3, 1));
    expect(choice).toMatchObject({ ok: true, donor: "n1" });
    expect(choice.notChosen[0]?.reason).toContain("its acks are needed");
    expect(chooseDonor(facts(4, 2))).toMatchObject({ ok: true, donor: "n1" });
    expect(chooseDonor(facts(2, 1))).toMatchObject({ ok: true, donor: "n1" });
  });

  it("does not count replicas that stand, follow another or are quarantined", () => {
    for (const odd of [status({ receiver: "off" }), status({ source: uuid(9) })]) {
      const f = facts(4, 1);
      expect(chooseDonor({ ...f, statuses: new Map(f.statuses).set("n3", odd) })).toMatchObject({
        donor: "n1",
      });
    }
    expect(chooseDonor(facts(4, 1, { quarantined: ["n3", "n4"] }))).toMatchObject({ donor: "n1" });
  });

  it("runs the same series", () => {
    const f = facts(4, 1);
    const statuses = new Map(f.statuses).set("n2", status({ version: "9.6.0" }));
    expect(chooseDonor({ ...f, statuses: statuses.set("n4", status({ version: "9.7.1" })) })).toMatchObject({
      donor: "n3",
    });
  });

  it("that a person names is taken or refused, never replaced", () => {
    expect(chooseDonor(facts(4, 1, { named: "n3" }))).toMatchObject({ ok: true, donor: "n3" });
    expect(chooseDonor(facts(3, 1, { named: "n2" }))).toMatchObject({ ok: false });
    expect(chooseDonor(facts(4, 1, { named: "n4" }))).toMatchObject({ ok: false });
    expect(chooseDonor(facts(4, 1, { named: "n9" }))).toMatchObject({ ok: false });
  });
});
