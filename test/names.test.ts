/**
 * Fault: the nodes' names cannot be resolved any more: they are gone, or the resolver hangs. Expectation: nothing happens to a
 * healthy cluster, and a dead primary is replaced all the same. Every service and every mysqld has a hosts file and a resolver
 * of the test's own (root or user namespaces, `unshare` and `mount` are needed).
 */
import { spawn } from "node:child_process";
import { MESSAGES } from "@baton/contracts";
import type { Writer } from "@baton/lab";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { killSessions } from "./negative/fault-kit.ts";
import { OwnNames, Silent, whyNoOwnNames } from "./own-names.ts";
import { type Stage, startStage } from "./stage.ts";

const unable = whyNoOwnNames();
const title = `names that are gone${unable === null ? "" : ` (skipped: ${unable})`}`;
const NODES = ["n1", "n2", "n3"];
const PROBERS = ["prober-1", "prober-2"];
const nameOf = (node: string) => `${node}.baton.test`;
const HOSTS = Object.fromEntries(NODES.map((node) => [nameOf(node), "127.0.0.1"]));
const UNKNOWN = "the name n1.baton.test cannot be resolved (EAI_AGAIN)";

let stage: Stage;
let ofBaton: OwnNames;
let ofNodes: OwnNames;
let silent: Silent;
/** A resolver that hangs needs port 53. */
let canHang = false;
let writer: Writer;
/** Samples that reach the first primary, by prober. */
const reached = new Map<string, number>();

describe.skipIf(unable !== null)(title, () => {
  beforeAll(async () => {
    ofBaton = new OwnNames(HOSTS);
    ofNodes = new OwnNames(HOSTS);
    silent = new Silent();
    canHang = await silent.listen().then(
      () => true,
      () => false,
    );
    stage = await startStage({
      lab: {
        place: (server) => ({ host: "127.0.0.1", enter: NODES.includes(server) ? ofNodes.enter : [] }),
        // In a user namespace it believes to be root, and starts only when told to stay it.
        mysqldArgs: Object.fromEntries(NODES.map((node) => [node, ["--user=root"]])),
      },
      services: { prober: 2 },
      regions: { prober: ["eu", "us"] },
      place: () => ({ enter: ofBaton.enter, env: {} }),
      hostOf: nameOf,
    });
    stage.bus.subscribe(MESSAGES.sample, {}, ({ node, prober, outcome }) => {
      if (node === "n1" && outcome === "ok") reached.set(prober, (reached.get(prober) ?? 0) + 1);
    });
    for (const node of ["n2", "n3"]) await followsByName(node);
    writer = stage.lab.writer({ connections: 2, paceMs: 20 });
  });
  afterEach(() => {
    ofBaton?.restore();
    ofNodes?.restore();
  });
  afterAll(async () => {
    await stage?.stop();
    silent?.close();
    ofBaton?.remove();
    ofNodes?.remove();
  });

  it.for(["refuses", "hangs"] as const)("the resolver %s: nothing happens", async (resolver, { skip }) => {
    if (resolver === "hangs" && !canHang) skip("port 53 cannot be listened on");
    await stage.whole();
    await undisturbed(1);
    const [orders, diagnosed] = [stage.intents.length, stage.diagnoses.length];
    ofBaton.vanish(resolver);
    expect(ofBaton.ask(nameOf("n1"))).toBe("EAI_AGAIN");
    await undisturbed(3);
    const before = await sessions();
    expect(before.length).toBeGreaterThan(4);
    await killSessions(stage, "n1", "baton");
    await stage.until("all have connected again", async () =>
      (await sessions()).filter((id) => !before.includes(id)).length >= before.length ? true : null,
    );
    await undisturbed(3);
    expect((await stage.whole()).epoch).toBe(1);
    expect(stage.intents.slice(orders), await stage.story()).toEqual([]);
    expect(stage.diagnoses.slice(diagnosed).filter((d) => d.code !== "healthy")).toEqual([]);
    if (resolver === "hangs") expect(silent.heard).toBeGreaterThan(1);
  });

  it("a prober that starts then says why it sees nothing, judges nothing, and comes right by itself", async () => {
    const orders = stage.intents.length;
    const blind = await blinded();
    expect(blind.probers).toMatchObject([
      { prober: "prober-1", finds: "alive" },
      { prober: "prober-2", finds: "blind", outcome: "error" },
    ]);
    expect(blind.summary).toContain(`prober-2 reaches no node (${UNKNOWN})`);
    expect(stage.system.logs("prober-2").some((line) => line.message.includes(UNKNOWN))).toBe(true);
    expect(await baton("check", "-c", stage.configFile)).toMatchObject({
      code: 1,
      said: expect.stringContaining(`cannot be asked (error): ${UNKNOWN}`),
    });
    if (canHang) {
      ofBaton.vanish("hangs");
      await stage.until("it is not told in time", async () =>
        (await stage.status()).diagnosis.summary.includes("n1.baton.test was not resolved within")
          ? true
          : null,
      );
    }
    ofBaton.restore();
    await stage.whole();
    await undisturbed(1);
    expect(stage.intents.slice(orders), await stage.story()).toEqual([]);
  });

  it("the primary is killed, and neither Baton nor a mysqld finds a name: it is replaced, and nothing is lost", async () => {
    const { epoch, primary } = await stage.whole();
    await blinded();
    ofNodes.vanish("refuses");
    await stage.lab.node(primary as string).kill();
    const { node: next } = await stage.event("primary-changed", (e) => e.epoch === (epoch as number) + 1);
    const other = NODES.find((node) => node !== primary && node !== next) as string;
    await stage.until("the last replica does not find its new source, and writes wait", async () => {
      const [row] = await stage.lab
        .node(other)
        .query<{ found: string }>(
          "SELECT last_error_message found FROM performance_schema.replication_connection_status",
        );
      return row?.found.includes(`Unknown MySQL server host '${nameOf(next as string)}'`) ? true : null;
    });
    ofNodes.restore();
    await answered();
    expect(ofBaton.ask(nameOf("n1"))).toBe("EAI_AGAIN");
    ofBaton.restore();
    await stage.bringHome(primary as string);
    expect(await stage.whole()).toMatchObject({ primary: next, epoch: (epoch as number) + 1 });
    const { lost, split } = await writer.stop();
    expect({ lost, split }).toEqual({ lost: [], split: [] });
  });
});

