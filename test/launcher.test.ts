// The launcher, ./baton, as it is, in a temporary clone whose outside (node, npm, mysqld, nats-server) is played by
// small shell scripts. What apt and the npm registry really deliver is tried by every fresh clone.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const repository = join(import.meta.dirname, "..");
const deadlineMs = 10_000;

// What a plain system has besides node, npm and servers; nothing else is on PATH, so the machine does not matter.
const tools =
  "sh awk cat chmod cmp cp date df env grep head id ls mkdir mv ps readlink rm sed sleep sort tail tar tr uname".split(
    " ",
  );

const oldNode = `echo "node $*" >> "$CALLS"; [ "$1" = -p ] && echo`;
const newNode = `echo "node $*" >> "$CALLS"
case $1 in
  -p) printf '%s\\n' "$0" ;;
  *) echo "main in $PWD: $BATON_HOME|$BATON_MYSQLD|$BATON_NATS_SERVER|$*" ;;
esac`;

// Plays npm ci: the pinned Node for the toolchain's manifest, else modules as the test's lockfile names them.
const npm = `echo "npm $1" >> "$CALLS"
[ ! -e "$WORLD/npm-hook" ] || . "$WORLD/npm-hook"
package=$(sed -n 's/.*"\\(node-[a-z0-9-]*\\)": "\\([0-9.]*\\)".*/\\1/p' package.json)
if [ -n "$package" ]; then
  version=$(sed -n 's/.*"node-[a-z0-9-]*": "\\([0-9.]*\\)".*/\\1/p' package.json)
  mkdir -p node_modules/$package/bin
  { echo '#!/bin/sh'
    echo "[ \\"\\$1\\" = -p ] && { echo $version; exit; }"
    echo 'echo "main in $PWD: $BATON_HOME|$BATON_MYSQLD|$BATON_NATS_SERVER|$*"'
  } > node_modules/$package/bin/node
  chmod +x node_modules/$package/bin/node
else
  mkdir -p node_modules/zod libs/one/node_modules/zod
  cp package-lock.json node_modules/zod/made-from
fi`;

interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

let world: string;
let clone: string;
let started: ChildProcess[];

