/** The commands against a real cluster with a real Baton over it. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandReply } from "@baton/contracts";
import { type Lab, startLab } from "@baton/lab";
import { loadConfig } from "@baton/runtime";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type System, startSystem, writeConfig } from "../system.ts";

const MAIN = join(import.meta.dirname, "../main.ts");
const WITHIN = { timeout: 90_000, interval: 100 };

let lab: Lab;
let system: System;
let dir: string;
let file: string;

function baton(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { ...process.env, NO_COLOR: "1" };
  return new Promise((done) => {
    execFile(process.execPath, [MAIN, ...args], { env, cwd: dir, timeout: 60_000 }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    );
  });
}

async function statusOfShop(): Promise<CommandReply<"status">["clusters"][number]> {
  const { clusters } = await (await system.bus()).command("status", { cluster: "shop" });
  return clusters[0]!;
}

interface Loose {
  mysql: Record<string, unknown>;
  nats: Record<string, unknown>;
  clusters: Record<string, { nodes: Record<string, { host: string; port: number }>; policy?: object }>;
}

/** A configuration like ours but for what `change` does to it. */
function variant(name: string, change: (config: Loose) => void): string {
  const config = JSON.parse(readFileSync(file, "utf8"));
  change(config);
  const path = join(dir, name);
  writeFileSync(path, JSON.stringify(config));
  return path;
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "baton-cli-commands-"));
  lab = await startLab();
  file = await writeConfig(dir, {
    nats: { url: lab.nats.urls },
    mysql: { ...lab.accounts.baton, replication: lab.accounts.repl },
    clusters: { shop: lab.clusterDeclaration() },
  });
  system = await startSystem({ config: loadConfig({ file, env: {} }).config, file });
  await system.ready(60_000);
  await vi.waitFor(async () => expect((await statusOfShop()).failover.possible).toBe(true), WITHIN);
});

afterAll(async () => {
  await system?.stop();
  await lab?.stop();
  rmSync(dir, { recursive: true, force: true });
});

test("check finds the lab fit for a failover", async () => {
  const outcome = await baton("check", "-c", file);
  expect(outcome.stdout).toContain("Fit for a failover");
  expect(outcome.stdout).toMatch(/^[✔!] shop\.n1 {2}127\.0\.0\.1:\d+ {2}\S+ {2}writable$/m);
  expect(outcome).toMatchObject({ code: 0, stderr: "" });
});

test("check names wrong credentials, a node that is not there and a NATS that is none", async () => {
  const wrong = variant("wrong.yaml", (config) => {
    config.mysql.password = "no";
    config.clusters.shop!.nodes.n3!.port = 1;
    config.nats.url = [`nats://127.0.0.1:${lab.node("n1").port}`];
  });
  const { code, stdout } = await baton("check", "-c", wrong, "--json");
  expect(code).toBe(1);
  const { fit, findings } = JSON.parse(stdout);
  expect(fit).toBe(false);
  expect(findings.map((f: { code: string; place: string }) => `${f.place} ${f.code}`).sort()).toEqual([
    "nats E_NATS_UNREACHABLE",
    "shop.n1 E_NODE_AUTH",
    "shop.n2 E_NODE_AUTH",
    "shop.n3 E_NODE_UNREACHABLE",
  ]);
});

test("check names a setting that a failover would break on, and the statement that mends it", async () => {
  const n2 = lab.node("n2");
  await n2.query("SET PERSIST super_read_only = OFF");
  try {
    const { code, stdout } = await baton("check", "-c", file);
    expect(stdout).toMatch(
      /^ {4}E_NODE_SETTING {2}super_read_only .*OFF, not ON\.\n.*\n {6}SET PERSIST\S* super_read_only = ON$/m,
    );
    expect(code).toBe(1);
  } finally {
    await n2.query("SET GLOBAL super_read_only = ON; RESET PERSIST IF EXISTS super_read_only");
  }
});

