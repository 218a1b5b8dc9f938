/**
 * Two nodes accept writes, or replicas follow two: the bleeding is stopped, what each node holds goes to the audit, the lawful history is
 * found, its primary writes, the others are quarantined (DETECTION.md, Split brain). Rebuilding them is an operation of its own.
 * Until the arbitration nothing is decided: every step may be run twice, and is, after a crash.
 */
import type { ClusterState, NodeStatus } from "@baton/contracts";
import type { GtidSet } from "@baton/mysql";
import {
  ackersOf,
  arbitrate,
  commit,
  downtimesOf,
  end,
  forgoing,
  heldBy,
  type Ruling,
} from "@baton/protocol";
import { handOn } from "./ask-node.ts";
import { applyReceived, carryForward } from "./carry-forward.ts";
import { heedEpoch } from "./epoch.ts";
import { shut } from "./fence-primary.ts";
import { proveHandover, stopAcknowledging } from "./handover.ts";
import { assertHoldsMark, openAgain } from "./open.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { tellQuarantined } from "./rejoin.ts";
import { type Look, lookAtAll, snapshotDetail } from "./snapshot.ts";
import { standStill } from "./stand-still.ts";

interface Scene {
  looks: ReadonlyMap<string, Look>;
  rivals: string[];
  /** The state's primary takes no writes now. */
  closed: boolean;
}

export async function splitBrain(op: Operation): Promise<void> {
  if (op.state.phase === "fencing") {
    let scene: Scene | null = null;
    try {
      const found = await op.step("stop", () => stop(op));
      scene = found;
      const held = await op.step("snapshot", () => snapshot(op, found));
      const ruling = await op.step("arbitrate", () => judge(op, found, held));
      if (ruling.keep === op.state.primary) return await keepPrimary(op, found, held);
      await op.step("resume", () => crown(op, ruling.keep, held));
    } catch (error) {
      if (!(error instanceof Refusal) || op.state.phase !== "fencing") throw error;
      await giveUp(op, scene, error);
      return;
    }
  }
  await carryForward(op, null);
  if (op.state.last?.outcome === "completed") tellResolved(op);
}

/** Every second pen is taken at once; the state's own primary keeps its own while k replicas that follow it say that it is followed. */
async function stop(op: Operation) {
  const { fenceMs } = op.declared.policy.deadlines;
  const { primary, undecided = [] } = op.state;
  const looks = await lookAtAll(op);
  heedEpoch(op, new Map([...looks].map(([node, look]) => [node, look.status])));
  const downtimes = downtimesOf(await op.ports.brakes(op.cluster), op.ports.nowUnixMs());
  const rivals = rivalsOf(op, looks).filter((node) => !downtimes.has(node));
  const beyondReach = Object.keys(op.declared.nodes).filter(
    (node) => node !== primary && !looks.has(node) && op.intent.nodes[node]?.readOnly === false,
  );
  // Shut since then; one that is away boots read-only, and is compared when it comes back.
  for (const node of undecided)
    if (node !== primary && looks.has(node) && !rivals.includes(node)) rivals.push(node);
  const shutting = async (node: string) => shut(op, await handOn(op, node), fenceMs);
  await Promise.all(rivals.map(shutting));
  if (beyondReach.length > 0)
    throw new Refusal(
      "node-lost",
      `${beyondReach.join(", ")} was seen to accept writes and cannot be reached to stop it`,
      { shut: rivals },
    );
  const own = looks.get(primary);
  if (own === undefined && op.intent.candidate === null)
    throw new Refusal("node-lost", `${primary} cannot be read: whose history is kept cannot be said`, {
      shut: rivals,
    });
  const followers = [...looks].filter(
    ([node, { status }]) =>
      !rivals.includes(node) &&
      !op.state.quarantined.includes(node) &&
      status.replica?.receiver === "on" &&
      status.replica.sourceUuid === op.state.primaryUuid,
  );
  const followed = followers.length >= op.declared.policy.acks;
  const mayWrite = undecided.length === 0 && (op.intent.candidate ?? primary) === primary;
  const open = own?.status.readOnly === false && followed && mayWrite;
  if (!open && own !== undefined) await shutting(primary);
  return {
    value: { looks, rivals, closed: !open },
    summary: `${[...rivals, ...(open ? [] : [primary])].join(", ")} accept nothing any more${open ? `; ${primary} writes on: ${followers.map(([n]) => n).join(", ")} follow it` : ""}`,
    detail: { rivals, followers: followers.map(([n]) => n), closed: !open },
  };
}

