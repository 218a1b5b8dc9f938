/**
 * Shuts a node that may still accept writes, so that no client gets an OK afterwards. The order matters (measured on
 * MySQL 9.7, SAFETY.md): `super_read_only=ON` is sent first and holds off every new commit, but itself waits behind
 * sessions that wait for an ack; these are killed, and only then is semi-sync switched off, which ends them unanswered.
 * Switched off first, it would answer OK to writes that no replica has.
 */
import type { NodeStatus } from "@baton/contracts";
import type { Dialect, Row } from "@baton/mysql";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/**
 * A second session to the node does the rest while the first one waits in `SET super_read_only`. Once that is sent it is carried to
 * its end; before, `isGivenUp` says that nobody wants it any more. `meant`: the server_uuid that it must be, for an address
 * may lead to another server by now. @throws Refusal
 */
export async function shut(
  op: Operation,
  hand: Hand,
  deadlineMs: number,
  isGivenUp: () => boolean = () => false,
  meant: string | null = null,
): Promise<NodeStatus> {
  const before = await hand.status(deadlineMs);
  if (meant !== null && before.serverUuid !== meant)
    throw new Refusal(
      "state-changed",
      `at ${hand.node}'s address another server answers (${before.serverUuid}), and not ${meant}: it was not touched`,
    );
  if (before.readOnly && before.superReadOnly && before.semiSync?.source !== true) return before;
  if (op.intent.kind === "failover" && !before.readOnly) await op.noteWritable(hand.node);
  const helper = await op.helper(hand, deadlineMs);
  try {
    if (isGivenUp()) throw new Refusal("node-lost", `${hand.node}: it was not shut, the operation had ended`);
    const closing = hand.run(hand.dialect.closeWrites, deadlineMs);
    closing.catch(() => undefined);
    // Not before the server has it: from then on no other commit begins.
    await untilHeldOff(op, helper, hand, deadlineMs);
    await killClients(helper, deadlineMs);
    await letWaitersGo(op, helper, closing, deadlineMs);
    await closing;
  } finally {
    helper.destroy();
  }
  const after = await hand.status(deadlineMs);
  if (!after.readOnly || !after.superReadOnly)
    throw new Refusal("node-lost", `${hand.node}: super_read_only did not stay on`);
  return after;
}

const LOOK_MS = 2;

/** Waits until the closing statement has either returned or is seen waiting in the server. */
async function untilHeldOff(op: Operation, helper: Hand, hand: Hand, deadlineMs: number): Promise<void> {
  const untilMs = op.ports.now() + deadlineMs;
  while (op.ports.now() < untilMs) {
    const [rows] = await helper.run(helper.dialect.closingWrites, deadlineMs);
    if (Number(rows?.[0]?.closing ?? 0) > 0) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  throw new Refusal(
    "deadline-exceeded",
    `${hand.node}: super_read_only=ON was sent but is not seen in the server`,
  );
}

/**
 * Not taken as done when the server says that it is not surely held off: a moment later it may be closed, or this executor have slept and
 * the server given the closing up, which then says so. @throws Refusal node-lost (of the closing, errno 1205), deadline-exceeded
 */
async function letWaitersGo(
  op: Operation,
  helper: Hand,
  closing: Promise<unknown>,
  deadlineMs: number,
): Promise<void> {
  const untilMs = op.ports.now() + deadlineMs;
  let givenUp: unknown = null;
  closing.catch((error: unknown) => {
    givenUp = error;
  });
  while (op.ports.now() < untilMs) {
    const answers = await helper.run(helper.dialect.letWaitersGo, deadlineMs);
    if (Number(answers.at(-1)?.[0]?.still ?? 0) === 0) return;
    if (givenUp !== null) throw givenUp;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  throw new Refusal("deadline-exceeded", `${helper.node}: writes that wait for acks could not be let go`);
}

export async function killClients(helper: Hand, deadlineMs: number): Promise<number> {
  const { clientSessions, groupWaits } = helper.dialect;
  if (groupWaits !== null) return killByGroups(helper, groupWaits, deadlineMs);
  const [rows] = await helper.run(clientSessions, deadlineMs);
  return kill(helper, rows ?? [], deadlineMs);
}

async function kill(helper: Hand, rows: readonly Row[], deadlineMs: number): Promise<number> {
  // One that ended by itself makes KILL fail with "Unknown thread id", so each is its own statement.
  for (const row of rows)
    await helper.run(helper.dialect.kill(Number(row.id)), deadlineMs).catch(() => undefined);
  return rows.length;
}

/**
 * Where one session waits for the ack of its whole commit group, killing it answers OK to the rest of the group (measured on
 * MariaDB). So no further ack may come, which would pass the wait on to the next group; then all but the one that waits are
 * killed, which closes their sockets while they stand behind it; and only then is it.
 */
async function killByGroups(
  helper: Hand,
  { dumpThreads, waits }: NonNullable<Dialect["groupWaits"]>,
  deadlineMs: number,
): Promise<number> {
  const [dumps] = await helper.run(dumpThreads, deadlineMs);
  await kill(helper, dumps ?? [], deadlineMs);
  const beganMs = performance.now();
  for (let killed = 0; performance.now() - beganMs < deadlineMs; ) {
    const [rows] = await helper.run(helper.dialect.clientSessions, deadlineMs);
    const alive = (rows ?? []).filter((row) => row.command !== "Killed");
    const others = alive.filter((row) => row.state !== waits);
    if (alive.length === 0) return killed;
    killed += await kill(helper, others.length > 0 ? others : alive, deadlineMs);
  }
  throw new Refusal("deadline-exceeded", `${helper.node}: its client sessions could not be ended`);
}
