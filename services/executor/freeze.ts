/**
 * A live primary stops taking writes, and nobody who has written is left without an answer: statements under way end, their
 * commits are acknowledged by the replicas as ever, and only who is still at it after a grace is cut off. Unlike `shut`, this
 * leaves semi-sync on: whatever waits gets its ack, or the server gives the freeze up and all is as it was.
 */
import type { NodeStatus } from "@baton/contracts";
import type { Hand } from "./hand.ts";
import { within } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/** For statements under way. New ones wait meanwhile, so that this is part of the pause. */
const GRACE_MS = 100;
/** The server gives the freeze up by itself before this. */
const FREEZE_MS = 3_000;

export interface Frozen {
  /** Read after the last commit: nothing is added to it any more. */
  status: NodeStatus;
  /** Sessions that were cut off. */
  killed: number;
}

/** `helper` is another session to the node: the first one is busy waiting. @throws Refusal deadline-exceeded, node-lost */
export async function freeze(hand: Hand, helper: Hand): Promise<Frozen> {
  const d = hand.dialect;
  let failed: unknown = null;
  const freezing = hand.run([...d.freezeWrites, d.statusSql], FREEZE_MS).catch((error: unknown) => {
    failed = error;
    return null;
  });
  let killed = 0;
  if (
    (await within(
      freezing.then(() => true),
      GRACE_MS,
    )) === null
  ) {
    const [rows] = await helper.run(d.drainHolders, FREEZE_MS).catch(() => []);
    for (const row of rows ?? []) {
      killed++;
      await helper.run(d.kill(Number(row.id)), FREEZE_MS).catch(() => undefined);
    }
  }
  const sets = await freezing;
  if (sets === null) {
    if (hand.closed) throw failed;
    throw new Refusal(
      "deadline-exceeded",
      `${hand.node}: writes under way did not end, so the freeze was given up: ${failed instanceof Error ? failed.message : failed}`,
    );
  }
  const status = d.parseStatus(sets.slice(d.freezeWrites.length));
  if (!status.readOnly || !status.superReadOnly)
    throw new Refusal("node-lost", `${hand.node}: super_read_only did not stay on`);
  return { status, killed };
}
