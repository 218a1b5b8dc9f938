/**
 * Fault: a prober is cut off, from all nodes or from the primary alone, while its way to NATS stays. Expectation: no failover.
 * The prober runs in a network namespace of its own (root, `unshare` and `ip` are needed).
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Stage, startStage } from "./stage.ts";
import { Tunnel } from "./tunnel.ts";

function canUnshare(): boolean {
  try {
    execFileSync("unshare", ["--net", "ip", "link", "set", "lo", "up"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
const able = canUnshare();

let stage: Stage;
let tunnel: Tunnel;
let far: ChildProcess;
const said: string[] = [];

beforeAll(async () => {
  if (!able) return;
  stage = await startStage();
  const natsPort = Number(new URL(stage.lab.nats.urls[0] as string).port);
  tunnel = await Tunnel.dig([natsPort, ...stage.lab.nodes.map((n) => n.port)]);
  const script = `ip link set lo up
    node test/tunnel.ts ${tunnel.dir} ${tunnel.ports.join(" ")} & inner=$!
    trap 'kill $inner $prober' EXIT TERM INT
    node services/prober/main.ts --config ${stage.configFile} --instance far & prober=$!
    wait $prober`;
  far = spawn("unshare", ["--net", "sh", "-c", script], {
    cwd: new URL("..", import.meta.url).pathname,
    env: { ...process.env, BATON_REGION: "far" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [far.stdout, far.stderr]) stream?.on("data", (text) => said.push(String(text)));
  await stage
    .until("the far prober is heard", async () =>
      (await stage.status()).probers.some((p) => p.prober === "far") ? true : null,
    )
    .catch((error) => {
      throw new Error(`${error}\n${said.join("").slice(-3_000)}`);
    });
});
afterAll(async () => {
  if (!able) return;
  far?.kill();
  await new Promise((done) =>
    far.exitCode === null && far.signalCode === null ? far.once("exit", done) : done(null),
  );
  await tunnel?.close();
  await stage?.stop();
});

it.skipIf(!able)("cut from every node it is blind: named so, and without a vote", async () => {
  for (const node of stage.lab.nodes) tunnel.cut(node.port);
  const blind = await stage.until(
    "it is named blind",
    () => stage.diagnoses.find((d) => d.code === "prober-blind") ?? null,
  );
  expect(blind.probers.find((p) => p.prober === "far")?.finds).toBe("blind");
  for (const node of stage.lab.nodes) tunnel.mend(node.port);
  await stage.whole();
  expect(stage.intents.filter((i) => i.kind === "failover")).toEqual([]);
});

it.skipIf(!able)(
  "the only prober, cut from the primary alone: the replicas' word keeps the primary its pen",
  async () => {
    const writer = stage.lab.writer();
    stage.system.program("prober-1").hang();
    await stage.until("only the far one is heard", async () =>
      (await stage.status()).probers.length === 1 ? true : null,
    );
    tunnel.cut(stage.lab.node("n1").port);
    const fine = await stage.until(
      "it is told apart",
      () => stage.diagnoses.find((d) => d.code === "primary-unreachable-replicas-fine") ?? null,
    );
    expect(fine.probers).toMatchObject([{ prober: "far", finds: "dead" }]);
    const during = writer.acknowledged();
    await stage.until("writes go on", () => (writer.acknowledged() > during + 300 ? true : null));
    expect((await stage.status()).diagnosis.code).toBe("primary-unreachable-replicas-fine");
    tunnel.mend(stage.lab.node("n1").port);
    stage.system.program("prober-1").resume();
    await stage.whole();
    expect(await stage.status()).toMatchObject({ primary: "n1", epoch: 1 });
    expect(stage.intents.filter((i) => i.kind === "failover")).toEqual([]);
    expect((await writer.stop()).lost).toEqual([]);
  },
);
