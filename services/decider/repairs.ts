/**
 * What Baton could mend in this cluster now, and whether it may: the faults of single nodes with since when each stands, the policy of
 * each, its cooldown and its limit. Pure. What is mended and how is in the executor's repair.ts and rejoin.ts.
 */
import { type ClusterState, type DiagnosisCode, type NodeStatus, RepairCode } from "@baton/contracts";
import type { GtidSet } from "@baton/mysql/gtid";
import {
  answersAlone,
  follows,
  isCalm,
  isSameRow,
  mayLose,
  ownTransactions,
  penOf,
  primarySemiSyncFaults,
  rowOf,
  waitingThoughHeld,
} from "@baton/protocol";
import { downtimesNow } from "./brakes.ts";
import { isForeignNode, mismatchNow } from "./identity.ts";
import { type Picture, primaryExecuted } from "./picture.ts";
import { placeReplica } from "./placement.ts";
import { inDoubt, reachedStatuses, type VoteSettings } from "./votes.ts";

export interface Fault {
  code: RepairCode;
  node: string;
  found: string;
  /** The operation that mends it. */
  by: "rejoin" | "repair" | "split-brain";
  /** Baton would mend it by itself; else a person must want it, as with what a person has stopped. */
  unasked: boolean;
  /** When this changes it is another fault, that has only just begun. */
  mark: string;
  /** Since when it has stood without a break. */
  sinceMs: number;
}

type Found = Omit<Fault, "sinceMs">;

/** Reads that are under way while an operation ends settle in this time. */
const STANDS_MS = 1_000;
/** Every write on a second pen is one too many: two looks are enough. */
const SPLIT_STANDS_MS = 250;
/** A former primary that wakes may still have its clients. */
const WRITABLE_STANDS_MS = 200;
/** A commit waits for its ack for as long as the network takes; nobody's takes this long when the replicas have it already. */
const WAITING_STANDS_MS = 2_000;
/** A receiver may be so long at one large transaction. */
const HOLLOW_STANDS_MS = 10_000;
/** Whoever opened it writes the row, as soon as replicas follow. */
const UNMARKED_STANDS_MS = 5_000;
const HOUR_MS = 3_600_000;

/** Gravest first. Nothing while the primary is suspect or an operation runs: what is seen then will pass. */
function faultsNow(picture: Picture, now: number, s: VoteSettings): Found[] {
  const { state, declared } = picture;
  if (state === null || declared === null || !isCalm(state.value) || inDoubt(picture, now, s)) return [];
  if (mismatchNow(picture, now, s) !== null) return [];
  const { primary } = state.value;
  const statuses = new Map(
    [...reachedStatuses(picture, now, s)].filter(
      ([node, status]) =>
        (picture.statuses.get(node)?.atMs ?? 0) > state.sinceMs && !isForeignNode(picture, node, status),
    ),
  );
  const executed = primaryExecuted(picture, primary);
  const downtimes = downtimesNow(picture, now);
  const split = splitBrain(picture, statuses, executed, downtimes);
  // One operation settles them all, and what else is seen of them is part of it.
  if ((state.value.undecided ?? []).length > 0) return split.faults;
  const faults: Found[] = [...split.faults];
  const ofPrimary = statuses.get(primary);
  // What is mended in place is MySQL's only; on MariaDB a node is led home or left to a person.
  if (ofPrimary?.flavour === "mysql") faults.push(...primaryFaults(picture, primary, ofPrimary, statuses));
  for (const [node, status] of statuses) {
    if (
      node === primary ||
      downtimes.has(node) ||
      declared.nodes[node] === undefined ||
      node === state.value.operation?.node
    )
      continue;
    if (split.rivals.includes(node) || followsAPen(picture, status, now)) continue;
    const { astray, faults: own } = placeReplica(picture, node, status, executed);
    const { why = "", repair = null } = astray ?? {};
    if (repair !== null)
      faults.push({
        code: repair,
        node,
        found: `${node} is not where it belongs: ${why}`,
        by: "rejoin",
        unasked: true,
        mark: "",
      });
    if (status.flavour === "mariadb") continue;
    for (const fault of own) faults.push({ ...fault, node, mark: fault.mark ?? "" });
  }
  const gravity = (code: RepairCode) => RepairCode.options.indexOf(code);
  return faults.sort((a, b) => gravity(a.code) - gravity(b.code));
}

/**
 * A writable node beside the primary is a rival when it has written, or others follow it; one that has not and is alone is only out of
 * its place. The fault is the primary's: it is about who has the pen.
 */
