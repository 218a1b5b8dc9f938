// The runner itself, on a small root of its own: what is forgiven, what never is, and that its last line counts right.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MAX_FILES_AGAIN } from "./second-run.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "baton-second-run-"));
  for (const folder of ["quick", "servers"]) mkdirSync(join(root, folder));
  const project = (name: string) =>
    `{ test: { name: "${name}", globals: true, include: ["${name}/*.test.ts"] } }`;
  writeFileSync(
    join(root, "vitest.config.ts"),
    `export default { test: { projects: [${project("quick")}, ${project("servers")}] } };`,
  );
});

afterEach(() => rmSync(root, { recursive: true }));

/** A test file; `FIRST` in it is whether it runs for the first time. */
function file(path: string, text: string): void {
  const mark = join(root, `ran-${path.replaceAll("/", "-")}`);
  const first = `import { existsSync, writeFileSync } from "node:fs";
const FIRST = !existsSync(${JSON.stringify(mark)});
writeFileSync(${JSON.stringify(mark)}, "");
`;
  writeFileSync(join(root, path), `${first}${text}\n`);
}

const good = (name: string) => `it("${name}", () => { console.log("the output of ${name}"); });`;
const badFirst = (name: string) => `it("${name}", () => { if (FIRST) throw new Error("${name} broke"); });`;
const bad = (name: string) =>
  `it("${name}", () => { throw new Error(FIRST ? "${name} broke" : "${name} broke again"); });`;

interface Ran {
  code: number | null;
  text: string;
  lastLine: string;
}

function run(...flags: string[]): Ran {
  const { VITEST: _, VITEST_POOL_ID: _p, VITEST_WORKER_ID: _w, ...env } = process.env;
  const runner = join(import.meta.dirname, "run.ts");
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [runner, "--root", root, ...flags, "--", ".test.ts"],
    { encoding: "utf8", env, timeout: 60_000 },
  );
  const text = `${stdout}${stderr}`;
  return { code: status, text, lastLine: stdout.trimEnd().split("\n").at(-1) ?? "" };
}

describe("a file of the servers that passes when it runs alone", () => {
  beforeEach(() => {
    file("servers/flake.test.ts", `${good("steady")}\n${badFirst("shaky")}`);
    file("servers/fine.test.ts", good("fine"));
  });

  it("is flaky: told, both outputs kept, its tests counted as passed", () => {
    const { code, text, lastLine } = run();
    expect(lastLine, text).toBe("3 passed, 0 failed");
    expect(code).toBe(0);
    expect(text).toMatch(/^flaky: servers\/flake\.test\.ts failed, then passed alone/m);
    const [folder, ...others] = readdirSync(join(root, ".test-flakes"));
    expect(others).toEqual([]);
    const kept = (name: string) => readFileSync(join(root, ".test-flakes", folder!, name), "utf8");
    expect(kept("first.txt")).toMatch(/1 passed, 1 failed[\s\S]*shaky broke[\s\S]*the output of steady/);
    expect(kept("second.txt")).toMatch(/2 passed, 0 failed[\s\S]*the output of steady/);
  });

  it("fails the run all the same with --strict, counted as it ended the first time", () => {
    const { code, text, lastLine } = run("--strict");
    expect(lastLine, text).toBe("2 passed, 1 failed");
    expect(code).toBe(1);
    expect(text).toMatch(/^flaky: servers\/flake\.test\.ts/m);
  });
});

it("a file that fails twice is told with both failures, and counts by its second run", () => {
  file("servers/bad.test.ts", `${bad("always")}\n${badFirst("once")}\n${good("good")}`);
  const { code, text, lastLine } = run();
  expect(lastLine, text).toBe("2 passed, 1 failed");
  expect(code).toBe(1);
  expect(text).toContain("Error: always broke\n");
  expect(text).toContain("Error: always broke again\n");
  expect(text).toContain("Error: once broke\n");
  expect(text).not.toContain("flaky");
});

it("a hook that throws, a file that cannot be loaded, and one whose second run tests nothing, stay failures", () => {
  file("servers/hook.test.ts", `beforeAll(() => { throw new Error("the hook broke"); });\n${good("behind")}`);
  file("servers/load.test.ts", `throw new Error("no such thing");`);
  file("servers/empty.test.ts", `it.skipIf(!FIRST)("gone", () => { throw new Error("gone broke"); });`);
  const { code, text, lastLine } = run();
  expect(lastLine, text).toBe("0 passed, 3 failed");
  expect(code).toBe(1);
  for (const told of ["the hook broke", "no such thing", "gone broke"]) expect(text).toContain(told);
});

it("an error outside any test stays a failure in the first run and in the second", () => {
  file(
    "servers/outside.test.ts",
    `${badFirst("shaky")}
it("leaves something", async () => {
  if (FIRST) return;
  setTimeout(() => { throw new Error("outside, again"); });
  await new Promise((done) => setTimeout(done, 50));
});`,
  );
  file(
    "quick/outside.test.ts",
    `it("leaves something", async () => {
  setTimeout(() => { throw new Error("outside, once"); });
  await new Promise((done) => setTimeout(done, 50));
});`,
  );
  const { code, text, lastLine } = run();
  expect(lastLine, text).toBe("3 passed, 2 failed");
  expect(code).toBe(1);
  for (const told of ["outside, once", "outside, again"]) expect(text).toContain(told);
  expect(text).not.toContain("flaky");
});

it("a quick file is not run again", () => {
  file("quick/flake.test.ts", badFirst("shaky"));
  file("servers/fine.test.ts", good("fine"));
  const { code, text, lastLine } = run();
  expect(lastLine, text).toBe("1 passed, 1 failed");
  expect(code).toBe(1);
  expect(text).not.toContain("Once more");
});

it("so many failed files that something must be broken are not run again", () => {
  for (let n = 0; n <= MAX_FILES_AGAIN; n += 1) file(`servers/flake${n}.test.ts`, badFirst(`shaky${n}`));
  const { code, text, lastLine } = run();
  expect(lastLine, text).toBe(`0 passed, ${MAX_FILES_AGAIN + 1} failed`);
  expect(code).toBe(1);
  expect(text).toContain("none is run again");
});