/** The lab's replicas follow an address; these need the name from the beginning, as those that Baton points do. */
async function followsByName(node: string): Promise<void> {
  const { port } = stage.lab.node("n1");
  const source = `SOURCE_HOST='${nameOf("n1")}', SOURCE_PORT=${port}, SOURCE_HEARTBEAT_PERIOD=0.2`;
  await stage.lab
    .node(node)
    .query(`STOP REPLICA IO_THREAD; CHANGE REPLICATION SOURCE TO ${source}; START REPLICA IO_THREAD`);
}

/** Resolves when clients are answered. */
async function answered(): Promise<void> {
  const before = writer.acknowledged();
  await stage.until("writes are answered", () => (writer.acknowledged() > before + 10 ? true : null));
}

/** Resolves when each prober has reached the primary so often since now, and clients were answered. */
async function undisturbed(times: number): Promise<void> {
  const before = PROBERS.map((prober) => reached.get(prober) ?? 0);
  await stage.until(`${times} more samples that reach the primary, of each prober`, () =>
    PROBERS.every((prober, i) => (reached.get(prober) ?? 0) >= (before[i] ?? 0) + times) ? true : null,
  );
  await answered();
}

/** Baton's sessions on the first primary, by their ids there. */
async function sessions(): Promise<number[]> {
  const rows = await stage.lab
    .node("n1")
    .query<{ id: number }>(
      "SELECT processlist_id id FROM performance_schema.threads WHERE processlist_user = 'baton' AND name = 'thread/sql/one_connection'",
    );
  return rows.map(({ id }) => id);
}

/** Takes the names from Baton and starts a prober anew; resolves with what is said of it. */
function blinded() {
  const from = stage.diagnoses.length;
  ofBaton.vanish("refuses");
  stage.system.program("prober-2").kill();
  return stage.until(
    "a prober is named blind",
    () => stage.diagnoses.slice(from).find((d) => d.code === "prober-blind") ?? null,
  );
}

/** The `baton` command, where Baton's services run. */
function baton(...args: string[]): Promise<{ code: number | null; said: string }> {
  const [command = "", ...before] = [...ofBaton.enter, process.execPath, "cli/main.ts", ...args];
  const child = spawn(command, before, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (text) => {
      said += text;
    });
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, said })));
}
