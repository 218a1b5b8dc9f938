import { expect, test } from "vitest";
import { cluster, diagnosis, node } from "../view/views.testkit.ts";
import { notWhole } from "./stage.ts";

const primary = node("n1", { role: "primary", writable: true, delayMs: null });

test("a cluster is whole when every node has its part and is in step, and a failover would succeed", () => {
  expect(notWhole(cluster())).toBe(null);
});

test.each([
  ["the cluster is not adopted yet", { phase: null }],
  ["op-1 is running", { phase: "mending" as const, operation: "op-1" }],
  ["n2 is quarantined", { nodes: [primary, node("n2", { quarantined: true })] }],
  ["n2 is refused", { nodes: [primary, node("n2", { outcome: "refused" })] }],
  ["n2 is not seen yet", { nodes: [primary, node("n2", { outcome: null })] }],
  ["n2 does not follow n1", { nodes: [primary, node("n2", { role: "detached" })] }],
  ["n2 is 8.00 s behind", { nodes: [primary, node("n2", { delayMs: 8_000 })] }],
  ["n2: errant-gtid", { nodes: [primary, node("n2", { problems: ["errant-gtid"] })] }],
  ["it is warm", { diagnosis: diagnosis({ code: "warming-up", summary: "it is warm" }) }],
  [
    "a failover would not succeed: no acker",
    { failover: { possible: false, candidate: null, refusal: null, reason: "no acker" } },
  ],
])("%s", (missing, o) => {
  expect(notWhole(cluster(o))).toBe(missing);
});
