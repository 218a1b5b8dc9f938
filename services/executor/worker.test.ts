import type { Bus } from "@baton/bus";
import { LeftForLater } from "@baton/bus";
import type { Intent } from "@baton/contracts";
import { afterEach, expect, it } from "vitest";
import { Worker, type WorkerContext } from "./worker.ts";

const intent = { operation: "failover-shop-2-9", cluster: "shop", kind: "failover" } as Intent;

let worker: Worker | undefined;
afterEach(() => worker?.stop());

/** A worker on empty buckets, and what it does with an intent. */
async function withoutDeclarations(): Promise<(intent: Intent) => Promise<void>> {
  let take: (message: unknown, intent: Intent, meta: unknown) => Promise<void> = async () => undefined;
  const empty = {
    watch: async () => () => undefined,
    get: async () => null,
    create: async () => null,
  };
  const bus = {
    bucket: () => empty,
    request: async () => [],
    consume: async (_messages: unknown, _o: unknown, handler: typeof take) => {
      take = handler;
      return { stop: async () => undefined };
    },
  } as unknown as Bus;
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  worker = new Worker({
    bus,
    log: silent as unknown as WorkerContext["log"],
    instance: "executor-1",
    access: () => ({ user: "baton", password: "" }),
  });
  await worker.start();
  return (given) => take(null, given, { traceparent: null, redelivered: false });
}

it("leaves the intent of a cluster that is not declared for later, and says what declares it", async () => {
  const take = await withoutDeclarations();
  const outcome = take(intent);
  await expect(outcome).rejects.toBeInstanceOf(LeftForLater);
  await expect(outcome).rejects.toThrow(/shop is not declared, .*baton apply -c baton\.yaml/);
});