/** Nodes beside the primary that accept writes, or that somebody follows. */
function rivalsOf(op: Operation, looks: ReadonlyMap<string, Look>): string[] {
  const { primary } = op.state;
  const sources = new Set(
    [...looks.values()].flatMap(({ status: { replica } }) =>
      replica !== null && replica.receiver !== "off" ? [replica.sourceUuid] : [],
    ),
  );
  return [...looks]
    .filter(([node, { status }]) => node !== primary && (!status.readOnly || sources.has(status.serverUuid)))
    .map(([node]) => node);
}

/** What each holds, read after the rivals were shut: whatever was acknowledged is in it. */
async function snapshot(op: Operation, { looks, rivals }: Scene) {
  const after = await lookAtAll(op);
  const held = new Map([...after].map(([node, { status }]) => [node, status] as const));
  await op.archive({
    type: "split-brain-snapshot",
    node: op.state.primary,
    outcome: null,
    code: null,
    summary: `${[op.state.primary, ...rivals].join(" and ")} have written: what every node held when they were stopped`,
    primary: null,
    previous: null,
    next: null,
    detail: snapshotDetail(looks, after),
  });
  return { value: held, summary: `the sets, positions and sessions of ${held.size} nodes are archived` };
}

type Held = ReadonlyMap<string, NodeStatus>;

async function judge(op: Operation, { rivals, closed }: Scene, held: Held) {
  const { primary } = op.state;
  const statuses = op.intent.nodes;
  const nodeOf = (uuid: string | undefined) =>
    Object.keys(statuses).find((n) => uuid !== undefined && statuses[n]?.serverUuid === uuid) ?? null;
  const away = Object.keys(op.declared.nodes).filter((n) => !held.has(n));
  const ruling: Ruling = arbitrate({
    primary,
    rivals,
    held: new Map([...held].map(([n, s]) => [n, heldBy(s)])),
    away: new Map(away.map((n) => [n, nodeOf(statuses[n]?.replica?.sourceUuid)])),
    acks: op.declared.policy.acks,
  });
  const detail = {
    claims: ruling.claims.map((c) => ({
      node: c.node,
      own: c.own.toString(),
      acknowledged: c.acknowledged.toString(),
    })),
    away,
  };
  const wanted = op.intent.candidate;
  const needed = wanted ?? primary;
  if (!held.has(needed)) throw new Refusal("node-lost", `${needed} cannot be read any more`, detail);
  // Of MariaDB a person says it: its positions do not tell for sure whose history was acknowledged.
  const unsure = ruling.keep !== primary && held.get(primary)?.flavour === "mariadb";
  const keep = wanted ?? (unsure ? null : ruling.keep);
  if (keep === null) {
    // Whatever it acknowledged from now on might be what a person gives up.
    if (!closed) await shut(op, await handOn(op, primary), op.declared.policy.deadlines.fenceMs);
    throw new Refusal("diverged", ruling.reason, detail);
  }
  return {
    value: { keep },
    summary: wanted === null ? ruling.reason : `a person keeps the history of ${wanted}`,
    detail,
  };
}

/**
 * Of two acknowledged histories a person keeps one: the state in which what that lacks of the mark is given up with the other, and nothing
 * any more that it holds. Written only with what cannot be rolled back: whoever chooses anew finds all of it still required.
 */
