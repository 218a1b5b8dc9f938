/**
 * Lets the lab stop this process at an exact place in an operation: `BATON_FAULT_POINT=after:commit=kill` or
 * `before:open=pause` (SIGKILL, SIGSTOP), once a process, in failovers, switchovers and rebuilds that it began itself, and at the step `rejoin` whoever takes it. This is how "killed after each step" is tried; unset, it does nothing.
 * `BATON_FAULT_POINT=@FILE`: the file says where, while it is there. Whoever fires takes it away first, so that of many executors one does.
 */
import { readFileSync, unlinkSync } from "node:fs";
import { type OperationKind, type StepName, StepName as StepNames } from "@baton/contracts";

const KINDS: ReadonlySet<OperationKind> = new Set<OperationKind>(["failover", "switchover", "rebuild"]);

interface FaultPoint {
  when: "before" | "after";
  step: StepName;
  signal: NodeJS.Signals;
}

const setting = process.env.BATON_FAULT_POINT ?? "";
const file = setting.startsWith("@") ? setting.slice(1) : null;
const fixed = file === null ? parse(setting) : null;
let fired = false;

function parse(text: string): FaultPoint | null {
  if (text === "") return null;
  const match = /^(before|after):([a-z-]+)=(kill|pause)$/.exec(text);
  const step = StepNames.safeParse(match?.[2]);
  if (match === null || !step.success)
    throw new Error(
      `BATON_FAULT_POINT=${text}: expected before|after:<step>=kill|pause, a step is one of ${StepNames.options.join(", ")}`,
    );
  return {
    when: match[1] as "before" | "after",
    step: step.data,
    signal: match[3] === "kill" ? "SIGKILL" : "SIGSTOP",
  };
}

export function faultPoint(when: "before" | "after", kind: OperationKind, step: StepName): void {
  const wanted = file === null ? fixed : inFile(file);
  if (wanted === null || fired || wanted.when !== when || wanted.step !== step) return;
  if (!KINDS.has(kind) && step !== "rejoin") return;
  if (file === null) fired = true;
  else if (!takeAway(file)) return;
  process.kill(process.pid, wanted.signal);
}

function inFile(path: string): FaultPoint | null {
  try {
    return parse(readFileSync(path, "utf8").trim());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function takeAway(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch {
    return false;
  }
}