function splitBrain(
  picture: Picture,
  statuses: ReadonlyMap<string, NodeStatus>,
  executed: GtidSet,
  downtimes: ReadonlyMap<string, string>,
): { faults: Found[]; rivals: string[] } {
  const state = picture.state?.value;
  if (state === undefined) return { faults: [], rivals: [] };
  const { primary, primaryUuid, undecided = [] } = state;
  const fault = (found: string, unasked: boolean, rivals: string[]) => ({
    faults: [
      { code: "split-brain" as const, node: primary, found, by: "split-brain" as const, unasked, mark: "" },
    ],
    rivals,
  });
  if (undecided.length > 0)
    return fault(
      `${undecided.join(" and ")} hold two histories, each with writes that replicas acknowledged: a person chooses`,
      false,
      undecided,
    );
  if (!statuses.has(primary)) return { faults: [], rivals: [] };
  const followed = (uuid: string) =>
    [...statuses.values()].some((of) => of.replica?.receiver === "on" && of.replica.sourceUuid === uuid);
  const rivals = [...statuses]
    .filter(
      ([node, of]) =>
        node !== primary &&
        picture.declared?.nodes[node] !== undefined &&
        !downtimes.has(node) &&
        of.flavour === "mysql" &&
        !of.readOnly &&
        (!ownTransactions(of, executed, primaryUuid).isEmpty() || followed(of.serverUuid)),
    )
    .map(([node]) => node)
    .sort();
  if (rivals.length === 0) return { faults: [], rivals };
  return fault(
    `${rivals.join(", ")} accept writes beside ${primary}, and have a history of their own`,
    true,
    rivals,
  );
}

/** A pen that has not answered for so long is taken for gone. */
const PEN_KNOWN_MS = 30_000;

/**
 * It follows a node that accepted writes when it was last seen. What it holds of that node may have been acknowledged by it, so it is part of the
 * split brain's settling, even if that node is silent for a moment: led home alone it would take the proof with it.
 */
function followsAPen(picture: Picture, status: NodeStatus, now: number): boolean {
  const { state } = picture;
  const source = status.replica?.sourceUuid ?? "";
  if (state === null || source === "" || source === state.value.primaryUuid) return false;
  return [...picture.statuses].some(
    ([node, of]) =>
      node !== state.value.primary &&
      of.status.serverUuid === source &&
      !isForeignNode(picture, node, of.status) &&
      // A former primary was seen writing before it lost the pen.
      of.atMs > state.sinceMs &&
      of.status.flavour === "mysql" &&
      !of.status.readOnly &&
      now - of.atMs < PEN_KNOWN_MS,
  );
}

function primaryFaults(
  picture: Picture,
  node: string,
  status: NodeStatus,
  statuses: ReadonlyMap<string, NodeStatus>,
): Found[] {
  const { declared, state } = picture;
  if (declared === null || state === null || status.readOnly) return [];
  const { policy } = declared;
  const fault = (code: RepairCode, found: string, unasked = true, mark = ""): Found[] => [
    { code, node, found, by: "repair", unasked, mark },
  ];
  const ackers = [...statuses]
    .filter(([n]) => n !== node && !state.value.quarantined.includes(n))
    .map(([, of]) => of)
    .filter((of) => follows(of, state.value.primaryUuid, declared.nodes[node]));
  // Semi-sync switched on before they are there would stop every write.
  const enough = ackers.filter((of) => of.replica?.receiver === "on").length >= policy.acks;
  if (answersAlone(status, mayLose(declared, state.value)))
    return fault("semi-sync-off", `${node} answers writes that no replica has acknowledged`, enough);
  if (status.semiSync?.source !== true) return [];
  const wrong = primarySemiSyncFaults(status.semiSync, penOf(policy, state.value));
  if (wrong.length > 0) return fault("semi-sync-broken", `${node} ${wrong.join(", ")}`, enough);
  const waiting = waitingThoughHeld(status, ackers, policy.acks);
  if (waiting === null && isUnmarked(state.value, status))
    return fault("epoch-unmarked", `${node} does not carry the mark of epoch ${state.value.epoch}`, enough);
  return waiting === null
    ? []
    : fault(
        "semi-sync-waiting",
        `${status.semiSync?.waiting} sessions wait on ${node} for acks of ${waiting}, which enough replicas hold`,
        true,
        status.executed,
      );
}

