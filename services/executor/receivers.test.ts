/**
 * The fence on real servers, whose addresses lead elsewhere than the names say. Expectation: only the server that the state names is
 * shut as the old primary, and a server has one voice, however many names lead to it.
 */

import { DeclaredCluster, type Intent } from "@baton/contracts";
import { dialectFor, GtidSet, openSession } from "@baton/mysql";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { type Lab, startLab } from "../../lab/index.ts";
import { shut } from "./fence-primary.ts";
import { SessionHand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { type Fence, fence } from "./receivers.ts";

let lab: Lab;
const hands: SessionHand[] = [];
const uuids = new Map<string, string>();
beforeAll(async () => {
  lab = await startLab({ natsServers: 0 });
  for (const { name } of lab.nodes) uuids.set(name, await uuidOf(name));
});
afterEach(async () => {
  for (const hand of hands.splice(0)) await hand.release();
  for (const name of ["n2", "n3"]) await lab.node(name).query("START REPLICA");
});
afterAll(() => lab?.stop());

async function uuidOf(name: string): Promise<string> {
  const [row] = await lab.node(name).query<{ u: string }>("SELECT @@server_uuid u");
  return row!.u;
}

/** `leadsTo`: at whose address a name is found, where it is not its own. */
function operation(
  primaryUuid: string,
  leadsTo: Record<string, string> = {},
  o: { diagnosis?: Intent["diagnosis"]; away?: string } = {},
): Operation {
  const taken = new Map<string, Promise<SessionHand>>();
  const ledger = new Map(
    ["n2", "n3"].map((node) => {
      const serverUuid = uuids.get(leadsTo[node] ?? node);
      return [node, { cluster: "shop", node, serverUuid, startedUnixS: 0, held: "" }];
    }),
  );
  const take = async (name: string) => {
    const session = await openSession(lab.node(leadsTo[name] ?? name), lab.accounts.baton, {
      connectTimeoutMs: 5_000,
      name: "baton-test",
    });
    const hand = await SessionHand.take(name, dialectFor(session.version), session, 5_000, (s) =>
      s.destroy(),
    );
    hands.push(hand);
    return hand;
  };
  return {
    cluster: "shop",
    declared: DeclaredCluster.parse({
      cluster: "shop",
      nodes: { n1: { host: "h" }, n2: { host: "h" }, n3: { host: "h" } },
      policy: { acks: 1, deadlines: { fenceMs: 5_000 } },
    }),
    intent: { kind: "failover", diagnosis: o.diagnosis ?? "primary-dead", nodes: {} } as unknown as Intent,
    state: { primaryUuid },
    ports: { vouches: () => ledger, now: () => performance.now() },
    assertMine: () => undefined,
    noteWritable: async () => undefined,
    hand: (name: string) => {
      if (name === o.away) return Promise.reject(new Error(`${name} is away`));
      const hand = taken.get(name) ?? take(name);
      taken.set(name, hand);
      return hand;
    },
    helper: async () => {
      throw new Error("nobody is to be shut here");
    },
  } as unknown as Operation;
}

/** Ends only when the old primary's address has been asked, too. */
async function fenced(op: Operation): Promise<Fence> {
  let asked: Promise<unknown> = Promise.resolve();
  const result = await fence(op, ["n2", "n3"], "n1", false, GtidSet.empty, (hand, deadlineMs) => {
    const closed = shut(op, hand, deadlineMs, () => false, op.state.primaryUuid);
    asked = closed.catch(() => undefined);
    return closed;
  });
  await op.hand("n1", 5_000);
  await asked;
  return result;
}

it("another server at the old primary's address is neither shut nor counted as fenced", async () => {
  const gone = "ffffffff-0000-0000-0000-000000000009";
  const op = operation(gone);
  // It answers before the others, so that it is asked: later than the fence nobody is.
  await op.hand("n1", 5_000);
  const result = await fenced(op);
  expect([...result.stopped.keys()].sort()).toEqual(["n2", "n3"]);
  expect(result.primary).toBeNull();
  await expect.poll(() => result.failed.get("n1")).toContain("another server answers");
  expect(result.failed.get("n1")).toContain(gone);
  const [row] = await lab.node("n1").query("SELECT @@GLOBAL.read_only ro, @@GLOBAL.super_read_only sro");
  expect(row).toEqual({ ro: 0, sro: 0 });
});

it("one server behind two names has one voice, which is too few", async () => {
  const op = operation(await uuidOf("n1"), { n1: "n2", n3: "n2" });
  await expect(fenced(op)).rejects.toMatchObject({
    code: "ackers-unreachable",
    // Nobody knew before that it is one: under each name it takes its lock, perhaps from itself.
    message: expect.stringMatching(/^[01] of 2 ackers could be stopped, 2 are needed/),
  });
});

it("a closed primary fences itself and knows all that it acknowledged; one that has lost history does not", async () => {
  const n1 = lab.node("n1");
  await n1.query("SET GLOBAL rpl_semi_sync_source_enabled=OFF; SET GLOBAL super_read_only=ON");
  try {
    const uuid = await uuidOf("n1");
    const result = await fenced(operation(uuid, {}, { away: "n3" }));
    expect(result.primary?.status.serverUuid).toBe(uuid);
    for (const hand of hands.splice(0)) await hand.release();
    await lab.node("n2").query("START REPLICA");
    const forgetful = operation(uuid, {}, { away: "n3", diagnosis: "primary-lost-history" });
    await expect(fenced(forgetful)).rejects.toMatchObject({ code: "ackers-unreachable" });
  } finally {
    await n1.query("SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF");
  }
});
