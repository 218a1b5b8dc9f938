import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { labCommand, labDown, labStatus, labUp } from "./index.ts";
import { until } from "./until.ts";

const index = new URL("./index.ts", import.meta.url).href;

function gone(pid: number): boolean {
  try {
    return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
}

test("kill -9 of the process that holds a lab takes every server and directory with it", async () => {
  const script = `
    const { startLab } = await import(${JSON.stringify(index)});
    const lab = await startLab({ nodes: 2 });
    lab.node("n2").hang();
    const pids = [...lab.nodes, ...lab.nats.servers].map((each) => each.pid);
    console.log(JSON.stringify({ dir: lab.dir, pids }));
    setInterval(() => undefined, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  for await (const chunk of holder.stdout) {
    text += chunk;
    if (text.includes("\n")) break;
  }
  const { dir, pids } = JSON.parse(text) as { dir: string; pids: number[] };
  expect(pids).toHaveLength(3);
  expect(pids.some(gone)).toBe(false);
  holder.kill("SIGKILL");
  await until(async () => pids.every(gone) && !existsSync(dir), {
    timeoutMs: 20_000,
    onTimeout: () =>
      new Error(`left behind: ${pids.filter((pid) => !gone(pid))} ${existsSync(dir) ? dir : ""}`),
  });
}, 60_000);

test("a kept lab takes commands, refuses wrong ones with a code, and goes down whole", async () => {
  const name = `test-${process.pid}`;
  const up = await labUp({ name, nodes: 2, natsServers: 0 });
  try {
    expect(up.nodes.map((node) => [node.name, node.state, node.primary])).toEqual([
      ["n1", "running", true],
      ["n2", "running", false],
    ]);
    await expect(labUp({ name })).rejects.toMatchObject({ code: "lab-exists" });
    await expect(labCommand(name, "kill", "n7")).rejects.toMatchObject({ code: "unknown-node" });
    await expect(labCommand(name, "start", "n1")).rejects.toMatchObject({ code: "node-running" });
    const states = async (command: "kill" | "hang" | "resume" | "start", node: string) =>
      (await labCommand(name, command, node)).nodes.map((each) => each.state);
    expect(await states("hang", "n2")).toEqual(["running", "hung"]);
    expect(await states("resume", "n2")).toEqual(["running", "running"]);
    expect(await states("kill", "n1")).toEqual(["stopped", "running"]);
    expect(await states("start", "n1")).toEqual(["running", "running"]);
    expect((await labStatus()).map((lab) => lab.name)).toContain(name);
  } finally {
    await labDown(name);
  }
  expect(existsSync(up.dir)).toBe(false);
  expect(up.nodes.every((node) => node.pid === null || gone(node.pid))).toBe(true);
  await expect(labDown(name)).rejects.toMatchObject({ code: "unknown-lab" });
}, 60_000);
