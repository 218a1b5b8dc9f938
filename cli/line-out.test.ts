import { fork } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { LineOut } from "./line-out.ts";

test("a reader that does not read stops nobody, and is told what it missed", async () => {
  const dir = mkdtempSync(join(tmpdir(), "baton-cli-line-out-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const script = join(dir, "writer.ts");
  writeFileSync(
    script,
    `import { LineOut } from ${JSON.stringify(join(import.meta.dirname, "line-out.ts"))};
     const out = new LineOut(process.stdout);
     for (let i = 0; i < 20_000; i++) out.write("x".repeat(999));
     process.on("message", () => { out.write("the last"); process.disconnect(); });
     process.send("written");`,
  );
  const child = fork(script, { stdio: ["ignore", "pipe", "inherit", "ipc"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  // Nothing is read until it says that it has written 20 MB.
  await new Promise((done) => child.once("message", done));
  let text = "";
  let told = false;
  child.stdout?.on("data", (chunk: Buffer) => {
    text += chunk;
    if (told || text.length <= 4_000_000) return;
    told = true;
    child.send("go on");
  });
  await new Promise((done) => child.once("close", done));
  const lines = text.trimEnd().split("\n");
  expect(lines.at(-1)).toBe("the last");
  const left = /^… (\d+) lines left out: nobody read them in time$/.exec(lines.at(-2) ?? "");
  expect(Number(left?.[1])).toBe(20_000 - (lines.length - 2));
});

test("what is read in time is written as it is", () => {
  const written: string[] = [];
  const out = new LineOut({ write: (text) => written.push(text), writableLength: 0 });
  out.write("a");
  out.write("b");
  expect(written).toEqual(["a\n", "b\n"]);
});