function givingUpTheOther(op: Operation, kept: string, held: Held): ClusterState {
  if (op.intent.candidate === null) return op.state;
  const holds = heldBy(held.get(kept) as NodeStatus);
  const acceptLoss = {
    gtids: op.required.subtract(holds).toString(),
    unproven: false,
    by: `baton repair ${op.cluster} ${kept} --keep`,
  };
  return forgoing(op.state, { acceptLoss }, holds, op.ports.nowUnixMs());
}

/** The primary of the state writes, and whoever has written beside it is quarantined. The reign goes on. */
async function keepPrimary(op: Operation, { rivals, closed }: Scene, held: Held): Promise<void> {
  const { deadlines } = op.declared.policy;
  const { primary } = op.state;
  await op.step("resume", async () => {
    if (!closed) return { value: null, summary: `${primary} was never closed` };
    // What a person had closed before stays so, unless a person has now chosen it.
    const wasOpen = op.state.operation?.before.writable.includes(primary) === true;
    if (!wasOpen && op.intent.candidate !== primary)
      return { value: null, summary: `${primary} stays read-only, as it was found` };
    const hand = await handOn(op, primary);
    // The gate asks the state.
    if (op.intent.candidate !== null) await op.change(givingUpTheOther(op, primary, held));
    await openAgain(op, hand, await hand.status(deadlines.openMs));
    return { value: null, summary: `${primary} accepts writes again` };
  });
  const errant = errantBeside(held, primary, rivals);
  await op.step("quarantine", async () => {
    const stays: Record<string, string> = {};
    await Promise.all(
      [...errant].map(async ([node, set]) => {
        const status = await stopAcknowledging(await handOn(op, node), deadlines.openMs);
        const leaving = [...errant.keys()];
        // One that stays a member is compared again, and quarantined, by a rejoin.
        await proveHandover(op, node, heldBy(status).subtract(set), deadlines.openMs, leaving).catch(
          (error: unknown) => {
            if (!(error instanceof Refusal) || error.code !== "handover-unproven") throw error;
            stays[node] = error.message;
          },
        );
      }),
    );
    for (const node of Object.keys(stays)) errant.delete(node);
    const state = { ...op.state, undecided: [] };
    const quarantined = [...new Set([...state.quarantined, ...errant.keys()])];
    await op.change(end(state, "completed", null, op.ports.nowUnixMs(), quarantined));
    const apart = [...errant.keys(), ...Object.keys(stays)];
    return {
      value: null,
      summary: [
        apart.length === 0
          ? `nobody holds anything that ${primary} has not`
          : `${apart.join(", ")} follow nobody and will not be promoted`,
        ...Object.values(stays),
      ].join("; "),
      detail: { errant: Object.fromEntries([...errant].map(([n, set]) => [n, set.toString()])), stays },
    };
  });
  for (const [node, set] of errant) tellQuarantined(op, node, set);
  tellResolved(op);
}

/** A rival alone holds what was acknowledged: it begins a reign of its own. Whoever holds more than it is quarantined. */
async function crown(op: Operation, node: string, held: Held) {
  const { acks, deadlines } = op.declared.policy;
  const { primary } = op.state;
  const errant = errantBeside(
    held,
    node,
    [...held.keys()].filter((n) => n !== node),
  );
  const quarantined = [...new Set([...op.state.quarantined, ...errant.keys()])]
    .filter((n) => n !== node)
    .sort();
  const ackers = ackersOf(op.declared, node, quarantined).filter((n) => n !== primary && held.has(n));
  if (ackers.length < acks)
    throw new Refusal(
      "too-few-ackers-left",
      `${node} holds the acknowledged history, but ${ackers.length} clean replicas can be reached to follow it, and a write waits for ${acks}`,
    );
  // Before the commit point: afterwards there would be nobody to open.
  const given = givingUpTheOther(op, node, held);
  if (given === op.state) assertHoldsMark(op, node, heldBy(held.get(node) as NodeStatus));
  const hand = await handOn(op, node);
  await applyReceived(hand, held.get(node) as NodeStatus, deadlines.catchUpMs);
  await standStill(hand, deadlines.openMs);
  const { serverUuid, startedUnixS } = await hand.status(deadlines.openMs);
  const next = { ...given, quarantined, undecided: [], primaryStartedUnixS: startedUnixS };
  await op.change(commit(next, node, serverUuid, op.ports.nowUnixMs()));
  await Promise.all(
    [...errant.keys()].map((name) =>
      isolate(op, name).catch((error: unknown) => {
        // One that cannot be reached is quarantined all the same.
        if (!(error instanceof Refusal)) throw error;
      }),
    ),
  );
  for (const [name, set] of errant) tellQuarantined(op, name, set);
  return {
    value: null,
    summary: `${node} is the primary of epoch ${op.epoch}; from here there is no way back`,
    detail: { quarantined },
  };
}