/** Where the row could not be read, nothing is known of it. */
function isUnmarked(state: ClusterState, { epoch }: NodeStatus): boolean {
  if (epoch === undefined) return false;
  const row = rowOf(state);
  // A state of an older version gets its name with the next operation.
  return row === null ? epoch === null : !isSameRow(row, epoch);
}

/** Keeps, for each fault, since when it has stood. */
export function noteFaults(picture: Picture, now: number, s: VoteSettings): Picture {
  const found = faultsNow(picture, now, s);
  if (found.length === 0 && picture.faults.length === 0) return picture;
  const same = (a: Found, b: Found) => a.code === b.code && a.node === b.node && a.mark === b.mark;
  const faults = found.map((f) => ({
    ...f,
    sinceMs: picture.faults.find((known) => same(known, f))?.sinceMs ?? now,
  }));
  return { ...picture, faults };
}

/** Looks at a node come this much sooner or later than planned. */
const JITTER_MS = 100;

/**
 * The faults that have stood long enough to be called so: from the first look that showed it to the last. What nobody has looked at
 * since does not stand, it is only not known better.
 */
export function standingFaults(picture: Picture, now: number): Fault[] {
  const seenMs = (f: Fault) => Math.min(now, picture.statuses.get(f.node)?.atMs ?? Number.NEGATIVE_INFINITY);
  return picture.faults.filter((f) => seenMs(f) - f.sinceMs >= (STANDS[f.code] ?? STANDS_MS) - JITTER_MS);
}

/** A second pen that has been seen, and not for long enough: each look later is a write more. */
export function pressing(picture: Picture, now: number): Fault | null {
  const standing = standingFaults(picture, now);
  const pen = (f: Fault) => f.code === "replica-writable" || f.code === "split-brain";
  return picture.faults.find((f) => pen(f) && !standing.includes(f)) ?? null;
}

const STANDS: Partial<Record<RepairCode, number>> = {
  "split-brain": SPLIT_STANDS_MS,
  "replica-writable": WRITABLE_STANDS_MS,
  "semi-sync-waiting": WAITING_STANDS_MS,
  "replica-hollow": HOLLOW_STANDS_MS,
  "epoch-unmarked": UNMARKED_STANDS_MS,
};

export type Leave = "auto" | "ask" | "never" | "cooldown" | "repair-limit";

/** May Baton mend this on this node by itself? Only on `auto`; the others say why not. */
export function mayMend(picture: Picture, code: RepairCode, node: string, now: number): Leave {
  const repairs = picture.declared?.policy.repairs;
  if (repairs === undefined) return "never";
  if (repairs[code] !== "auto") return repairs[code];
  const agesMs = (picture.state?.value.repairs ?? [])
    .filter((r) => r.code === code && r.node === node)
    .map((r) => now - (picture.repairsMs.get(r.endedUnixMs) ?? now));
  if (agesMs.filter((ageMs) => ageMs < HOUR_MS).length >= repairs.perHour) return "repair-limit";
  // A second pen is not left to write while a cooldown passes.
  const coolingMs = code === "split-brain" ? 0 : repairs.cooldownMs;
  return agesMs.some((ageMs) => ageMs < coolingMs) ? "cooldown" : "auto";
}

/** What an alert adds to the code book: why Baton does not mend this by itself here, and the command that does. */
export function leftToPerson(
  picture: Picture,
  code: DiagnosisCode,
  node: string | null,
  now: number,
): string | null {
  const repair = RepairCode.safeParse(code);
  if (!repair.success || node === null) return null;
  const command = `baton repair ${picture.cluster} ${node}`;
  switch (mayMend(picture, repair.data, node, now)) {
    case "ask":
      return `policy.repairs.${code} is ask: ${command} mends it, with --dry-run it shows how.`;
    case "never":
      return `policy.repairs.${code} is never: it is yours to mend.`;
    case "repair-limit":
      return `It has been mended as often as policy.repairs.perHour allows: find out who undoes it; ${command} does it once more.`;
    default:
      return null;
  }
}

/** Repairs that have reached their limit between two pictures: each is told once. */
export function newlyLimited(
  before: Picture,
  after: Picture,
  now: number,
): { code: RepairCode; node: string }[] {
  const known = new Set((before.state?.value.repairs ?? []).map((r) => r.endedUnixMs));
  return (after.state?.value.repairs ?? [])
    .filter((r) => !known.has(r.endedUnixMs) && mayMend(after, r.code, r.node, now) === "repair-limit")
    .map(({ code, node }) => ({ code, node }));
}
