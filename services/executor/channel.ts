/**
 * The one place where a node's channel is pointed at a source or forgotten. What it has received and not applied may be the only copy of an
 * acknowledged write, and the server deletes it when a channel is changed or reset while both threads stand (libs/protocol/channel.ts). So:
 * where it points already it is only started; else its applier runs while the receiver is pointed; else all is applied first; else k other
 * members are read, now, to hold what would go; else it is refused and the node is left as it is. Relay logs that its applier was put behind
 * are applied too (left-behind.ts).
 */
import type { NodeStatus } from "@baton/contracts";
import type { GtidSet } from "@baton/mysql";
import { type ChannelSettings, channelStep, heldBy, notCounted, unappliedIn } from "@baton/protocol";
import { beside } from "./beside.ts";
import type { Hand } from "./hand.ts";
import { takeUpLeftBehind } from "./left-behind.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { applyBeforeStanding } from "./relay-logs.ts";
import { standStill } from "./stand-still.ts";

/** An applier that cannot go on says so at its first transaction. */
const SETTLE_MS = 200;
/** A wait in slices, so that an applier that stops, or an operation that was taken away, is noticed. */
const SLICE_MS = 500;
/** For a server that is well; a silent one is not waited for. */
const GLANCE_MS = 1_000;

export interface Pointing {
  /** The node's roles and read-only flags, set before its receiver starts. */
  roles: readonly string[];
  /** What is started then. */
  start: "replication" | "receiver" | "nothing";
  /** Read since its receiver was stopped; else it is stopped and read. */
  known?: NodeStatus;
  /** The state says that its data are replaced (`unbuilt`): what its relay logs held was handed over before that. */
  replaced?: boolean;
  /** A replica that runs and is only pointed elsewhere: nobody waits for its applier to come to an end. */
  running?: boolean;
}

/** What was needed for it: `start` touches no setting. */
export type Pointed = "start" | "redirect" | "change";

/** Points the node at a source of this cluster, and starts what is to be started. @throws Refusal relay-log-unapplied, node-lost */
export async function pointAt(op: Operation, hand: Hand, source: string, o: Pointing): Promise<Pointed> {
  const { target, account, tls } = sourceOf(op, source);
  return pointAtAddress(op, hand, target, account, tls, o);
}

/** The same for an address that is no declared node's, such as one that is to be put back. */
export async function pointAtAddress(
  op: Operation,
  hand: Hand,
  target: { host: string; port: number },
  account: { user: string; password: string },
  tls: boolean,
  o: Pointing,
): Promise<Pointed> {
  const { openMs, catchUpMs } = op.declared.policy.deadlines;
  const d = hand.dialect;
  const starts = { replication: [d.startReplication], receiver: [d.startReceiver], nothing: [] }[o.start];
  const follow = d.follow(target, account, { tls });
  const redirect = d.redirectReceiver(target, account, { tls });
  if (!d.keepsRelayLogs) {
    // Both threads must stand for it, and then its relay logs are lost whatever is done (docs/operate/mariadb.md).
    const r = (o.known ?? (await hand.status(openMs))).replica;
    if (r !== null && r.applier === "on") await applyBeforeStanding(hand, catchUpMs);
    await standStill(hand, openMs);
    await hand.run([...o.roles, o.running === true ? redirect : follow, ...starts], openMs);
    return "change";
  }
  if (o.replaced === true) {
    await forgetChannel(op, hand, true);
    await hand.run([...o.roles, follow, ...starts], openMs);
    return "change";
  }
  const wanted = settingsWanted(hand, { target, account, tls });
  let status = o.known ?? (await readStopped(hand, openMs));
  if (await takeUpLeftBehind(hand, status, openMs)) status = await readStopped(hand, openMs);
  const r = status.replica;
  const there = r !== null && r.sourceHost === target.host && r.sourcePort === target.port;
  const now = there ? await settingsNow(hand, openMs) : null;
  let step = channelStep(status, now, wanted);
  if (step.do === "apply") {
    status = await applyWhatItCan(op, hand, o.running === true ? SETTLE_MS : catchUpMs);
    step = channelStep(status, now, wanted);
  }
  op.assertMine();
  switch (step.do) {
    case "start":
      await hand.run([...o.roles, ...starts], openMs);
      return "start";
    case "redirect":
      await hand.run([...o.roles, redirect, ...starts], openMs);
      return "redirect";
    case "apply":
      await assertOthersHold(op, hand.node, step.unapplied);
      break;
    case "change":
      break;
  }
  if (r !== null) await standStill(hand, openMs);
  await hand.run([...o.roles, follow, ...starts], openMs);
  return "change";
}

/**
 * A node that only has to be started where it points, and whose receiver does not connect, is given what the declaration says
 * now: a password is not to be seen. Its applier runs by then, so that nothing goes. True when there was something to give.
 */
export async function setAgain(op: Operation, hand: Hand, source: string): Promise<boolean> {
  const { openMs } = op.declared.policy.deadlines;
  const d = hand.dialect;
  if (!d.keepsRelayLogs) return false;
  const { target, account, tls } = sourceOf(op, source);
  const status = await readStopped(hand, openMs);
  if (channelStep(status, null, settingsWanted(hand, { target, account, tls })).do !== "redirect")
    return false;
  await hand.run([d.redirectReceiver(target, account, { tls }), d.startReceiver], openMs);
  return true;
}

/**
 * The channel goes with its relay logs: only when all that it received is executed, or the node's data are replaced. Else it stays,
 * stopped, and false is returned.
 */
