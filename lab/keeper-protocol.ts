import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "./binaries.ts";
import type { LabErrorCode } from "./lab-error.ts";
import { startTime } from "./reaper.ts";

/** What the keeper of a lab and the commands agree on: where its state is, and what goes over its socket. */

export const nodeCommands = ["kill", "hang", "resume", "start"] as const;
export type NodeCommand = (typeof nodeCommands)[number];

/** One line of JSON each way. */
export interface KeeperRequest {
  command: NodeCommand | "status" | "down";
  node?: string;
}

export interface KeeperFailure {
  code: LabErrorCode;
  found: string;
  expected: string;
  remedy: string;
}

export type KeeperReply = { status: LabStatus } | { failure: KeeperFailure };

/** What the keeper tells the process that started it. */
export type KeeperNews = { progress: string } | KeeperReply;

export interface LabStatus {
  name: string;
  dir: string;
  keeperPid: number;
  startedAt: string;
  nodes: {
    name: string;
    host: string;
    port: number;
    region: string;
    socket: string;
    pid: number | null;
    state: "running" | "hung" | "stopped";
    /** True for the node that takes writes now. */
    primary: boolean;
  }[];
  nats: {
    name: string;
    url: string;
    monitorPort: number;
    pid: number | null;
    state: "running" | "hung" | "stopped";
  }[];
  accounts: Record<"baton" | "repl" | "app", { user: string; password: string }>;
}

/** Left by a keeper for the commands to find it. */
export interface KeeperState {
  name: string;
  pid: number;
  /** Of the keeper's process: tells it from a stranger that got its pid later. */
  processStarted: string;
  socket: string;
  startedAt: string;
}

export const labsDir = join(repository, ".lab");

export function stateDir(name: string): string {
  return join(labsDir, name);
}

export function stateFile(name: string): string {
  return join(stateDir(name), "state.json");
}

/** The state of a lab whose keeper is alive; undefined when there is none. */
export function readState(name: string): KeeperState | undefined {
  try {
    const state = JSON.parse(readFileSync(stateFile(name), "utf8")) as KeeperState;
    return startTime(state.pid) === state.processStarted ? state : undefined;
  } catch {
    return undefined;
  }
}
