/**
 * Faults in a time that a person has set aside: the primary of a cluster in maintenance, a replica in downtime. Expectation: nothing is
 * touched and little is told until the time is up, by itself or by a command; then Baton does what there is to do.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { type Alert, BatonError, type Intent, MESSAGES, type OperationKind } from "@baton/contracts";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";

let stage: Stage;
const alerts: Alert[] = [];
let samples = 0;

beforeAll(async () => {
  stage = await startStage({ policy: { rebuild: "auto" } });
  stage.bus.subscribe(MESSAGES.alert, {}, (alert) => alerts.push(alert));
  stage.bus.subscribe(MESSAGES.sample, {}, () => {
    samples += 1;
  });
});
afterAll(async () => {
  await stage?.stop();
});
beforeEach(() => {
  alerts.length = 0;
  stage.diagnoses.length = 0;
  stage.events.length = 0;
  stage.intents.length = 0;
});

function baton(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const main = join(import.meta.dirname, "../cli/main.ts");
  const where = ["--nats", stage.lab.nats.urls.join(",")];
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1" };
  delete env.FORCE_COLOR;
  return new Promise((done) => {
    execFile(process.execPath, [main, ...args, ...where], { env, timeout: 30_000 }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    );
  });
}

const diagnosis = (code: string) =>
  stage.until(code, () => stage.diagnoses.find((d) => d.code === code) ?? null);
const told = (code: string) => alerts.filter((a) => a.code === code);

/** Orders that touch a server: who counts while one is away is only written in the state. */
const orders = () => stage.intents.filter((i) => i.kind !== "membership");

/** Long enough for every retry and rejoin to have had its chance, and for a lesser alert to be due. */
async function watchOn(): Promise<void> {
  const from = samples;
  await stage.until("forty more samples", () => (samples > from + 40 ? true : null));
}

/** An order of Baton's own that was under way when the time was set aside. */
async function late(kind: OperationKind, node: string): Promise<void> {
  const { epoch } = await stage.status();
  const { revision } = (await stage.bus.bucket("baton_state").get("shop")) as { revision: number };
  const operation = `${kind}-shop-${node}-late-${revision}`;
  const locks = stage.bus.bucket("baton_locks");
  const holder = { operation, kind, holder: "late", sinceUnixMs: Date.now() };
  const lockRevision = (await locks.create("shop", holder)) as number;
  const intent: Intent = {
    operation,
    cluster: "shop",
    kind,
    node,
    epoch,
    stateRevision: revision,
    lockRevision,
    diagnosis: "errant-gtid",
    reason: "ordered a moment before",
    decider: "late",
    candidate: null,
    nodes: {},
  };
  await stage.bus.append(MESSAGES.intent, intent, { msgId: operation });
  const ended = await stage.event("operation-ended", (e) => e.operation === operation);
  expect(ended).toMatchObject({ outcome: "rolled-back", code: "paused" });
  expect(stage.steps.filter((s) => s.operation === operation).map((s) => [s.step, s.code])).toEqual([
    ["claim", "paused"],
  ]);
  await stage.until("the lock is let go", async () => ((await locks.get("shop")) === null ? true : null));
  stage.intents.length = 0;
}

