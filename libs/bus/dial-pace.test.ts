/** The wall clock is set back while NATS is away. */
import type { Server } from "@nats-io/transport-node";
import { afterEach, expect, test, vi } from "vitest";
import { buses } from "./buses.testkit.ts";
import { dialPace } from "./dial-pace.ts";
import { startNats, type TestNats, until } from "./nats-server.testkit.ts";

let nats: TestNats | undefined;
const bus = buses(() => nats?.urls ?? []);

afterEach(async () => {
  vi.restoreAllMocks();
  await bus.drain();
  await nats?.stop();
  nats = undefined;
}, 30_000);

test("the connection comes back at once, though the clock says that the last dial is yet to come", async () => {
  nats = await startNats();
  const [server] = nats.servers as [TestNats["servers"][0]];
  const b = await bus("b");
  const now = Date.now.bind(Date);
  vi.spyOn(Date, "now").mockImplementation(() => now() - 3_600_000);
  await server.kill();
  await until(() => !b.connected);
  await server.start();
  await until(() => b.connected);
}, 40_000);

test("each server is dialled at once the first time, then after a pause, whatever the others do", () => {
  let nowMs = 0;
  const { reconnectToServer } = dialPace(() => nowMs);
  const dial = (listen: string): number => {
    const choice = reconnectToServer([{ listen } as Server], null);
    if (choice === null || !("delay" in choice)) throw new Error("a server is dialled after a delay");
    return choice.delay;
  };
  expect(dial("a")).toBe(0);
  expect(dial("b")).toBe(0);
  const delay = dial("a");
  expect(delay).toBeGreaterThanOrEqual(100);
  expect(delay).toBeLessThanOrEqual(200);
  nowMs = 1_000;
  expect(dial("a")).toBe(0);
});
