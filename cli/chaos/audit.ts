/** What the auditors say of a round. */
import { BatonError, type OperationSummary, type RefusalCode } from "@baton/contracts";
import type { Reign } from "@baton/lab/chaos";
import type { ChaosStage } from "./stage.ts";
import { until } from "./until.ts";

const AUDIT_MS = 20_000;
/** More than any round begins. */
const OPERATIONS_ASKED = 60;
/** Ends of operations that say that somebody else was first: no refusals. */
const OVERTAKEN: readonly string[] = ["state-changed", "lock-lost", "executor-lost"];

export interface Audit {
  /** Oldest first. */
  operations: OperationSummary[];
  reigns: (Reign & { atUnixMs: number })[];
}

export async function operationsSoFar(stage: ChaosStage): Promise<ReadonlySet<string>> {
  return new Set((await stage.operations(OPERATIONS_ASKED)).map(({ operation }) => operation));
}

/**
 * What was done since `before`, in epoch `epoch` and later. An auditor may be behind: it is asked again until it knows how each operation
 * ended and who reigns now, or until it has had time enough.
 */
export async function readAudit(
  stage: ChaosStage,
  before: ReadonlySet<string>,
  epoch: number,
  signal: AbortSignal,
): Promise<Audit> {
  let audit: Audit = { operations: [], reigns: [] };
  await until(
    async () => {
      try {
        const all = await stage.operations(OPERATIONS_ASKED);
        const operations = all.filter(({ operation }) => !before.has(operation)).reverse();
        audit = { operations, reigns: await reignsOf(stage, operations, epoch) };
        const now = await stage.status();
        const known = (audit.reigns.at(-1)?.epoch ?? epoch) === now?.epoch;
        return known && operations.every(({ outcome }) => outcome !== null);
      } catch (error) {
        if (error instanceof BatonError) return false;
        throw error;
      }
    },
    AUDIT_MS,
    signal,
  );
  return audit;
}

async function reignsOf(
  stage: ChaosStage,
  operations: readonly OperationSummary[],
  epoch: number,
): Promise<Audit["reigns"]> {
  const reigns: Audit["reigns"] = [];
  for (const { operation, kind } of operations) {
    if (kind !== "failover" && kind !== "switchover") continue;
    const reign = await stage.newPrimary(operation);
    if (reign !== null && reign.epoch > epoch) reigns.push(reign);
  }
  return reigns.sort((a, b) => a.epoch - b.epoch);
}

/** A time that this process's monotonic clock and the wall clock both know. */
export interface Moment {
  monotonicMs: number;
  unixMs: number;
}

/** With what failovers were refused from the fault until the healing began: said by deciders, or by how one ended. */
export function refusalsOf(
  stage: ChaosStage,
  operations: readonly OperationSummary[],
  fromMs: number,
  toMs: number,
  moment: Moment,
): RefusalCode[] {
  const during = (atMs: number) => atMs >= fromMs && atMs < toMs;
  const said = stage.ears.refusals.filter(({ atMs }) => during(atMs)).map(({ code }) => code);
  const ended = operations.filter(({ kind, outcome, code, startedUnixMs, tookMs }) => {
    const endedMs = startedUnixMs + (tookMs ?? 0) - moment.unixMs + moment.monotonicMs;
    const refused = outcome !== "completed" && code !== null && !OVERTAKEN.includes(code);
    return kind === "failover" && refused && during(endedMs);
  });
  return [...said, ...ended.map(({ code }) => code as RefusalCode)];
}