export async function forgetChannel(op: Operation, hand: Hand, replaced = false): Promise<boolean> {
  const { openMs } = op.declared.policy.deadlines;
  await standStill(hand, openMs);
  if (!replaced && !unappliedIn(await hand.status(openMs)).isEmpty()) return false;
  await hand.run(hand.dialect.resetReplication, openMs);
  return true;
}

export function sourceOf(op: Operation, primary: string) {
  const declared = op.declared.nodes[primary];
  const access = op.ports.access(op.cluster);
  return {
    target: { host: declared?.host ?? "", port: declared?.port ?? 0 },
    account: access.replication ?? access,
    tls: access.tls !== undefined,
  };
}

function settingsWanted(hand: Hand, { target, account, tls }: ReturnType<typeof sourceOf>): ChannelSettings {
  return { ...target, user: account.user, tls, autoPosition: true, ...hand.dialect.channelDefaults };
}

async function readStopped(hand: Hand, deadlineMs: number): Promise<NodeStatus> {
  const { stopReceiver, statusSql } = hand.dialect;
  const [, ...sets] = await hand.run([stopReceiver, statusSql], deadlineMs);
  return hand.dialect.parseStatus(sets);
}

async function settingsNow(hand: Hand, deadlineMs: number): Promise<ChannelSettings | null> {
  const { channelSettings } = hand.dialect;
  if (channelSettings === null) return null;
  const [rows] = await hand.run(channelSettings, deadlineMs);
  const c = rows?.[0];
  if (c === undefined) return null;
  return {
    host: String(c.host),
    port: Number(c.port),
    user: String(c.user),
    tls: Number(c.tls) === 1,
    autoPosition: Number(c.autoPos) === 1,
    heartbeatS: Number(c.heartbeatS),
    retryS: Number(c.retryS),
    retries: Number(c.retries),
  };
}

/** Starts the applier where it stands; returns once it runs without an error by auto position, has applied all, or time is up. */
async function applyWhatItCan(op: Operation, hand: Hand, withinMs: number): Promise<NodeStatus> {
  const { openMs } = op.declared.policy.deadlines;
  const d = hand.dialect;
  const untilMs = op.ports.now() + withinMs;
  await hand.run(d.startApplier, openMs);
  for (let sliceMs = SETTLE_MS; ; sliceMs = SLICE_MS) {
    const received = (await hand.status(openMs)).replica?.received ?? "";
    if (received !== "") await hand.run(d.waitApplied(received, sliceMs), sliceMs + openMs);
    const status = await hand.status(openMs);
    const r = status.replica;
    const stopped = r === null || r.applier === "off" || r.applierErrno !== 0;
    if (stopped || r.autoPosition || unappliedIn(status).isEmpty() || op.ports.now() > untilMs) return status;
    op.assertMine();
  }
}

/** @throws Refusal relay-log-unapplied unless k other members hold it now. */
async function assertOthersHold(op: Operation, node: string, set: GtidSet): Promise<void> {
  const { acks } = op.declared.policy;
  const found = await whoHolds(op, node, set);
  if (found.holders.length >= acks) return;
  throw new Refusal(
    "relay-log-unapplied",
    `${node} has received ${set} and does not apply it, and pointing it elsewhere would delete that: ${describeHolders(found, acks)}`,
    { unapplied: set.toString(), ...detailOf(found) },
  );
}

export interface Holders {
  holders: string[];
  /** Other members that answered, and what each of them lacks. */
  lacking: Record<string, string>;
  /** Those of them that receive: they may hold it in a moment. */
  receiving: string[];
  /** Other members that could not be read, and why. */
  away: Record<string, string>;
}

/** Which of the other members hold all of the set, read now. Neither the primary, nor whoever is quarantined or parked, nor `leaving` count. */
export async function whoHolds(
  op: Operation,
  node: string,
  set: GtidSet,
  leaving: readonly string[] = [],
): Promise<Holders> {
  const found: Holders = { holders: [], lacking: {}, receiving: [], away: {} };
  for (const [parked, { why }] of Object.entries(op.state.parked ?? {}))
    if (parked !== node && op.declared.nodes[parked] !== undefined) found.away[parked] = `parked: ${why}`;
  const out = new Set([node, op.state.primary, ...notCounted(op.state), ...leaving]);
  await Promise.all(
    Object.keys(op.declared.nodes)
      .filter((name) => !out.has(name))
      .map(async (name) => {
        try {
          const status = await beside(op, name, (h) => h.status(GLANCE_MS));
          const lacks = set.subtract(heldBy(status));
          if (lacks.isEmpty()) found.holders.push(name);
          else found.lacking[name] = lacks.toString();
          if (!lacks.isEmpty() && status.replica?.receiver === "on") found.receiving.push(name);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          found.away[name] = error.message;
        }
      }),
  );
  found.holders.sort();
  return found;
}

export function detailOf({ holders, lacking, away }: Holders): Record<string, unknown> {
  return { holders, lacking, away };
}

/** `1 other member must hold it, n3 does; n4 lacks uuid:7; n5 cannot be read: start it` */
export function describeHolders({ holders, lacking, away }: Holders, acks: number): string {
  const parts = [
    `${acks} other member${acks === 1 ? "" : "s"} must hold it, ${holders.join(", ") || "none"} ${holders.length > 1 ? "do" : "does"}`,
    ...Object.entries(lacking).map(([name, set]) => `${name} lacks ${set}`),
    ...(Object.keys(away).length > 0
      ? [
          `${Object.keys(away).join(", ")} cannot be read: start ${Object.keys(away).length > 1 ? "them" : "it"}`,
        ]
      : []),
  ];
  return parts.join("; ");
}
