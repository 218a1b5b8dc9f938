import type { NodeStatus, ReplicaStatus, SemiSyncStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import {
  answersAlone,
  primarySemiSyncFaults,
  replicaSemiSyncFaults,
  waitingThoughHeld,
  whyStopped,
} from "./repair.ts";

const uuid = "11111111-0000-0000-0000-000000000000";
const pen = { acks: 1, timeoutMs: null };
const channel: ReplicaStatus = {
  sourceHost: "h1",
  sourcePort: 3306,
  sourceUuid: uuid,
  receiver: "on",
  receiverErrno: 0,
  receiverError: "",
  heardAgeMs: 50,
  applier: "on",
  applierErrno: 0,
  applierError: "",
  received: `${uuid}:1-10`,
  autoPosition: true,
  delayMs: 0,
};
const semi: SemiSyncStatus = {
  source: true,
  sourceActive: true,
  acks: 1,
  timeoutMs: 4_294_967_295,
  waitNoReplica: true,
  afterSync: true,
  clients: 2,
  waiting: 0,
  replica: false,
  replicaActive: false,
};
const status = (more: Partial<NodeStatus> = {}): NodeStatus => ({
  serverUuid: uuid,
  serverId: 1,
  version: "9.7.4",
  flavour: "mysql",
  startedUnixS: 100,
  readOnly: true,
  superReadOnly: true,
  gtidMode: true,
  executed: `${uuid}:1-10`,
  relayLogRecovery: false,
  replica: null,
  semiSync: null,
  ...more,
});

describe("why replication stands still", () => {
  it.each<[string, Partial<ReplicaStatus>, boolean, string | null]>([
    ["nothing stands still", {}, false, null],
    ["a person stopped it", { receiver: "off", applier: "off" }, false, "replication-stopped by a person"],
    ["it stands still since a restart", { receiver: "off", applier: "off" }, true, "replication-stopped"],
    [
      "a person stopped it while it tried to connect",
      { receiver: "off", receiverErrno: 2003 },
      false,
      "replication-stopped by a person",
    ],
    [
      "a person stopped it after its applier had failed",
      { receiver: "off", applier: "off", applierErrno: 1205 },
      false,
      "replication-stopped by a person",
    ],
    [
      "the source has purged what it lacks",
      { receiver: "off", receiverErrno: 13114 },
      true,
      "replication-error by a person",
    ],
    [
      "its connection was cut while it queued an event",
      { receiver: "off", receiverErrno: 13_122 },
      false,
      "replication-error",
    ],
    [
      "its connection was cut while semi-sync answered",
      {
        receiver: "off",
        receiverErrno: 13_117,
        receiverError: "Fatal error: Failed to run 'after_read_event' hook",
      },
      false,
      "replication-error",
    ],
    [
      "it has its source's server id",
      { receiver: "off", receiverErrno: 13_117, receiverError: "Fatal error: equal MySQL server ids" },
      false,
      "replication-error by a person",
    ],
    ["its applier was killed", { applier: "off", applierErrno: 1756 }, false, "replication-error"],
    ["locks outlasted the retries", { applier: "off", applierErrno: 1205 }, false, "replication-error"],
    ["a row is there twice", { applier: "off", applierErrno: 1062 }, false, "replication-error by a person"],
  ])("%s", (_, more, excused, expected) => {
    const found = whyStopped({ ...channel, ...more }, excused);
    expect(found === null ? null : `${found.code}${found.startable ? "" : " by a person"}`).toBe(expected);
  });
});

describe("semi-sync settings", () => {
  it("a primary's: each that is wrong is named", () => {
    expect(primarySemiSyncFaults(semi, pen)).toEqual([]);
    const all = { ...semi, acks: 2, timeoutMs: 10_000, waitNoReplica: false, afterSync: false };
    expect(primarySemiSyncFaults(all, pen)).toHaveLength(4);
    expect(answersAlone(status({ semiSync: semi }), false)).toBe(false);
    expect(answersAlone(status({ semiSync: { ...semi, sourceActive: false } }), false)).toBe(true);
    expect(answersAlone(status({ semiSync: null }), false)).toBe(false);
  });

  it("a replica's: both roles, and one that receives without acknowledging", () => {
    const of = (more: Partial<SemiSyncStatus>) =>
      replicaSemiSyncFaults(
        status({
          replica: channel,
          semiSync: { ...semi, source: false, replica: true, replicaActive: true, ...more },
        }),
      );
    expect(of({})).toEqual([]);
    expect(of({ source: true })).toHaveLength(1);
    expect(of({ replica: false })).toHaveLength(1);
    expect(of({ replicaActive: false })).toEqual(["receives without acknowledging"]);
  });
});

describe("commits that wait though enough replicas hold them", () => {
  const waiting = status({ readOnly: false, semiSync: { ...semi, waiting: 1 } });
  const holder = status({ replica: { ...channel, received: `${uuid}:1-11` } });
  const without = status({ replica: channel });

  it("are named, and nothing else is", () => {
    expect(waitingThoughHeld(waiting, [holder, without], 1)?.toString()).toBe(`${uuid}:11`);
    expect(waitingThoughHeld(waiting, [holder, without], 2)).toBeNull();
    expect(waitingThoughHeld(waiting, [without, without], 1)).toBeNull();
    expect(waitingThoughHeld(status({ semiSync: semi }), [holder, holder], 1)).toBeNull();
    // Too few are attached: it is plain why they wait.
    const alone = status({ semiSync: { ...semi, waiting: 1, clients: 0 } });
    expect(waitingThoughHeld(alone, [holder, holder], 1)).toBeNull();
  });
});