it("a cluster in maintenance: its primary's death is named and not acted on, nor is a rebuild; ended by hand, it is replaced", async () => {
  const { primary, epoch } = await stage.whole();
  const replica = ["n1", "n2", "n3"].find((n) => n !== primary) as string;
  const none = await baton("maintenance", "shop");
  expect(none).toMatchObject({ code: 2, stderr: expect.stringMatching(/^E_USAGE .*No end is given/) });
  const past = await baton("maintenance", "shop", "--until", "2020-01-01T00:00Z");
  expect(past.stderr).toMatch(/^E_USAGE at .*It would be over at 2020-01-01 00:00:00 UTC/);
  const set = await baton("maintenance", "shop", "--for", "1h", "--reason", "new disks");
  expect(set).toMatchObject({ code: 0, stderr: "" });
  expect(set.stdout).toMatch(/^shop: maintenance from .* to .*, on now\.\n/);
  const planned = await baton("maintenance", "shop", "--from", "2099-01-01T00:00Z", "--for", "1h");
  expect(planned.stderr).toContain("too far away");

  await late("rebuild", replica);
  await late("failover", primary as string);
  await stage.lab.node(primary as string).kill();
  await diagnosis("primary-dead");
  await watchOn();
  expect(orders()).toEqual([]);
  expect(told("primary-dead")).toEqual([]);
  const shown = await baton("status", "shop");
  expect(shown.stdout).toMatch(/Baton does nothing by itself: in maintenance by \S+ until .* UTC: new disks/);
  expect(await stage.status()).toMatchObject({ epoch, primary, phase: "steady" });

  const over = await baton("maintenance", "shop", "--end");
  expect(over.stdout).toMatch(/^shop: ended or taken back: /);
  await stage.event("primary-changed", (e) => e.previous === primary && e.epoch === epoch + 1);
  await stage.bringHome(primary as string);
  expect((await baton("maintenance", "shop", "--end")).stdout).toContain("not in maintenance");
});

it("a maintenance ends by itself: what stood in it is told then, and done", async () => {
  const { primary, epoch } = await stage.whole();
  await baton("maintenance", "shop", "--for", "10s");
  await stage.lab.node(primary as string).kill();
  await diagnosis("primary-dead");
  expect(orders()).toEqual([]);
  // A decider that starts in the middle knows of it.
  stage.system.program("decider-1").kill();
  await stage.event("primary-changed", (e) => e.previous === primary && e.epoch === epoch + 1, 60_000);
  const [set] = stage.events.filter((e) => e.type === "brake-changed");
  expect(set?.summary).toContain("in maintenance by");
  const begun = stage.intents.find((i) => i.kind === "failover");
  expect(begun?.operation).toBe(stage.events.find((e) => e.type === "primary-changed")?.operation);
  await stage.bringHome(primary as string);
});

it("a replica in downtime: dead or standing still it is no news and left alone; its time up, it is led home", async () => {
  const { primary } = await stage.whole();
  const [candidate, other] = ["n1", "n2", "n3"].filter((n) => n !== primary) as [string, string];
  const refused = await baton("downtime", "shop", primary as string, "--for", "1h");
  expect(refused.stderr).toMatch(/^E_CONFLICT .* is the primary: .*baton switchover shop/);
  expect((await stage.status()).failover.candidate).toBe(candidate);

  const set = await baton("downtime", "shop", candidate, "--for", "1h", "--reason", "kernel update");
  expect(set.stdout).toContain(`${candidate}: in downtime until `);
  expect(set.stdout).not.toContain("would be refused");
  expect((await stage.status()).failover).toMatchObject({ possible: true, candidate: other });
  const node = stage.lab.node(candidate);
  await late("rejoin", candidate);
  await node.kill();
  await stage.until("it is seen to be away", async () => {
    const { nodes } = await stage.status();
    return nodes.find((n) => n.node === candidate)?.problems.includes("replica-dead") ? true : null;
  });
  await watchOn();
  await node.start();
  await stage.until("it is seen to stand still", async () => {
    const { nodes } = await stage.status();
    return nodes.find((n) => n.node === candidate)?.problems.includes("replication-stopped") ? true : null;
  });
  await watchOn();
  expect(orders()).toEqual([]);
  expect(alerts.filter((a) => a.severity !== "info")).toEqual([]);
  expect((await stage.status()).diagnosis.code).toBe("healthy");
  expect((await baton("status", "shop")).stdout).toContain("in downtime until");

  expect((await baton("downtime", "shop", candidate, "--end")).stdout).toContain(`${candidate} is back`);
  await stage.event("node-rejoined", (e) => e.node === candidate);
  await stage.whole();
});