async function isolate(op: Operation, node: string): Promise<void> {
  const { openMs } = op.declared.policy.deadlines;
  await stopAcknowledging(await handOn(op, node), openMs);
}

/** What each of the nodes holds and the kept one has not; those that hold nothing more are left out. */
function errantBeside(held: Held, kept: string, nodes: readonly string[]): Map<string, GtidSet> {
  const history = heldBy(held.get(kept) as NodeStatus);
  return new Map(
    nodes.flatMap((node) => {
      const status = held.get(node);
      if (status === undefined) return [];
      // The kept one may have written more since it was read.
      const extra = heldBy(status).subtract(history);
      const errant = extra.subtract(extra.onlyFrom((held.get(kept) as NodeStatus).serverUuid));
      return errant.isEmpty() ? [] : [[node, errant] as const];
    }),
  );
}

function tellResolved(op: Operation): void {
  const { primary, quarantined } = op.state;
  op.event({
    type: "split-brain-resolved",
    node: primary,
    outcome: "completed",
    code: null,
    summary: `${primary} has the one pen of ${op.cluster}; quarantined: ${quarantined.join(", ") || "nobody"}`,
    primary: null,
    previous: null,
    next: null,
    detail: {},
  });
  op.alert({
    severity: "warning",
    code: "split-brain-resolved",
    title: `${op.cluster}: the split brain is over, ${primary} is primary`,
    summary: op.intent.reason,
    action: `Find out who wrote beside it: baton history ${op.intent.operation} has the sessions and what each node held.`,
    node: primary,
  });
}

/**
 * The rivals stay shut. The primary gets its pen back when only it had one to lose: not while two histories compete, and not
 * when a rival could not be stopped, for then it was not touched.
 */
async function giveUp(op: Operation, scene: Scene | null, why: Refusal): Promise<void> {
  const { primary } = op.state;
  const { deadlines } = op.declared.policy;
  const compete = why.code === "diverged" || (op.state.undecided ?? []).length > 0;
  const before = op.state.operation?.before.writable ?? [];
  await op.confirmMine();
  if (!compete && scene?.closed === true && before.includes(primary))
    await handOn(op, primary)
      .then(async (hand) => openAgain(op, hand, await hand.status(deadlines.openMs)))
      .catch(() => undefined);
  const rivals = scene?.rivals ?? [];
  const undecided = compete ? [...new Set([primary, ...rivals, ...(op.state.undecided ?? [])])] : [];
  await op.change(end({ ...op.state, undecided }, "blocked", why.code, op.ports.nowUnixMs()));
  const next = compete
    ? undecided.map((n) => `baton repair ${op.cluster} ${n} --keep`).join(" or ")
    : `baton repair ${op.cluster} ${primary}`;
  op.event({
    type: "operation-ended",
    node: primary,
    outcome: "blocked",
    code: why.code,
    summary: `the split brain of ${op.cluster} is not resolved: ${why.message}`,
    primary: null,
    previous: null,
    next,
    detail: why.detail as Record<string, never>,
  });
  op.alert({
    severity: "critical",
    code: why.code,
    title: `${op.cluster}: the split brain is not resolved (${why.code})`,
    summary: why.message,
    action: compete
      ? `Nothing accepts writes. Choose whose history is kept; what the others hold alone is archived when they are rebuilt: ${next}.`
      : `Baton tries again by itself, or: ${next}.`,
    node: primary,
  });
}
