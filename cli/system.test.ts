import { mkdtempSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DeclaredCluster, Policy } from "@baton/contracts";
import { loadConfig } from "@baton/runtime";
import { expect, onTestFinished, test, vi } from "vitest";
import { differences } from "./declare.ts";
import {
  type ConfigInput,
  numbered,
  refusalOf,
  type SystemOptions,
  startSystem,
  writeConfig,
} from "./system.ts";

const WITHIN = { timeout: 60_000, interval: 25 };
const NONE = { prober: 0, decider: 0, executor: 0, notifier: 0, auditor: 0 };

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "baton-cli-system-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function start(o: Partial<SystemOptions>, input: ConfigInput = {}) {
  const file = await writeConfig(folder(), input);
  const { config } = loadConfig({ file, env: {} });
  const system = await startSystem({ config, file, ...o, services: { ...NONE, ...o.services } });
  onTestFinished(() => system.stop());
  return { system, file };
}

test("several instances of a service live side by side, and each comes back when it is killed", async () => {
  const exits: string[] = [];
  const { system, file } = await start({
    services: { auditor: 2, notifier: 1 },
    regions: { auditor: ["east", "west"] },
    onExit: (instance, { signal }) => exits.push(`${instance} ${signal}`),
  });
  await system.ready(60_000);
  expect(system.instances.map(({ name }) => name)).toEqual(["nats", "notifier-1", "auditor-1", "auditor-2"]);
  expect([system.presence("auditor-1")?.region, system.presence("auditor-2")?.region]).toEqual([
    "east",
    "west",
  ]);
  expect(system.presence("auditor-1")?.http).not.toBe(system.presence("auditor-2")?.http);
  expect(statSync(file).mode & 0o077).toBe(0);
  expect(system.logs("auditor-2").map(({ message }) => message)).toContainEqual(
    expect.stringMatching(/audit-2\.sqlite holds 0 records/),
  );

  const pid = system.program("auditor-2").pid;
  system.program("auditor-2").kill();
  await vi.waitFor(() => expect(exits).toEqual(["auditor-2 SIGKILL"]), WITHIN);
  await system.ready(60_000);
  expect(system.program("auditor-2").pid).not.toBe(pid);
  await system.stop();
  expect(system.instances.some(({ program }) => program.running)).toBe(false);
  expect(exits).toEqual(["auditor-2 SIGKILL"]);
});

test("a service that cannot start is one error, with what it said", async () => {
  const taken = createServer();
  await new Promise<void>((done) => taken.listen(0, "127.0.0.1", done));
  onTestFinished(() => void taken.close());
  const { port } = taken.address() as { port: number };
  const { system } = await start({ services: { notifier: 1 } }, { http: { ports: { notifier: port } } });
  await expect(system.ready(60_000)).rejects.toMatchObject({
    code: "E_PORT_IN_USE",
    place: `notifier-1, 127.0.0.1:${port} (http.ports.notifier)`,
  });
});

test("an unknown instance is named", async () => {
  const { system } = await start({});
  expect(() => system.program("decider-9")).toThrow("no instance decider-9; there are nats");
});

test("a service's last line becomes an error", () => {
  expect(refusalOf("prober-1", 1, "E_PORT_IN_USE at http.ports.prober: It is taken. Free it.").line()).toBe(
    "E_PORT_IN_USE at prober-1, http.ports.prober: It is taken. Free it.",
  );
  const odd = refusalOf("prober-1", 1, "SyntaxError: oh");
  expect([odd.line(), odd.exitCode]).toEqual([
    "E_INTERNAL at prober-1: It ended with code 1: SyntaxError: oh",
    1,
  ]);
  expect(refusalOf("x", 2, "E_CONFIG_INVALID at a: b").exitCode).toBe(2);
});

test("files of further instances are numbered", () => {
  expect([numbered("a/audit.sqlite", 1), numbered("a/audit.sqlite", 2), numbered("a.b/audit", 3)]).toEqual([
    "a/audit.sqlite",
    "a/audit-2.sqlite",
    "a.b/audit-3",
  ]);
});

test("what apply says has changed", () => {
  const node = (port: number) => ({ host: "h", port, region: "local", promotion: "neutral" as const });
  const declared = (o: object = {}): DeclaredCluster => ({
    cluster: "shop",
    nodes: { n1: node(1), n2: node(2) },
    policy: Policy.parse({ deadlines: { fenceMs: 1, catchUpMs: 2, openMs: 3, proveMs: 4 } }),
    ...o,
  });
  expect(differences(declared(), declared())).toEqual([]);
  expect(
    differences(
      declared(),
      declared({ nodes: { n1: node(7), n3: node(3) }, policy: { ...declared().policy, acks: 2 } }),
    ),
  ).toEqual([
    "nodes.n1: moved (h:1 → h:7)",
    "nodes.n2: removed (h:2)",
    "nodes.n3: added (h:3)",
    "policy.acks: 1 → 2",
  ]);
});
