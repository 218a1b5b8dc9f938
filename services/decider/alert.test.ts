import type { Diagnosis } from "@baton/contracts";
import { expect, it } from "vitest";
import { alertAfterMs, alertFor } from "./alert.ts";

const diagnosis = (more: Partial<Diagnosis>): Diagnosis => ({
  cluster: "shop",
  code: "replica-dead",
  previous: "healthy",
  node: "n2",
  severity: "warning",
  epoch: 3,
  summary: "n2 cannot be reached",
  probers: [],
  replicas: [],
  refusal: null,
  decider: "d1",
  suspectedForMs: 0,
  ...more,
});

it("two deciders that see the same fault at the same time make one alert", () => {
  const a = alertFor(diagnosis({ decider: "d1" }), { faultWasTold: false, heldBack: null }, 1_000);
  const b = alertFor(diagnosis({ decider: "d2" }), { faultWasTold: false, heldBack: null }, 2_000);
  expect(a?.id).toBe(b?.id);
  expect(alertFor(diagnosis({ epoch: 4 }), { faultWasTold: false, heldBack: null }, 1_000)?.id).not.toBe(
    a?.id,
  );
});

it("a death is told at once, lesser faults when they have stood, and the end only to who heard of the fault", () => {
  expect(alertAfterMs(diagnosis({ code: "primary-dead", severity: "critical" }), false)).toBe(0);
  expect(alertAfterMs(diagnosis({}), false)).toBeGreaterThan(1_000);
  expect(
    alertFor(diagnosis({ code: "healthy", severity: "info" }), { faultWasTold: false, heldBack: null }, 0),
  ).toBeNull();
  expect(
    alertFor(diagnosis({ code: "healthy", severity: "info" }), { faultWasTold: true, heldBack: null }, 0)
      ?.title,
  ).toBe("shop: healthy again");
  expect(
    alertFor(diagnosis({ code: "warming-up", severity: "info" }), { faultWasTold: true, heldBack: null }, 0),
  ).toBeNull();
});

it("in a maintenance: what may cost data at once, what is critical when it stays, the rest not before it is over", () => {
  const afterMs = (code: Diagnosis["code"], severity: Diagnosis["severity"]) =>
    alertAfterMs(diagnosis({ code, severity }), true);
  expect(afterMs("replica-writable", "critical")).toBe(0);
  expect(afterMs("split-brain", "critical")).toBe(0);
  expect(afterMs("semi-sync-off", "critical")).toBe(0);
  expect(afterMs("primary-dead", "critical")).toBe(60_000);
  expect(afterMs("replica-dead", "warning")).toBeNull();
  expect(afterMs("errant-gtid", "warning")).toBeNull();
});
