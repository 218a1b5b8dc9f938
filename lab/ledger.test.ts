import { expect, test } from "vitest";
import { Ledger } from "./ledger.ts";

function acknowledged(ledger: Ledger, server: string, atMs: number): number {
  const number = ledger.send(atMs - 1);
  ledger.acknowledge(number, server, atMs);
  return number;
}

test("downtime runs from the fault to the first acknowledgement of an insert sent after it", () => {
  const ledger = new Ledger();
  acknowledged(ledger, "a", 10);
  const flying = ledger.send(99);
  ledger.fault(100);
  ledger.acknowledge(flying, "a", 101);
  expect(ledger.faults.at(-1)?.downtimeMs).toBeNull();
  acknowledged(ledger, "b", 350);
  acknowledged(ledger, "b", 360);
  expect(ledger.faults.at(-1)?.downtimeMs).toBe(250);
  expect(ledger.splits).toEqual([]);
});

test("a fault that is told late finds the acknowledgement that came meanwhile", () => {
  const ledger = new Ledger();
  acknowledged(ledger, "a", 10);
  acknowledged(ledger, "b", 130);
  acknowledged(ledger, "b", 140);
  ledger.fault(100);
  expect(ledger.faults.at(-1)?.downtimeMs).toBe(30);
});

test("an earlier server that takes an insert on after a later one acknowledged is a second pen", () => {
  const ledger = new Ledger();
  acknowledged(ledger, "a", 10);
  ledger.fault(21);
  acknowledged(ledger, "b", 100);
  const second = ledger.send(150);
  ledger.acknowledge(second, "a", 200);
  expect(ledger.splits).toEqual([{ number: second, server: "a", atMs: 200 }]);
});

test("an earlier server's answer to an insert that was under way is late, and missing if it is not in the history", () => {
  const ledger = new Ledger();
  acknowledged(ledger, "a", 10);
  const hanging = ledger.send(20);
  ledger.fault(21);
  acknowledged(ledger, "b", 100);
  ledger.acknowledge(hanging, "a", 200);
  expect(ledger.splits).toEqual([]);
  expect(ledger.late).toEqual([{ number: hanging, server: "a", atMs: 200 }]);
  expect(ledger.missing(new Set([0, 2]))).toEqual([hanging]);
});

test("a server may have the pen again after another fault, but not for an insert from before it", () => {
  const ledger = new Ledger();
  acknowledged(ledger, "a", 10);
  const hanging = ledger.send(11);
  ledger.fault(12);
  acknowledged(ledger, "b", 100);
  ledger.fault(200);
  ledger.acknowledge(hanging, "a", 201);
  expect(ledger.late).toHaveLength(1);
  acknowledged(ledger, "a", 300);
  expect(ledger.splits).toHaveLength(0);
  const stray = ledger.send(301);
  ledger.acknowledge(stray, "b", 302);
  expect(ledger.splits).toHaveLength(1);
});

test("what was acknowledged and is not present is missing; what was never acknowledged is not", () => {
  const ledger = new Ledger();
  const first = acknowledged(ledger, "a", 1);
  const second = acknowledged(ledger, "a", 2);
  ledger.send(3);
  expect(ledger.missing(new Set([first]))).toEqual([second]);
  expect(ledger.perServer()).toEqual({ a: 2 });
});
