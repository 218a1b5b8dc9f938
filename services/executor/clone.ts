/**
 * One copy of a donor over a node, by MySQL's clone plugin: begun, watched over sessions of its own until the restarted
 * server says how it ended. The server goes on with it whatever becomes of the executor, so a successor watches on.
 */
import type { Target } from "@baton/mysql";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/** What is told at most once a second. */
export interface Progress {
  source: string;
  copiedBytes: number;
  totalBytes: number;
  stage: string;
}

export interface CloneState extends Progress {
  /** `none`: no copy was begun since the node's data were given up. */
  state: "none" | "running" | "completed" | "failed";
  error: string;
}

const LOOK_MS = 500;
const TELL_MS = 1_000;
const CONNECT_MS = 2_000;
/** A supervisor starts a server again within seconds; after so long a person should hear of it. */
const GONE_MS = 30_000;
/** BEGIN_TIME has milliseconds, the stamp has microseconds. */
const STAMP_S = 0.001;
/** 3707: the copy is made, and nothing restarts the server. 1053: shutdown in progress. */
const GOOD_ENDS: ReadonlySet<unknown> = new Set([3707, 1053, null, undefined]);

/** @param sinceS when the node's data were given up, by its own clock: older copies do not count */
export async function readClone(hand: Hand, sinceS: number, deadlineMs: number): Promise<CloneState> {
  const [last, stages] = await hand.run(hand.dialect.cloneStatus, deadlineMs);
  const row = last?.[0];
  const none: CloneState = { state: "none", error: "", source: "", copiedBytes: 0, totalBytes: 0, stage: "" };
  if (row === undefined || Number(row.beganS) < sinceS - STAMP_S) return none;
  const sum = (column: string) => (stages ?? []).reduce((n, s) => n + Number(s[column] ?? 0), 0);
  const state = { "In Progress": "running", Completed: "completed", Failed: "failed" } as const;
  const now = (stages ?? []).find((s) => s.state === "In Progress" || s.state === "Failed");
  return {
    state: state[row.state as keyof typeof state] ?? "running",
    error: Number(row.errno) === 0 ? "" : `${row.errno} ${row.error}`,
    source: String(row.source),
    copiedBytes: sum("copied"),
    totalBytes: sum("estimate"),
    stage: String(now?.stage ?? "").toLowerCase(),
  };
}

/** Begins a copy and sees it to its end. @throws Refusal clone-failed, deadline-exceeded */
export async function clone(
  op: Operation,
  hand: Hand,
  donor: Target,
  sinceS: number,
  untilMs: number,
): Promise<CloneState> {
  const access = op.ports.access(op.cluster);
  const d = hand.dialect;
  await hand.run(d.allowClone(donor), op.declared.policy.deadlines.openMs);
  op.assertMine();
  const refused = Promise.withResolvers<never>();
  refused.promise.catch(() => undefined);
  const left = Math.max(1_000, untilMs - op.ports.now());
  void hand.run(d.clone(donor, access, { tls: access.tls !== undefined }), left).catch((error: unknown) => {
    const errno = error instanceof Refusal ? error.detail.errno : undefined;
    if (!GOOD_ENDS.has(errno))
      refused.reject(
        new Refusal("clone-failed", error instanceof Error ? error.message : String(error), { errno }),
      );
  });
  return follow(op, hand.node, sinceS, untilMs, refused.promise);
}

/** Watches the copy that runs until it has ended and the server is back. `refused` ends the watch. */
export async function follow(
  op: Operation,
  node: string,
  sinceS: number,
  untilMs: number,
  refused?: Promise<never>,
): Promise<CloneState> {
  const tell = teller(op, node);
  let helper: Hand | null = null;
  let awaySinceMs: number | null = null;
  let toldAway = false;
  let failed: unknown = null;
  refused?.catch((error: unknown) => {
    failed = error;
  });
  try {
    for (;;) {
      op.assertMine();
      if (failed !== null) throw failed;
      const now = op.ports.now();
      if (now > untilMs)
        throw new Refusal(
          "deadline-exceeded",
          awaySinceMs === null
            ? `the copy over ${node} had not ended in time`
            : `${node} did not come back after the copy: start its mysqld`,
        );
      try {
        helper ??= await op.ports.openLook(op.cluster, node, CONNECT_MS);
        const found = await readClone(helper, sinceS, CONNECT_MS);
        awaySinceMs = null;
        if (found.state === "completed" || found.state === "failed") return found;
        if (found.state === "none" && refused === undefined) return found;
        tell(found);
      } catch {
        helper?.destroy();
        helper = null;
        awaySinceMs ??= now;
        if (!toldAway && now - awaySinceMs > GONE_MS) {
          toldAway = true;
          tellGone(op, node);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  } finally {
    helper?.destroy();
  }
}

export function teller(op: Operation, node: string): (found: Progress) => void {
  const beganMs = op.ports.now();
  let toldMs = Number.NEGATIVE_INFINITY;
  return (found) => {
    const now = op.ports.now();
    if (now - toldMs < TELL_MS) return;
    toldMs = now;
    const bytesPerS = Math.round((found.copiedBytes * 1_000) / Math.max(1, now - beganMs));
    const leftMs =
      bytesPerS > 0 ? Math.round(((found.totalBytes - found.copiedBytes) * 1_000) / bytesPerS) : null;
    op.event({
      type: "rebuild-progress",
      node,
      outcome: null,
      code: null,
      summary:
        found.totalBytes === 0
          ? `${node}: ${found.stage || "waiting"}`
          : `${node}: ${found.stage || "waiting"}, ${found.copiedBytes} of ${found.totalBytes} bytes`,
      primary: null,
      previous: null,
      next: null,
      detail: {
        stage: found.stage,
        copiedBytes: found.copiedBytes,
        totalBytes: found.totalBytes,
        bytesPerS,
        leftMs,
        source: found.source,
      },
    });
  };
}

function tellGone(op: Operation, node: string): void {
  const next = `start mysqld on ${node}`;
  op.event({
    type: "rebuild-progress",
    node,
    outcome: null,
    code: null,
    summary: `${node} is stopped and nothing has started it again: after a clone mysqld leaves its restart to its supervisor`,
    primary: null,
    previous: null,
    next,
    detail: { stage: "restart" },
  });
  op.alert({
    severity: "warning",
    code: "rebuild-progress",
    title: `${op.cluster}: ${node} waits to be started`,
    summary: `The copy is made, and mysqld on ${node} stopped to be started again; no supervisor did it.`,
    action: `${next}: Baton then goes on by itself.`,
    node,
  });
}
