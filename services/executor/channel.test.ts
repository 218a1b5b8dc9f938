/** Nothing else in the services changes or resets a channel, and what is kept is kept: on paper, statement by statement. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DeclaredCluster, type NodeStatus, type ReplicaStatus } from "@baton/contracts";
import { dialectFor } from "@baton/mysql";
import { describe, expect, it } from "vitest";
import { pointAt } from "./channel.ts";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

const P = "aaaaaaaa-0000-0000-0000-000000000001";
const d = dialectFor("9.7.4");

it("no other file of the services issues CHANGE REPLICATION SOURCE or RESET REPLICA", () => {
  const services = join(import.meta.dirname, "..");
  const sources = readdirSync(services, { recursive: true, encoding: "utf8" }).filter(
    (file) => file.endsWith(".ts") && !file.includes("node_modules") && !file.endsWith(".test.ts"),
  );
  expect(sources.length).toBeGreaterThan(50);
  const issuing =
    /\.(resetReplication|redirectReceiver|follow)\b|CHANGE (REPLICATION|MASTER)|RESET (REPLICA|SLAVE)/;
  const found = sources.filter((file) => {
    const code = readFileSync(join(services, file), "utf8").replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    return issuing.test(code);
  });
  expect(found).toEqual([join("executor", "channel.ts")]);
});

interface Server {
  executed: number;
  applier: "on" | "off";
  /** Its applier stops at this one. */
  stopsAt: number;
  port: number;
}

/** n3 of three nodes has received 1 to 9 from n1; `others` hold so much of it. */
function stage(server: Server, others: Record<string, number | null>) {
  const said: string[] = [];
  const replica = (): ReplicaStatus => ({
    sourceHost: "h1",
    sourcePort: server.port,
    sourceUuid: P,
    receiver: "off",
    receiverErrno: 0,
    receiverError: "",
    heardAgeMs: null,
    applier: server.applier,
    applierErrno: server.applier === "off" && server.executed === server.stopsAt ? 1062 : 0,
    applierError: "",
    received: `${P}:1-9`,
    autoPosition: true,
    delayMs: null,
  });
  const status = (): NodeStatus =>
    ({ executed: `${P}:1-${server.executed}`, replica: replica() }) as NodeStatus;
  const run = async (sql: string | readonly string[]) => {
    const each = typeof sql === "string" ? [sql] : sql;
    return each.map((text) => {
      if (!/^(SELECT|SHOW)/.test(text)) said.push(text.split(" SOURCE_")[0] as string);
      if (text === d.startApplier || text === d.startReplication) {
        server.executed = Math.max(server.executed, Math.min(9, server.stopsAt));
        server.applier = server.stopsAt < 9 ? "off" : "on";
      }
      if (text === d.channelSettings)
        return [{ host: "h1", port: server.port, user: "repl", tls: 0, autoPos: "1", ...d.channelDefaults }];
      return [{ late: 0 }];
    });
  };
  const hand = {
    node: "n3",
    dialect: { ...d, parseStatus: status },
    run,
    status: async () => status(),
  } as unknown as Hand;
  const op = {
    cluster: "shop",
    intent: {},
    state: { primary: "n1", quarantined: [] },
    declared: DeclaredCluster.parse({
      cluster: "shop",
      nodes: { n1: { host: "h1" }, n2: { host: "h2" }, n3: { host: "h3" }, n4: { host: "h4" } },
      policy: { deadlines: { catchUpMs: 10 } },
    }),
    assertMine: () => undefined,
    ports: {
      now: () => performance.now(),
      access: () => ({ user: "repl", password: "" }),
      openLook: async (_cluster: string, node: string) => {
        const held = others[node];
        if (held == null) throw new Error("it is down");
        return {
          status: async () => ({ executed: `${P}:1-${held}`, replica: null }) as unknown as NodeStatus,
          destroy: () => undefined,
        };
      },
    },
  } as unknown as Operation;
  const roles = ["ROLES"];
  return { said, point: () => pointAt(op, hand, "n1", { roles, start: "replication" }) };
}

describe("a node that has received 6 to 9 and not applied them", () => {
  const nobody = { n2: null, n4: null };
  it("is only started where it points already", async () => {
    const { said, point } = stage({ executed: 5, applier: "off", stopsAt: 9, port: 3306 }, nobody);
    expect(await point()).toBe("start");
    expect(said).toEqual(["STOP REPLICA IO_THREAD", "ROLES", "START REPLICA"]);
  });

  it("is redirected while its applier runs, which is started for it", async () => {
    const { said, point } = stage({ executed: 5, applier: "off", stopsAt: 9, port: 7 }, nobody);
    expect(await point()).toBe("redirect");
    expect(said).toEqual([
      "STOP REPLICA IO_THREAD",
      "START REPLICA SQL_THREAD",
      "ROLES",
      "CHANGE REPLICATION SOURCE TO",
      "START REPLICA",
    ]);
  });

  it("is left as it is when its applier has an error and too few others are read to hold them", async () => {
    const { said, point } = stage({ executed: 5, applier: "off", stopsAt: 7, port: 7 }, { n2: 8, n4: null });
    const error = await point().then(
      () => null,
      (e: unknown) => e as Refusal,
    );
    expect(error).toBeInstanceOf(Refusal);
    expect(error).toMatchObject({
      code: "relay-log-unapplied",
      message: expect.stringMatching(/n3 has received .*:8-9 .*n2 lacks .*:9; n4 cannot be read: start it/),
    });
    expect(said.filter((s) => s.startsWith("CHANGE"))).toEqual([]);
  });

  it("is changed when k others are read to hold them", async () => {
    const { said, point } = stage({ executed: 5, applier: "off", stopsAt: 7, port: 7 }, { n2: 9, n4: null });
    expect(await point()).toBe("change");
    expect(said.at(-2)).toBe("CHANGE REPLICATION SOURCE TO");
  });
});
