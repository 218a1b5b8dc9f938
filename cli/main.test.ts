/** The command as a person meets it: a process, its two outputs, its exit code. */
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { commandLine } from "./command-line.ts";

const MAIN = join(import.meta.dirname, "main.ts");

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

function baton(args: string[], o: { cwd?: string; env?: Record<string, string> } = {}): Promise<Outcome> {
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1", ...o.env };
  for (const name of ["BATON_CONFIG", "BATON_NATS_URL", "FORCE_COLOR"]) {
    if (!o.env?.[name]) delete env[name];
  }
  return new Promise((done) => {
    execFile(
      process.execPath,
      [MAIN, ...args],
      { cwd: o.cwd ?? folder(), env, timeout: 20_000 },
      (error, stdout, stderr) => done({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    );
  });
}

function folder(files: Record<string, string> = {}): string {
  const dir = mkdtempSync(join(tmpdir(), "baton-cli-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return dir;
}

async function takenPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => void server.close());
  return (server.address() as { port: number }).port;
}

/** One line on stderr, nothing on stdout: what is wrong, where, what to do. */
function complaint(o: Outcome): string {
  expect(o.stdout).toBe("");
  expect(o.stderr.trimEnd().split("\n")).toHaveLength(1);
  return o.stderr.trimEnd();
}

describe("usage", () => {
  test.each([
    [["statsu"], "E_USAGE at baton: Unknown command 'statsu'. Did you mean status?"],
    [["status", "--jsn"], "E_USAGE at baton status: Unknown option '--jsn'. Did you mean --json?"],
    [["lab", "kil", "n1"], "E_USAGE at baton lab: Unknown command 'kil'. Did you mean kill?"],
    [
      ["pause", "--reason", "x"],
      "E_USAGE at baton pause: Neither a cluster nor --all is given. Name one (baton pause shop), or say --all.",
    ],
    [
      ["resume", "shop", "--all"],
      "E_USAGE at baton resume: Both shop and --all are given. Name one (baton resume shop), or say --all.",
    ],
    [
      ["ack"],
      "E_USAGE at baton ack: Missing required argument 'cluster'. baton ack --help names what there is.",
    ],
    [
      ["lab", "kill"],
      "E_USAGE at baton lab kill: Missing required argument 'node'. baton lab kill --help names what there is.",
    ],
    [
      ["history", "--limit", "many"],
      "E_USAGE at baton history: Option '--limit <n>' argument 'many' is invalid. It must be a whole number from 1 to 1000. baton history --help names what there is.",
    ],
    [
      ["demo", "--fault", "fire"],
      "E_USAGE at baton demo: Option '--fault <fault>' argument 'fire' is invalid. Allowed choices are kill, hang. baton demo --help names what there is.",
    ],
  ])("%j", async (args, line) => {
    const outcome = await baton(args);
    expect(complaint(outcome)).toBe(line);
    expect(outcome.code).toBe(2);
  });

  test("without a command the help is the answer, and the exit code says that there was none", async () => {
    const outcome = await baton([]);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toMatch(/^Usage: baton \[options\] \[command\]/);
  });

  test("version", async () => {
    const { code, stdout } = await baton(["version"]);
    expect(stdout).toMatch(/^baton \d+\.\d+\.\d+ \(node v\d+/);
    expect(code).toBe(0);
  });
});

describe("help", () => {
  test("names every command, the exit codes and the environment", async () => {
    const { code, stdout } = await baton(["--help"]);
    expect(code).toBe(0);
    for (const { name } of commandLine().commands.map((c) => ({ name: c.name() }))) {
      expect(stdout).toMatch(new RegExp(`^  ${name} `, "m"));
    }
    for (const word of ["Exit codes:", "Environment:", "Examples:", "BATON_CONFIG", "NO_COLOR", "130"]) {
      expect(stdout).toContain(word);
    }
  });

  test("of each command has its options, examples and exit codes", async () => {
    for (const command of commandLine().commands) {
      for (const each of command.commands.length > 0 ? command.commands : [command]) {
        const help = each.helpInformation();
        expect(each.description()).toMatch(/^[A-Z].*\.$/);
        for (const option of each.options) expect(help).toContain(option.long);
        for (const option of each.options) expect(option.description).not.toBe("");
      }
    }
    const { stdout } = await baton(["demo", "--help"]);
    for (const word of [
      "--fault",
      "--rounds",
      "--nodes",
      "--json",
      "downtime_ms",
      "rejoined_ms",
      "Examples:",
      "Exit codes:",
    ]) {
      expect(stdout).toContain(word);
    }
  });
});

const node = (port: number) => `{ host: 127.0.0.1, port: ${port} }`;
const CLUSTER = `clusters: { shop: { nodes: { n1: ${node(3301)}, n2: ${node(3302)} } } }\n`;
const NO_PORTS =
  "http: { ports: { prober: 0, decider: 0, executor: 0, notifier: 0, auditor: 0 } }\ngrpc: { ports: { prober: 0, decider: 0, executor: 0, notifier: 0, auditor: 0 } }\n";

describe("baton up with bad input: one line, the right exit code, nothing started", () => {
  async function refused(yaml: string): Promise<{ code: number; line: string; left: string[] }> {
    const cwd = folder({ "baton.yaml": yaml });
    const outcome = await baton(["up", "-c", "baton.yaml"], { cwd });
    return { code: outcome.code, line: complaint(outcome), left: readdirSync(cwd) };
  }

  test.each([
    ["no file", null, /^E_CONFIG_NOT_FOUND at .*baton\.yaml: /],
    ["no YAML", "clusters: [", /^E_CONFIG_SYNTAX at baton\.yaml:\d+/],
    [
      "a wrong type",
      `${CLUSTER}prober: { calmMs: soon }\n`,
      /^E_CONFIG_INVALID at baton\.yaml:2:\d+ prober\.calmMs: /,
    ],
    [
      "an unknown key",
      "clusters: { shop: { nodes: { n1: { host: a, prot: 1 }, n2: { host: b } } } }",
      /^E_CONFIG_UNKNOWN_KEY at baton\.yaml:1:\d+ clusters\.shop\.nodes\.n1\.prot: .*port/,
    ],
    [
      "two nodes with one address",
      `clusters: { shop: { nodes: { n1: ${node(3301)}, n2: ${node(3301)} } } }`,
      /^E_CONFIG_DUPLICATE_NODE at baton\.yaml/,
    ],
    [
      "a node in two clusters",
      `clusters:\n  a: { nodes: { n1: ${node(1)}, n2: ${node(2)} } }\n  b: { nodes: { n1: ${node(2)}, n2: ${node(3)} } }`,
      /^E_CONFIG_SHARED_NODE at baton\.yaml:3/,
    ],
    [
      "a cluster without a replica",
      `clusters: { shop: { nodes: { n1: ${node(1)} } } }`,
      /^E_CONFIG_NO_REPLICA at /,
    ],
    ["a secret that is not there", `${CLUSTER}mysql: { password: "\${file:none}" }`, /^E_CONFIG_SECRET at /],
  ])("%s", async (_what, yaml, expected) => {
    const outcome =
      yaml === null
        ? await baton(["up"]).then((o) => ({ code: o.code, line: complaint(o), left: ["baton.yaml"] }))
        : await refused(yaml);
    expect(outcome.line).toMatch(expected);
    expect(outcome.code).toBe(2);
    expect(outcome.left).toEqual(["baton.yaml"]);
  });

  test("a port that is taken is named with its setting", async () => {
    const port = await takenPort();
    for (const [setting, yaml] of [
      ["nats.port", `${CLUSTER}${NO_PORTS}nats: { port: ${port} }`],
      ["http.ports.auditor", `${CLUSTER}http: { ports: { auditor: ${port} } }`],
      ["grpc.ports.prober", `${CLUSTER}grpc: { ports: { prober: ${port} } }`],
    ] as const) {
      const { code, line, left } = await refused(yaml);
      expect(line).toContain(`${setting}: 127.0.0.1:${port} is in use by another program.`);
      expect(line).toMatch(/^E_PORT_IN_USE at .*baton\.yaml /);
      expect(code).toBe(1);
      expect(left).toEqual(["baton.yaml"]);
    }
  });

  test("two settings with one port", async () => {
    const { code, line } = await refused(`${CLUSTER}nats: { port: 9471 }`);
    expect(line).toMatch(
      /^E_CONFIG_INVALID at .* http\.ports\.prober: Port 9471 is also that of nats\.port\./,
    );
    expect(code).toBe(2);
  });

  test("a folder that is a file", async () => {
    const { code, line, left } = await refused(
      `${CLUSTER}${NO_PORTS}auditor: { file: baton.yaml/audit.sqlite }`,
    );
    expect(line).toMatch(/^E_STORE at .* auditor\.file: .*baton\.yaml is not a folder\./);
    expect(code).toBe(1);
    expect(left).toEqual(["baton.yaml"]);
  });

  test("a full disk", async ({ skip }) => {
    const disk = folder();
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]).status !== 0) {
      skip("only root can make a small disk");
    }
    try {
      const { code, line } = await refused(
        `${CLUSTER}${NO_PORTS}nats: { port: 0 }\nauditor: { file: ${disk}/audit.sqlite }`,
      );
      expect(line).toMatch(/^E_DISK_FULL at .* auditor\.file: .*ENOSPC/);
      expect(code).toBe(1);
      expect(readdirSync(disk)).toEqual([]);
    } finally {
      spawnSync("umount", [disk]);
    }
  });

  test("the environment's settings count, and are named", async () => {
    const port = await takenPort();
    const cwd = folder({ "other.yaml": CLUSTER + NO_PORTS });
    const outcome = await baton(["up"], {
      cwd,
      env: { BATON_CONFIG: "other.yaml", BATON__NATS__PORT: String(port) },
    });
    expect(complaint(outcome)).toContain("nats.port");
    expect(existsSync(join(cwd, "data"))).toBe(false);
  });
});

describe("commands that need NATS", () => {
  test.each([["status"], ["history"], ["apply"]])(
    "baton %s says where it looked and what was there",
    async (command) => {
      const port = await takenPort();
      const cwd = folder({ "baton.yaml": `${CLUSTER}nats: { url: "nats://127.0.0.1:1" }\n` });
      const nobody = await baton([command], { cwd });
      expect(complaint(nobody)).toMatch(
        /^E_NATS_UNREACHABLE at nats:\/\/127\.0\.0\.1:1: No NATS server there: ECONNREFUSED\./,
      );
      expect(nobody.code).toBe(1);
      const other = await baton([command, "--nats", `nats://127.0.0.1:${port}`], { cwd });
      expect(complaint(other)).toMatch(
        /^E_NATS_UNREACHABLE at nats:\/\/127\.0\.0\.1:\d+: No NATS server there: no answer in 1000 ms\./,
      );
    },
  );
});
