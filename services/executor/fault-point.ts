/**
 * Lets the lab stop this process at an exact place in an operation: `BATON_FAULT_POINT=after:commit=kill` or
 * `before:open=pause` (SIGKILL, SIGSTOP), once a process, in failovers, switchovers and rebuilds that it began itself. With
 * `BATON_FAULT_ONCE=<file>`, once among all processes that are given this file. This is how "killed after each step" is tried; unset, it
 * does nothing.
 */
import { closeSync, openSync } from "node:fs";
import { type OperationKind, type StepName, StepName as StepNames } from "@baton/contracts";

const KINDS: ReadonlySet<OperationKind> = new Set<OperationKind>(["failover", "switchover", "rebuild"]);
const wanted = parse(process.env.BATON_FAULT_POINT);
let fired = false;

function parse(
  text: string | undefined,
): { when: "before" | "after"; step: StepName; signal: NodeJS.Signals } | null {
  if (text === undefined || text === "") return null;
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
  if (wanted === null || fired || !KINDS.has(kind) || wanted.when !== when || wanted.step !== step) return;
  fired = true;
  if (!isFirst(process.env.BATON_FAULT_ONCE)) return;
  process.kill(process.pid, wanted.signal);
}

function isFirst(file: string | undefined): boolean {
  if (file === undefined) return true;
  try {
    closeSync(openSync(file, "wx"));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}
