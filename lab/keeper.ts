import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import {
  type KeeperNews,
  type KeeperReply,
  type KeeperRequest,
  type KeeperState,
  type LabStatus,
  labsDir,
  type NodeCommand,
  nodeCommands,
  readState,
  stateDir,
} from "./keeper-protocol.ts";
import { checkLabOptions, type LabOptions } from "./lab.ts";
import { LabError } from "./lab-error.ts";
import { startTime } from "./reaper.ts";

/**
 * Labs that live on after the command that started them: each is owned by a detached keeper process, which these
 * functions start and talk to. All of them throw LabError.
 */

export interface LabUpOptions
  extends Pick<LabOptions, "flavour" | "nodes" | "natsServers" | "acks" | "regions"> {
  /** Default "lab". */
  name?: string;
  onProgress?: (line: string) => void;
  /** Gives the start up; what was started is cleaned. */
  signal?: AbortSignal;
}

const commandTimeoutMs = 120_000;
export const defaultLabName = "lab";

/** Starts a lab and its keeper; resolves when it is ready. Errors: `lab-exists`, and those of startLab. */
export async function labUp(options: LabUpOptions = {}): Promise<LabStatus> {
  const name = options.name ?? defaultLabName;
  checkLabOptions({ ...options, name });
  claim(name);
  const log = openSync(join(stateDir(name), "keeper.log"), "a");
  const { flavour, nodes, natsServers, acks, regions } = options;
  const keeper = spawn(
    process.execPath,
    [
      join(import.meta.dirname, "keeper-process.ts"),
      JSON.stringify({ name, flavour, nodes, natsServers, acks, regions }),
    ],
    { detached: true, stdio: ["ignore", log, log, "ipc"] },
  );
  closeSync(log);
  return new Promise((done, fail) => {
    const giveUp = () => keeper.disconnect();
    options.signal?.addEventListener("abort", giveUp, { once: true });
    keeper.on("message", (news: KeeperNews) => {
      if ("progress" in news) return options.onProgress?.(news.progress);
      options.signal?.removeEventListener("abort", giveUp);
      keeper.removeAllListeners("exit");
      if (keeper.connected) keeper.disconnect();
      keeper.unref();
      if ("status" in news) done(news.status);
      else fail(new LabError(news.failure.code, news.failure));
    });
    keeper.once("exit", (code, signal) => {
      const text = readLog(name);
      if (!readState(name)) rmSync(stateDir(name), { recursive: true, force: true });
      fail(
        new LabError("keeper-failed", {
          found: `the lab's keeper ended (${code ?? signal}) before the lab was ready; its log: ${text}`,
          expected: "a lab that gets ready",
          remedy: "try again",
        }),
      );
    });
  });
}

/** Ends a lab: every server killed, every directory removed. Error: `unknown-lab`. */
export async function labDown(name: string = defaultLabName): Promise<void> {
  await ask(find(name), { command: "down" });
}

/** Does something to one node, by its name (n1, n2, …, nats1, …). Errors: `unknown-lab`, `unknown-node`, … */
export async function labCommand(name: string, command: NodeCommand, node: string): Promise<LabStatus> {
  if (!nodeCommands.includes(command)) {
    throw new LabError("unknown-command", {
      found: command,
      expected: nodeCommands.join(", "),
      remedy: "use one of these",
    });
  }
  return ask(find(name), { command, node });
}

/** The labs that are up, or the named one. Error: `unknown-lab`. */
export async function labStatus(name?: string): Promise<LabStatus[]> {
  const states = name === undefined ? known() : [find(name)];
  return Promise.all(states.map((state) => ask(state, { command: "status" })));
}

/** Takes the name, or says who has it. A directory whose keeper is gone is left over from a crash. */
function claim(name: string): void {
  const taken = new LabError("lab-exists", {
    found: `a lab named ${name} that is up or starting`,
    expected: "a free name",
    remedy: `baton lab down ${name}, or choose another name`,
  });
  if (readState(name)) throw taken;
  mkdirSync(labsDir, { recursive: true });
  try {
    mkdirSync(stateDir(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    if (isStarting(name)) throw taken;
    rmSync(stateDir(name), { recursive: true, force: true });
    mkdirSync(stateDir(name));
  }
  writeFileSync(claimFile(name), `${process.pid} ${startTime(process.pid)}`);
}

function claimFile(name: string): string {
  return join(stateDir(name), "claimed-by");
}

/** True while another command is between its claim and the keeper's state file. */
function isStarting(name: string): boolean {
  try {
    const [pid, started] = readFileSync(claimFile(name), "utf8").split(" ");
    return startTime(Number(pid)) === started;
  } catch {
    return false;
  }
}

function known(): KeeperState[] {
  let names: string[] = [];
  try {
    names = readdirSync(labsDir);
  } catch {
    // No lab was ever up.
  }
  return names.map(readState).filter((state) => state !== undefined);
}

function find(name: string): KeeperState {
  const state = readState(name);
  if (state) return state;
  const names = known().map((each) => each.name);
  throw new LabError("unknown-lab", {
    found: `no lab named ${name}`,
    expected: names.length ? `one of ${names.join(", ")}` : "a lab that is up; none is",
    remedy: "baton lab up, or baton lab status to see them",
  });
}

function ask(state: KeeperState, request: KeeperRequest): Promise<LabStatus> {
  return new Promise((done, fail) => {
    let text = "";
    const socket = connect(state.socket);
    const failed = (found: string, cause?: unknown) => {
      socket.destroy();
      const remedy = `read ${join(stateDir(state.name), "keeper.log")}`;
      fail(
        new LabError("keeper-failed", { found, expected: "an answer of the lab's keeper", remedy, cause }),
      );
    };
    socket.setTimeout(commandTimeoutMs, () => failed(`no answer within ${commandTimeoutMs} ms`));
    socket.setEncoding("utf8");
    socket.on("error", (error) => failed(error.message, error));
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("end", () => {
      if (!text) return failed("the keeper closed the connection without an answer");
      const reply = JSON.parse(text) as KeeperReply;
      if ("status" in reply) done(reply.status);
      else fail(new LabError(reply.failure.code, reply.failure));
    });
    socket.end(`${JSON.stringify(request)}\n`);
  });
}

function readLog(name: string): string {
  try {
    return readFileSync(join(stateDir(name), "keeper.log"), "utf8").slice(-1_500);
  } catch {
    return "none";
  }
}