test("check finds a node without GTIDs, and two servers that nobody joined", async () => {
  const loose = await startLab({
    nodes: 2,
    natsServers: 0,
    replication: false,
    mysqldArgs: { n2: ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"] },
  });
  try {
    const config = variant("loose.yaml", (c) => {
      c.clusters = { shop: loose.clusterDeclaration() };
    });
    const { code, stdout } = await baton("check", "-c", config, "--json");
    expect(code).toBe(1);
    const findings = JSON.parse(stdout).findings as { code: string; place: string; found: string }[];
    const said = findings.map((f) => `${f.place} ${f.code} ${f.found}`);
    expect(said).toContain("shop.n2 E_NODE_NO_GTID gtid_mode is not ON.");
    expect(said).toContain("shop E_NODE_SETTING n1 and n2 are all writable.");
    expect(said.filter((line) => line.includes("gtid_mode"))).toHaveLength(1);
  } finally {
    await loose.stop();
  }
});

test("apply says what it changes, and changes it once", async () => {
  expect(await baton("apply", "-c", file)).toEqual({ code: 0, stdout: "= shop unchanged\n", stderr: "" });
  const more = variant("more.yaml", (config) => {
    config.clusters.shop!.policy = { deadlines: { openMs: 6_000 } };
    config.clusters.blog = {
      nodes: { b1: { host: "127.0.0.1", port: 1 }, b2: { host: "127.0.0.1", port: 2 } },
    };
  });
  const added = "+ blog added\n~ shop changed\n    policy.deadlines.openMs: 5000 → 6000\n";
  // Nobody answers there: that is written only when a person insists.
  const refused = await baton("apply", "-c", more);
  expect(refused).toMatchObject({ code: 1, stdout: expect.stringContaining(`${added}Nothing is written`) });
  expect(refused.stderr).toContain("E_NODE_UNREACHABLE");
  const forced = await baton("apply", "-c", more, "--force");
  expect(forced).toMatchObject({ code: 0, stdout: expect.stringContaining(added) });
  expect((await baton("apply", "-c", file)).stdout).toBe(
    "~ shop changed\n    policy.deadlines.openMs: 6000 → 5000\n! blog is still declared in NATS; baton apply --prune takes it out\n",
  );
  expect((await baton("apply", "-c", file, "--prune")).stdout).toBe("= shop unchanged\n- blog removed\n");
});

test("status: every node, and whether a failover would succeed", async () => {
  await vi.waitFor(async () => expect((await statusOfShop()).diagnosis.code).toBe("healthy"), WITHIN);
  const { code, stdout, stderr } = await baton("status", "-c", file);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const lines = stdout.split("\n");
  expect(lines[0]).toBe("● shop  healthy  epoch 1");
  expect(lines[1]).toMatch(/^ {2}n1 {2}primary {2}writable +127\.0\.0\.1:\d+ {2}local {2}9\./);
  expect(lines[2]).toMatch(/^ {2}n2 {2}replica {2}read-only {2}\S.* 127\.0\.0\.1:\d+ {2}local {2}9\./);
  expect(lines[4]).toMatch(/^ {2}✔ a failover would succeed now, to n[23]$/);
  expect(lines[5]).toMatch(/^ {2}watched by 1 prober: prober-1 \(local, .* ago\)$/);

  const json = JSON.parse((await baton("status", "shop", "--json", "--nats", lab.nats.urls[0]!)).stdout);
  expect(json.clusters[0]).toMatchObject({ cluster: "shop", primary: "n1", epoch: 1 });
});

test("an unknown cluster or operation is one line and exit code 1", async () => {
  const cluster = await baton("status", "nope", "-c", file);
  expect(cluster.stderr).toMatch(/^E_NOT_FOUND at .*"nope"/);
  expect(cluster).toMatchObject({ code: 1, stdout: "" });
  const operation = await baton("history", "nope", "-c", file);
  expect(operation.stderr).toMatch(/^E_NOT_FOUND at /);
  expect(operation).toMatchObject({ code: 1, stdout: "" });
});

test("after a failover the history tells it, step by step", async () => {
  const writer = lab.writer();
  await vi.waitFor(() => expect(writer.acknowledged()).toBeGreaterThan(100), WITHIN);
  writer.fault(lab.node("n1").killNow());
  await writer.recovered(60_000);
  await vi.waitFor(
    async () => expect(await statusOfShop()).toMatchObject({ epoch: 2, phase: "steady" }),
    WITHIN,
  );
  expect((await writer.stop()).lost).toEqual([]);

  await vi.waitFor(async () => {
    const list = await baton("history", "-c", file, "--cluster", "shop");
    expect(list.stdout).toMatch(/ shop +failover n1 +2 +completed +\S+ m?s +failover-shop-/);
  }, WITHIN);
  const list = await baton("history", "-c", file);
  expect(list.stdout).toMatch(/ adopt n1 +1 +completed /);
  const id = /failover-shop-\S+/.exec(list.stdout)?.[0] as string;

  const { stdout, stderr, code } = await baton("history", id, "-c", file);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const order = ["diagnosis", "intent", "claim", "fence", "read", "choose", "catch-up", "commit", "open"].map(
    (what) => stdout.search(new RegExp(`^ +\\+\\S+ m?s +${what} `, "m")),
  );
  expect(order).not.toContain(-1);
  expect(order).toEqual([...order].sort((a, b) => a - b));
  expect(stdout).toMatch(/primary-dead/);
  expect(stdout).toMatch(/prober-1 \(local\) finds it dead: /);
  expect(stdout).toMatch(/[0-9a-f]{8}-[0-9a-f-]{27}:1-\d+/);

  const json = JSON.parse((await baton("history", "last", "-c", file, "--json")).stdout);
  expect(json.records.length).toBeGreaterThan(3);
});

test("switchover: the plan alone, a wrong name, and the whole of it", async () => {
  // n1 was killed before; it comes home with an empty data directory, whatever it had in its binlog.
  await lab.node("n1").reseed();
  await vi.waitFor(async () => expect((await statusOfShop()).diagnosis.code).toBe("healthy"), WITHIN);
  const { primary, epoch } = await statusOfShop();
  const dry = await baton("switchover", "shop", "--dry-run", "-c", file);
  expect(dry, dry.stdout).toMatchObject({ code: 0, stderr: "" });
  expect(dry.stdout).toContain(`${primary} → `);
  expect((await statusOfShop()).epoch).toBe(epoch);

  const wrong = await baton("switchover", "shop", "--to", "n22", "-c", file);
  expect(wrong.code).toBe(1);
  expect(wrong.stderr).toMatch(/^E_NOT_FOUND at .*Did you mean n2\?/);
  expect((await baton("switchover", "-c", file)).code).toBe(2);

  const to = primary === "n2" ? "n1" : "n2";
  const done = await baton("switchover", "shop", "--to", to, "--json", "-c", file);
  expect(done).toMatchObject({ code: 0, stderr: "" });
  const report = JSON.parse(done.stdout);
  expect(report).toMatchObject({ from: primary, to, outcome: "completed", code: null });
  expect(report.closed_ms).toBeGreaterThan(0);
  expect(report.steps.map((s: { step: string }) => s.step)).toEqual(
    expect.arrayContaining(["claim", "preflight", "freeze", "read", "commit", "open", "announce"]),
  );
  expect(await statusOfShop()).toMatchObject({ primary: to, epoch: epoch + 1 });
});