it("the primary dies: not the replica in downtime is promoted, but it counts and follows", async () => {
  const { primary } = await stage.whole();
  const [candidate, other] = ["n1", "n2", "n3"].filter((n) => n !== primary) as [string, string];
  await baton("downtime", "shop", candidate, "--for", "1h", "--reason", "kernel update");
  const writer = stage.lab.writer();
  await stage.until("writes flow", () => (writer.acknowledged() > 100 ? true : null));
  writer.fault(stage.lab.node(primary as string).killNow());
  const changed = await stage.event("primary-changed", (e) => e.previous === primary);
  expect(changed.node).toBe(other);
  const choose = stage.steps.findLast((s) => s.step === "choose");
  expect(JSON.stringify(choose?.detail.notChosen)).toContain(
    `{"node":"${candidate}","reason":"in downtime by`,
  );
  await writer.recovered(20_000);
  const report = await writer.stop();
  expect([report.lost, report.split]).toEqual([[], []]);
  await stage.bringHome(primary as string);
  await baton("downtime", "shop", candidate, "--end");
  await stage.whole();
});

it("what cannot be is answered with 409, what must wait with 423", async () => {
  const { primary } = await stage.whole();
  const replica = ["n1", "n2", "n3"].find((n) => n !== primary) as string;
  const asked = {
    "switchover to the primary": () =>
      stage.bus.command("switchover", {
        cluster: "shop",
        to: primary as string,
        dryRun: false,
        force: false,
      }),
    "rebuild of the primary": () =>
      stage.bus.command("rebuild", { cluster: "shop", node: primary as string, from: null }),
    "downtime of the primary": () =>
      stage.bus.command("downtime", {
        cluster: "shop",
        node: primary as string,
        untilUnixMs: null,
        forMs: 1_000,
        by: "ann",
        reason: "",
      }),
    "switchover while one runs": () =>
      stage.bus.command("switchover", { cluster: "shop", to: replica, dryRun: false, force: false }),
    "rebuild while one runs": () =>
      stage.bus.command("rebuild", { cluster: "shop", node: replica, from: null }),
  };
  const status = async (name: keyof typeof asked) =>
    asked[name]().then(
      () => "done",
      (error: unknown) => (error instanceof BatonError ? error.code : String(error)),
    );
  expect(await status("switchover to the primary")).toBe("E_CONFLICT");
  expect(await status("rebuild of the primary")).toBe("E_CONFLICT");
  expect(await status("downtime of the primary")).toBe("E_CONFLICT");

  // A state that an operation has claimed, whoever it is.
  const states = stage.bus.bucket("baton_state");
  const found = (await states.get("shop")) as NonNullable<Awaited<ReturnType<typeof states.get>>>;
  const operation = {
    id: "rejoin-shop-busy",
    kind: "rejoin" as const,
    node: replica,
    executor: "nobody",
    takeovers: 0,
    startedUnixMs: Date.now(),
    candidate: null,
    before: { receiverOn: [], writable: [] },
  };
  const busy = await states.update("shop", { ...found.value, phase: "mending", operation }, found.revision);
  await stage.until("the decider knows", async () =>
    (await stage.status()).phase === "mending" ? true : null,
  );
  expect(await status("switchover while one runs")).toBe("E_LOCKED");
  expect(await status("rebuild while one runs")).toBe("E_LOCKED");
  await states.update("shop", found.value, busy as number);
  await stage.whole();
  // Claimed by nobody, and locked all the same: the lock alone is enough.
  const locks = stage.bus.bucket("baton_locks");
  const holder = { operation: "rejoin-shop-busy", kind: "rejoin" as const, holder: "x", sinceUnixMs: 0 };
  const revision = (await locks.create("shop", holder)) as number;
  expect(await status("switchover while one runs")).toBe("E_LOCKED");
  expect(await status("rebuild while one runs")).toBe("E_LOCKED");
  await locks.remove("shop", revision);
});
