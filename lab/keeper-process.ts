import { renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { accounts } from "./accounts.ts";
import {
  type KeeperNews,
  type KeeperReply,
  type KeeperRequest,
  type KeeperState,
  type LabStatus,
  stateDir,
  stateFile,
} from "./keeper-protocol.ts";
import { type Lab, type LabOptions, startLab } from "./lab.ts";
import { LabError } from "./lab-error.ts";
import { startTime } from "./reaper.ts";

/** The process that owns a lab for `baton lab up`: it answers commands on a socket until it is told to end. */

const options = JSON.parse(process.argv[2] ?? "{}") as LabOptions & { name: string };
const startedAt = new Date().toISOString();
const starting = new AbortController();
const tell = (news: KeeperNews) => {
  if (process.connected) process.send?.(news);
};

process.on("disconnect", () => starting.abort(new Error("the command that started the lab is gone")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => void end());

let lab: Lab | undefined;
const server = createServer({ allowHalfOpen: true }, (socket) => {
  let text = "";
  socket.setEncoding("utf8");
  socket.on("error", () => undefined);
  socket.on("data", (chunk: string) => {
    text += chunk;
  });
  socket.on("end", async () => {
    let down = false;
    const reply = await answer(async () => {
      const request = JSON.parse(text) as KeeperRequest;
      down = request.command === "down";
      return obey(lab as Lab, request);
    });
    socket.end(JSON.stringify(reply), () => down && process.exit(0));
  });
});

const ready = await answer(async () => {
  lab = await startLab({
    ...options,
    signal: starting.signal,
    onProgress: (line) => tell({ progress: line }),
  });
  const socket = join(lab.dir, "keeper.sock");
  await new Promise<void>((done, fail) => server.once("error", fail).listen(socket, done));
  const state: KeeperState = {
    name: lab.name,
    pid: process.pid,
    processStarted: startTime(process.pid) ?? "",
    socket,
    startedAt,
  };
  writeFileSync(`${stateFile(lab.name)}.new`, JSON.stringify(state));
  renameSync(`${stateFile(lab.name)}.new`, stateFile(lab.name));
  return describe(lab);
});
process.removeAllListeners("disconnect");
if ("failure" in ready) rmSync(stateDir(options.name), { recursive: true, force: true });
tell(ready);
if ("failure" in ready) await end(1);

async function end(code = 0): Promise<void> {
  await lab?.stop();
  rmSync(stateDir(options.name), { recursive: true, force: true });
  process.exit(code);
}

async function obey(of: Lab, request: KeeperRequest): Promise<LabStatus> {
  if (request.command === "down") {
    const last = await describe(of);
    await of.stop();
    rmSync(stateDir(options.name), { recursive: true, force: true });
    return last;
  }
  if (request.command === "status") return describe(of);
  const name = request.node ?? "";
  const target = of.nats.servers.find((each) => each.name === name) ?? of.node(name);
  if (request.command === "kill") await target.kill();
  else if (request.command === "hang") target.hang();
  else if (request.command === "resume") target.resume();
  else await target.start();
  return describe(of);
}

async function describe(of: Lab): Promise<LabStatus> {
  const primary = await of.primary();
  const declared = of.clusterDeclaration().nodes;
  const state = (server: { running: boolean; hung: boolean }) =>
    server.hung ? "hung" : server.running ? "running" : "stopped";
  return {
    name: of.name,
    dir: of.dir,
    keeperPid: process.pid,
    startedAt,
    nodes: of.nodes.map((node) => ({
      name: node.name,
      host: node.host,
      port: node.port,
      region: declared[node.name]?.region ?? "",
      socket: node.socket,
      pid: node.pid ?? null,
      state: state(node),
      primary: node === primary,
    })),
    nats: of.nats.servers.map((each) => ({
      name: each.name,
      url: each.url,
      monitorPort: each.monitorPort,
      pid: each.pid ?? null,
      state: state(each),
    })),
    accounts,
  };
}

async function answer(work: () => Promise<LabStatus>): Promise<KeeperReply> {
  try {
    return { status: await work() };
  } catch (error) {
    if (error instanceof LabError) {
      const { code, found, expected, remedy } = error;
      return { failure: { code, found, expected, remedy } };
    }
    console.error(error);
    const found = error instanceof Error ? error.message : String(error);
    const remedy = `read ${join(stateDir(options.name), "keeper.log")}`;
    return { failure: { code: "keeper-failed", found, expected: "a keeper that works", remedy } };
  }
}
