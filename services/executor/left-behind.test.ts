/** When a standing applier is set back to the first relay log; that it works is asked of real servers in test/kept.test.ts. */
import type { NodeStatus } from "@baton/contracts";
import { dialectFor } from "@baton/mysql";
import { describe, expect, it } from "vitest";
import { applyReceived } from "./carry-forward.ts";
import type { Hand } from "./hand.ts";
import { takeUpLeftBehind } from "./left-behind.ts";

const P = "aaaaaaaa-0000-0000-0000-000000000001";
const d = dialectFor("9.7.4");

/** n3 has executed 1 to 5; its applier stands at `own`, and what was received before that is `previous`. */
function stage(o: { own: string; previous: string; received?: string; applier?: "on" | "off" }) {
  const said: string[] = [];
  const run = async (sql: string | readonly string[]) => {
    const each = typeof sql === "string" ? [sql] : sql;
    return each.map((text) => {
      said.push(text);
      if (text === "SHOW REPLICA STATUS") return [{ Relay_Log_File: o.own }];
      if (text === "SHOW RELAYLOG EVENTS LIMIT 1") return [{ Log_name: "relay.000001" }];
      if (text.startsWith("SHOW RELAYLOG EVENTS IN"))
        return [{ Event_type: "Format_desc" }, { Event_type: "Previous_gtids", Info: o.previous }];
      return [{ late: 0 }];
    });
  };
  const status = {
    flavour: "mysql",
    executed: `${P}:1-5`,
    replica: { applier: o.applier ?? "off", autoPosition: true, received: o.received ?? `${P}:1-9` },
  } as NodeStatus;
  return { said, status, hand: { node: "n3", dialect: d, run } as unknown as Hand };
}

const setBack = "CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=0, RELAY_LOG_FILE='relay.000001'";

describe("an applier that stands behind relay logs that it has not applied", () => {
  it.each([
    ["begins a log that knows of none before it", { own: "relay.000003", previous: "" }],
    [
      "is in a log before which more was received than is executed",
      { own: "relay.000003", previous: `${P}:1-7` },
    ],
  ])("%s: is set back", async (_, o) => {
    const { said, status, hand } = stage(o);
    expect(await takeUpLeftBehind(hand, status, 1_000)).toBe(true);
    expect(said.at(-1)).toContain(setBack);
  });
  it("is set back and by auto position again before its node is opened", async () => {
    const { said, status, hand } = stage({ own: "relay.000003", previous: "" });
    await applyReceived(hand, status, 1_000);
    const changes = said.slice(said.findIndex((sql) => sql.startsWith(setBack)) + 1);
    expect(changes.map((sql) => sql.replace(/\(.*/, ""))).toEqual([
      "START REPLICA SQL_THREAD",
      "SELECT WAIT_FOR_EXECUTED_GTID_SET",
      "STOP REPLICA",
      "CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=1",
      "START REPLICA SQL_THREAD",
    ]);
  });
});

describe("an applier is left where it is", () => {
  it.each([
    ["when it is in the first relay log", { own: "relay.000001", previous: "" }],
    ["when all that was received before its log is executed", { own: "relay.000003", previous: `${P}:1-5` }],
    ["when all is executed", { own: "relay.000003", previous: "", received: `${P}:1-5` }],
    ["when it runs", { own: "relay.000003", previous: "", applier: "on" as const }],
  ])("%s", async (_, o) => {
    const { said, status, hand } = stage(o);
    expect(await takeUpLeftBehind(hand, status, 1_000)).toBe(false);
    expect(said.filter((sql) => sql.startsWith("CHANGE"))).toEqual([]);
  });
});
