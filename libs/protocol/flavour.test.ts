/** What the servers' flavour forbids. */
import { Policy } from "@baton/contracts";
import { expect, it } from "vitest";
import { flavourRefusal } from "./flavour.ts";

const servers = (...flavours: ("mysql" | "mariadb")[]) =>
  new Map(flavours.map((flavour, i) => [`n${i + 1}`, { flavour }]));
const lossless = { acks: 1 };

it.each([
  [lossless, servers(), null],
  [{ acks: 2 }, servers("mysql", "mysql"), null],
  [{ durability: "available" }, servers("mysql", "mysql"), null],
  [lossless, servers("mariadb", "mariadb"), null],
  [lossless, servers("mariadb", "mysql"), "mixed-flavours"],
  [{ acks: 2 }, servers("mariadb", "mariadb"), "flavour-cannot"],
  [{ durability: "available" }, servers("mariadb"), "flavour-cannot"],
  [{ onAckLoss: "degrade" }, servers("mariadb"), "flavour-cannot"],
] as const)("%j on %j: %s", (policy, statuses, refusal) => {
  expect(flavourRefusal(Policy.parse(policy), statuses)?.refusal ?? null).toBe(refusal);
});