beforeEach(() => {
  world = mkdtempSync(join(tmpdir(), "baton-launcher-"));
  clone = join(world, "a clone");
  started = [];
  for (const folder of ["bin", "tools", "a clone/cli", "a clone/libs/one"]) {
    mkdirSync(join(world, folder), { recursive: true });
  }
  cpSync(join(repository, "baton"), join(clone, "baton"));
  cpSync(join(repository, "toolchain"), join(clone, "toolchain"), { recursive: true });
  for (const manifest of ["package.json", "libs/one/package.json"])
    writeFileSync(join(clone, manifest), "{}");
  writeFileSync(join(clone, "package-lock.json"), "first");
  writeFileSync(join(world, "calls"), "");
  for (const tool of tools) {
    const path = execFileSync("/bin/sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).trim();
    symlinkSync(path, join(world, "tools", tool));
  }
  program("node", oldNode);
  program("npm", npm);
});

afterEach(() => {
  for (const child of started) child.kill("SIGKILL");
  rmSync(world, { recursive: true, force: true });
});

function program(name: string, body: string): string {
  const path = join(world, "bin", name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

const answering = (version: string) => `echo "${version}"`;
const mysql97 = answering("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))");
const mysql80 = answering("/usr/sbin/mysqld  Ver 8.0.43 for Linux on x86_64");
const mariadb = answering(
  "mysqld  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu on x86_64 (Debian 12)",
);
const nats215 = answering("nats-server: v2.15.1");
const nats210 = answering("nats-server: v2.10.29");

/** What npm does before it does its work: shell, with the folder of the test as $WORLD. */
function npmFirst(hook: string): void {
  writeFileSync(join(world, "npm-hook"), hook);
}

function start(args: string[], env: Record<string, string> = {}, launcher = join(clone, "baton")) {
  const child = spawn(launcher, args, {
    cwd: world,
    env: { PATH: `${world}/bin:${world}/tools`, HOME: world, WORLD: world, CALLS: `${world}/calls`, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  started.push(child);
  const outcome: Outcome = { code: null, signal: null, stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => (outcome.stdout += chunk));
  child.stderr.on("data", (chunk) => (outcome.stderr += chunk));
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    // not "close": what the launcher left running may still hold the pipes
    child.on("exit", (code, signal) => setImmediate(() => resolve(Object.assign(outcome, { code, signal }))));
  });
  return { child, outcome, ended };
}

const run = (args: string[], env?: Record<string, string>, launcher?: string) =>
  start(args, env, launcher).ended;

function calls(): string[] {
  return readFileSync(join(world, "calls"), "utf8").split("\n").filter(Boolean);
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${deadlineMs} ms for: ${what}`);
    await pause(5);
  }
}

/** Nothing half-made in place, nobody's claim, nothing staged. */
function expectTidy(): void {
  expect(readdirSync(join(clone, ".toolchain/claims"))).toEqual([]);
  expect(readdirSync(join(clone, ".toolchain/staging"))).toEqual([]);
}

describe("a fresh clone", () => {
  it("gets Node and packages, says so in a line each, and hands over", async () => {
    const first = await run(["status", "--json", "a b"]);
    expect(first.stdout).toBe(`main in ${world}: ${clone}|||${clone}/cli/main.ts status --json a b\n`);
    expect(first.code).toBe(0);
    expect(first.stderr).toMatch(
      /^baton: getting this clone ready \(once\)\n {2}Node \S+ from the npm registry +\d+ s\n {2}npm packages +\d+ s\n$/,
    );
    expectTidy();
  });

  it("is made ready once: the next start asks neither npm nor the machine's node, and is silent", async () => {
    await run(["status"]);
    writeFileSync(join(world, "calls"), "");
    const second = await run(["status"]);
    expect(second.stdout).toContain("main ");
    expect(second.stderr).toBe("");
    expect(calls()).toEqual([]);
  });

  it("uses the machine's own Node when it is 24 or newer", async () => {
    program("node", newNode);
    const outcome = await run(["status"]);
    expect(outcome.stdout).toContain("main ");
    expect(existsSync(join(clone, ".toolchain/node"))).toBe(false);
    expect(calls().filter((call) => call === "npm ci")).toHaveLength(1);
  });

  it("fetches Node after all when the machine's is replaced by an old one", async () => {
    program("node", newNode);
    await run(["status"]);
    rmSync(join(world, "bin/node"));
    program("node", oldNode);
    const outcome = await run(["status"]);
    expect(outcome.stdout).toContain("main ");
    expect(outcome.stderr).toContain("from the npm registry");
  });

  it("can be started through a symlink on PATH", async () => {
    symlinkSync("../a clone/baton", join(world, "bin/baton"));
    const outcome = await run(["status"], {}, join(world, "bin/baton"));
    expect(outcome.stdout).toContain(`: ${clone}|`);
  });
});

describe("node_modules", () => {
  it("follows the lockfile, workspaces' own modules included", async () => {
    await run(["status"]);
    writeFileSync(join(clone, "libs/one/node_modules/stray"), "");
    writeFileSync(join(clone, "package-lock.json"), "second");
    const outcome = await run(["status"]);
    expect(outcome.stderr).toContain("npm packages");
    expect(readFileSync(join(clone, "node_modules/zod/made-from"), "utf8")).toBe("second");
    expect(readdirSync(join(clone, "libs/one/node_modules"))).toEqual(["zod"]);
    expectTidy();
  });

  it("is made again when it was removed, or left half-made by another npm", async () => {
    await run(["status"]);
    rmSync(join(clone, "node_modules"), { recursive: true });
    mkdirSync(join(clone, "node_modules/half"), { recursive: true });
    await run(["status"]);
    expect(readdirSync(join(clone, "node_modules")).sort()).toEqual([".baton-lockfile", "zod"]);
  });

  it("keeps the old modules when the new ones cannot be had, and tries again next time", async () => {
    await run(["status"]);
    writeFileSync(join(clone, "package-lock.json"), "second");
    npmFirst('echo "npm error network getaddrinfo EAI_AGAIN" >&2; exit 1');
    const failed = await run(["status"]);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain("E_TOOLCHAIN_PACKAGES");
    expect(failed.stderr).toContain("EAI_AGAIN");
    expect(readFileSync(join(clone, "node_modules/zod/made-from"), "utf8")).toBe("first");
    expectTidy();
    npmFirst("");
    expect((await run(["status"])).code).toBe(0);
    expect(readFileSync(join(clone, "node_modules/zod/made-from"), "utf8")).toBe("second");
  });

  it("is not taken for whole when npm ran out of disk, which npm itself calls a success", async () => {
    await run(["status"]);
    rmSync(join(clone, "node_modules"), { recursive: true });
    npmFirst('echo "npm warn tar TAR_ENTRY_ERROR ENOSPC: no space left on device, write" >&2');
    const outcome = await run(["status"]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain("E_TOOLCHAIN_DISK");
    expect(existsSync(join(clone, "node_modules"))).toBe(false);
  });

  it("says what to do when manifests and lockfile disagree", async () => {
    await run(["status"]);
    writeFileSync(join(clone, "package-lock.json"), "second");
    npmFirst('echo "npm error code EUSAGE" >&2; echo "npm error Missing: zod@4 from lock file" >&2; exit 1');
    const outcome = await run(["status"]);
    expect(outcome.stderr).toContain("Missing: zod@4 from lock file");
    expect(outcome.stderr).toContain("Run npm install");
  });

  it("without npm, says so", async () => {
    rmSync(join(world, "bin/npm"));
    const outcome = await run(["status"]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain("E_TOOLCHAIN_NPM");
    expectTidy();
  });
});

describe("interrupted", () => {
  for (const [step, manifest] of [
    ["Node", "node-"],
    ["packages", "{}"],
  ] as const) {
    it(`by SIGKILL while npm fetches ${step}: the next run ends what was left and goes on`, async () => {
      npmFirst(
        `case $(cat package.json) in *${manifest}*) echo $$ > "$WORLD/npm.pid"; exec sleep 60 ;; esac`,
      );
      const killed = start(["status"]);
      await until("npm to be at it", () => existsSync(join(world, "npm.pid")));
      await until("its pid to be noted", () => stagedChild() !== "");
      const npmPid = Number(readFileSync(join(world, "npm.pid"), "utf8"));
      killed.child.kill("SIGKILL");
      await killed.ended;
      expect(isRunning(npmPid)).toBe(true);
      npmFirst("");
      expect((await run(["status"])).stdout).toContain("main ");
      expect(isRunning(npmPid)).toBe(false);
      expectTidy();
    });
  }

  it("by SIGTERM: ends npm at once, tidies up and says so", async () => {
    npmFirst('echo $$ > "$WORLD/npm.pid"; exec sleep 60');
    const { child, ended } = start(["status"]);
    await until("npm to be at it", () => existsSync(join(world, "npm.pid")));
    await until("its pid to be noted", () => stagedChild() !== "");
    child.kill("SIGTERM");
    const outcome = await ended;
    expect(outcome.code).toBe(143);
    expect(outcome.stderr).toContain("interrupted; the next run goes on from here");
    expect(isRunning(Number(readFileSync(join(world, "npm.pid"), "utf8")))).toBe(false);
    expectTidy();
  });

  it("by SIGKILL at any moment: the next run works, and runs after it are silent", async () => {
    for (let delayMs = 0; delayMs < 64; delayMs += 8) {
      writeFileSync(join(clone, "package-lock.json"), `for ${delayMs}`);
      const { child, ended } = start(["status"]);
      await pause(delayMs);
      child.kill("SIGKILL");
      await ended;
      expect((await run(["status"])).stdout).toContain("main ");
      expect(readFileSync(join(clone, "node_modules/zod/made-from"), "utf8")).toBe(`for ${delayMs}`);
      expect((await run(["status"])).stderr).toBe("");
      expect(readdirSync(join(clone, ".toolchain/staging"))).toEqual([]);
    }
  });

  function stagedChild(): string {
    const staging = join(clone, ".toolchain/staging");
    const [stage] = existsSync(staging) ? readdirSync(staging) : [];
    const note = join(staging, stage ?? "", "child");
    return stage && existsSync(note) ? readFileSync(note, "utf8").trim() : "";
  }
});

describe("two at once", () => {
  it("one prepares, the other waits, says so, and then just goes on", async () => {
    npmFirst('until [ -e "$WORLD/go" ]; do sleep 0.01; done');
    const first = start(["status"]);
    await until("the first to be at it", () => calls().includes("npm ci"));
    const second = start(["status"]);
    await until("the second to wait", () => second.outcome.stderr.includes("waiting for it"));
    expect(second.outcome.stderr).toContain(`pid ${first.child.pid}`);
    appendFileSync(join(world, "go"), "");
    const outcomes = await Promise.all([first.ended, second.ended]);
    for (const outcome of outcomes) expect(outcome.stdout).toContain("main ");
    expect(calls().filter((call) => call === "npm ci")).toHaveLength(2); // Node and packages, once each
    expectTidy();
  });

  it("many: still one npm at a time", async () => {
    npmFirst('mkdir "$WORLD/alone" || echo together >> "$CALLS"; sleep 0.05; rmdir "$WORLD/alone"');
    symlinkSync(
      execFileSync("/bin/sh", ["-c", "command -v rmdir"], { encoding: "utf8" }).trim(),
      join(world, "tools/rmdir"),
    );
    const outcomes = await Promise.all(Array.from({ length: 5 }, () => run(["status"])));
    for (const outcome of outcomes) expect(outcome.stdout).toContain("main ");
    expect(calls().filter((call) => call !== "npm ci" && !call.startsWith("node "))).toEqual([]);
    expect(calls().filter((call) => call === "npm ci")).toHaveLength(2);
  });

  it("a claim of a process that ended, or whose pid another has now, holds nobody up", async () => {
    const gone = spawn("/bin/sh", ["-c", "exit"]);
    await new Promise((resolve) => gone.on("exit", resolve));
    mkdirSync(join(clone, ".toolchain/claims"), { recursive: true });
    writeFileSync(join(clone, `.toolchain/claims/${gone.pid}-1`), "");
    writeFileSync(join(clone, `.toolchain/claims/${process.pid}-1`), "");
    const outcome = await run(["status"]);
    expect(outcome.stdout).toContain("main ");
    expect(outcome.stderr).not.toContain("waiting");
    expectTidy();
  });
});

describe("servers", () => {
  for (const command of ["demo", "test", "lab", "bench"]) {
    it(`${command} takes good ones from PATH`, async () => {
      const [mysqld, nats] = [program("mysqld", mysql97), program("nats-server", nats215)];
      const outcome = await run([command]);
      expect(outcome.stdout).toContain(`|${mysqld}|${nats}|`);
    });
  }

  for (const words of [["status"], ["up", "-c", "x"], ["demo", "--help"], ["test", "--unit"]]) {
    it(`${words.join(" ")} needs none`, async () => {
      program("mysqld", mariadb);
      expect((await run(words)).stdout).toContain("|||");
    });
  }

  it("named by the environment come before those on PATH, by relative path too", async () => {
    program("mysqld", mariadb);
    program("nats-server", nats210);
    program("my-mysqld", mysql97);
    program("my-nats", nats215);
    const outcome = await run(["demo"], { BATON_MYSQLD: "bin/my-mysqld", BATON_NATS_SERVER: "my-nats" });
    expect(outcome.stdout).toContain(`|${world}/bin/my-mysqld|${world}/bin/my-nats|`);
  });

  for (const [what, body, code, found] of [
    ["MariaDB", mariadb, "E_TOOLCHAIN_MYSQLD", "is MariaDB"],
    ["an old MySQL", mysql80, "E_TOOLCHAIN_MYSQLD", "is MySQL 8.0.43, older than 8.4"],
    ["something else", answering("cat (GNU coreutils) 9.1"), "E_TOOLCHAIN_MYSQLD", "like a MySQL"],
    ["a broken one", "echo 'libssl.so.3: cannot open' >&2; exit 127", "E_TOOLCHAIN_MYSQLD", "libssl.so.3"],
    ["an old nats-server", nats210, "E_TOOLCHAIN_NATS", "is nats-server 2.10.29, older than 2.11"],
  ] as const) {
    it(`${what} named by the environment is refused before anything is fetched`, async () => {
      const name = code === "E_TOOLCHAIN_NATS" ? "BATON_NATS_SERVER" : "BATON_MYSQLD";
      const outcome = await run(["demo"], { [name]: program("given", body) });
      expect(outcome.code).toBe(2);
      expect(outcome.stderr).toContain(`baton: ${code}: ${name}=${world}/bin/given `);
      expect(outcome.stderr).toContain(found);
      expect(calls()).toEqual([]);
    });
  }

  it("a wrong BATON_MYSQLD is noticed although all was ready before", async () => {
    program("mysqld", mysql97);
    program("nats-server", nats215);
    await run(["demo"]);
    const outcome = await run(["demo"], { BATON_MYSQLD: "/nowhere/mysqld" });
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toContain("is not a program that can be run");
  });

  it("unfit ones on PATH are passed over; where none can be fetched it says what to install", async () => {
    program("mysqld", mariadb);
    program("nats-server", nats210);
    const outcome = await run(["demo"]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain("E_TOOLCHAIN_SERVERS");
    expect(outcome.stderr).toMatch(/install/);
    expect(outcome.stderr).toContain("BATON_MYSQLD and BATON_NATS_SERVER");
    expect(outcome.stdout).toBe("");
    expectTidy();
  });

  it("`baton toolchain` prints where everything is and starts nothing", async () => {
    program("mysqld", mysql97);
    program("nats-server", nats215);
    const outcome = await run(["toolchain"]);
    expect(outcome.stdout).toBe(
      `BATON_NODE=${clone}/.toolchain/node/bin/node\nBATON_MYSQLD=${world}/bin/mysqld\nBATON_NATS_SERVER=${world}/bin/nats-server\n`,
    );
  });
});
