/** The gate before every opening. Nobody may go round it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DeclaredCluster } from "@baton/contracts";
import { dialectFor, GtidSet } from "@baton/mysql";
import { expect, it } from "vitest";
import type { Hand } from "./hand.ts";
import { openAgain, openWrites } from "./open.ts";
import type { Operation } from "./operation.ts";

const P = "11111111-0000-0000-0000-000000000000";
const set = (text: string) => GtidSet.parse(text);

/** `others`: what n2 and n3 hold; `mark`: what n1 must hold. */
function stage(o: { mark?: string; others?: string; loss?: boolean; quarantined?: string[] }) {
  const sent: string[] = [];
  const status = (executed: string) => ({
    serverUuid: P,
    executed,
    replica: null,
    readOnly: true,
    startedUnixS: 2,
  });
  const hand = {
    node: "n1",
    dialect: dialectFor("9.7.4"),
    run: async (sql: string | readonly string[]) => {
      sent.push(...[sql].flat());
      return [];
    },
  } as unknown as Hand;
  const op = {
    cluster: "shop",
    declared: DeclaredCluster.parse({
      cluster: "shop",
      nodes: { n1: { host: "a" }, n2: { host: "b" }, n3: { host: "c" } },
    }),
    intent: { nodes: {}, kind: "reopen" },
    required: set(o.mark ?? ""),
    state: {
      quarantined: o.quarantined ?? [],
      primaryStartedUnixS: 1,
      operation: o.loss === true ? { loss: {} } : {},
    },
    assertMine: () => undefined,
    ports: {
      openLook: async () => ({ status: async () => status(o.others ?? ""), destroy: () => undefined }),
    },
  } as unknown as Operation;
  const opened = () => sent.some((sql) => sql.includes("read_only=OFF"));
  return { op, hand, opened, status };
}

it("no other file of the services makes a node writable", () => {
  const services = join(import.meta.dirname, "..");
  const openers = readdirSync(services, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts") && !file.includes("node_modules"))
    .filter((file) => /\bopenPrimary\(/.test(readFileSync(join(services, file), "utf8")));
  expect(openers).toEqual([join("executor", "open.ts")]);
});

it("a candidate that lacks some of the mark stays closed, and the refusal names what and the way on", async () => {
  const { op, hand, opened } = stage({ mark: `${P}:1-9` });
  await expect(openWrites(op, hand, set(`${P}:1-7`))).rejects.toMatchObject({
    code: "mark-missed",
    message: expect.stringMatching(`${P}:8-9.*baton failover shop --to n1 --accept-loss '${P}:8-9'`),
  });
  expect(opened()).toBe(false);
  await openWrites(op, hand, set(`${P}:1-9`));
  expect(opened()).toBe(true);
});

it("what a failover has stated as its loss holds nobody back", async () => {
  const { op, hand, opened } = stage({ mark: `${P}:1-9`, loss: true });
  await openWrites(op, hand, set(`${P}:1-7`));
  expect(opened()).toBe(true);
});

it("a primary that has restarted stays closed while others hold more of its own than it has, beyond the mark", async () => {
  const { op, hand, opened, status } = stage({ mark: `${P}:1-5`, others: `${P}:1-8` });
  await expect(openAgain(op, hand, status(`${P}:1-7`) as never)).rejects.toMatchObject({
    code: "mark-missed",
  });
  expect(opened()).toBe(false);
  await openAgain(op, hand, status(`${P}:1-8`) as never);
  expect(opened()).toBe(true);
});

it("what a quarantined node holds of its own counts not: it is outside the history", async () => {
  const { op, hand, opened, status } = stage({ others: `${P}:1-8`, quarantined: ["n2", "n3"] });
  await openAgain(op, hand, status(`${P}:1-7`) as never);
  expect(opened()).toBe(true);
});
