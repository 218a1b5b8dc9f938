/** Would a failover succeed now? The executor's own rules, on what the probers have seen. */
import type { DeclaredCluster, Loss, NodeStatus, RefusalCode, Vouch } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import { type Contender, choose, type NotChosen, QUARANTINED } from "./choose.ts";
import { describeLoss, lossForbids, lossOf, type Unseen } from "./durability.ts";
import { ackersToStop, echoesOf, isFenced, sameServer } from "./fence.ts";
import { flavourRefusal } from "./flavour.ts";
import { canVouch, heldBy, strandedIn } from "./vouch.ts";

export interface PlanFacts {
  declared: DeclaredCluster;
  primary: string;
  quarantined: readonly string[];
  /** Members that are not waited for. */
  parked?: readonly string[];
  /** Status of each node that can be reached now; a node that is missing here is not reachable. */
  statuses: ReadonlyMap<string, NodeStatus>;
  /** The primary's last known executed set, reachable or not. */
  primaryExecuted: GtidSet;
  /** The high-water mark, without what a person has given up. */
  mark?: GtidSet;
  vouches: ReadonlyMap<string, Vouch>;
  /** Whom a person wants; null or absent: nobody in particular. */
  named?: string | null;
  /** Nodes that a person has in hand, and why: they count as ackers, and are not promoted. */
  downtimes?: ReadonlyMap<string, string>;
  /** A person accepts that writes may be lost which nobody has seen: it goes on with whom it reaches. */
  unproven?: boolean;
  /** Where writes need not wait for acks: what may be lost of them. Absent: acks prove that nothing is. */
  loses?: { primaryUuid: string; unseen: Unseen };
}

export type Plan =
  | { possible: true; candidate: string; notChosen: NotChosen[]; reason: string; loss: Loss | null }
  | {
      possible: false;
      refusal: RefusalCode;
      reason: string;
      notChosen: NotChosen[];
      /** Set when it is the loss that forbids it. */
      loss?: Loss | null;
    };

/** The members that may acknowledge: all declared replicas but those that do not count (`notCounted`). */
export function ackersOf(declared: DeclaredCluster, primary: string, others: readonly string[]): string[] {
  return Object.keys(declared.nodes).filter((n) => n !== primary && !others.includes(n));
}

export function contenderOf(
  node: string,
  status: NodeStatus,
  declared: DeclaredCluster,
  quarantined: readonly string[],
  downtimes: ReadonlyMap<string, string> = new Map(),
): Contender {
  const d = declared.nodes[node];
  return {
    node,
    region: d?.region ?? "",
    promotion: d?.promotion ?? "never",
    serverUuid: status.serverUuid,
    version: status.version,
    executed: GtidSet.parse(status.executed),
    held: heldBy(status),
    applierErrno: status.replica?.applierErrno ?? 0,
    stranded: strandedIn(status),
    filtered: status.replica?.filtered === true,
    lagMs: status.replica?.delayMs ?? null,
    cannotBeFollowed: status.logBin === false || status.logReplicaUpdates === false,
    quarantined: quarantined.includes(node),
    downtime: downtimes.get(node) ?? null,
  };
}

/** A person's word passes promotion rules and downtimes, of the node that was named and of the others. */
export function onlyNamed(contenders: readonly Contender[], named: string | null): Contender[] {
  if (named === null) return [...contenders];
  return contenders.map((c) =>
    c.node === named
      ? { ...c, promotion: "prefer", downtime: null }
      : { ...c, downtime: `${named} was named` },
  );
}

/** Declared replicas that nobody need ask: the quarantined, and those of which `whyAway` knows why. */
export function absentees(
  declared: DeclaredCluster,
  primary: string,
  quarantined: readonly string[],
  whyAway: (node: string) => string | null,
): NotChosen[] {
  return Object.keys(declared.nodes).flatMap((node) => {
    if (node === primary) return [];
    const reason = quarantined.includes(node) ? QUARANTINED : whyAway(node);
    return reason === null ? [] : [{ node, reason }];
  });
}

/** The plan for a failover away from `primary`, supposing that it is dead and cannot be fenced itself. */
export function planFailover(facts: PlanFacts): Plan {
  const unfit = flavourRefusal(facts.declared.policy, facts.statuses);
  if (unfit !== null) return { possible: false, ...unfit, notChosen: [] };
  const { acks, lagCeilingMs } = facts.declared.policy;
  const ackers = ackersOf(facts.declared, facts.primary, [...facts.quarantined, ...(facts.parked ?? [])]);
  const uuidOf = (n: string) => facts.statuses.get(n)?.serverUuid ?? "";
  const echoes = echoesOf(
    ackers.filter((n) => facts.statuses.has(n)).map((n) => [n, uuidOf(n)] as const),
    facts.primary,
    uuidOf(facts.primary),
  );
  const reachable = ackers.filter((n) => facts.statuses.has(n) && !echoes.has(n));
  const needed = ackersToStop(ackers.length, acks);
  const mute: string[] = [];
  for (const node of reachable) {
    const finding = canVouch(facts.statuses.get(node) as NodeStatus, facts.vouches.get(node));
    if (!finding.canVouch) mute.push(`${node} ${finding.reason}`);
  }
  const stopped = reachable.length - mute.length;
  const accepted = facts.unproven === true && reachable.length > 0;
  if (
    facts.loses === undefined &&
    !accepted &&
    !isFenced({ ackers: ackers.length, acks, stopped, primaryFenced: false })
  ) {
    const away = ackers.filter((n) => !facts.statuses.has(n));
    const twice = [...echoes].map(([n, as]) => `; ${n} ${sameServer(as)}`).join("");
    return reachable.length >= needed
      ? { possible: false, refusal: "acker-cannot-vouch", reason: mute.join("; "), notChosen: [] }
      : {
          possible: false,
          refusal: "ackers-unreachable",
          reason: `${needed} of ${ackers.length} ackers must be reachable, ${reachable.length} are (missing: ${away.join(", ") || "none declared"})${twice}`,
          notChosen: [],
        };
  }
  const mark = facts.mark ?? GtidSet.empty;
  // The primary may be back without what it was seen to have executed.
  const primaryExecuted = facts.primaryExecuted.union(mark);
  const choice = choose({
    contenders: onlyNamed(
      reachable.map((n) =>
        contenderOf(
          n,
          facts.statuses.get(n) as NodeStatus,
          facts.declared,
          facts.quarantined,
          facts.downtimes,
        ),
      ),
      facts.named ?? null,
    ),
    absent: absentees(facts.declared, facts.primary, facts.quarantined, (n) =>
      echoes.has(n)
        ? sameServer(echoes.get(n) as string)
        : facts.statuses.has(n)
          ? null
          : "it cannot be reached",
    ),
    oldPrimaryRegion: facts.declared.nodes[facts.primary]?.region ?? "",
    primaryExecuted,
    mark: facts.loses === undefined ? mark : GtidSet.empty,
    acks: facts.loses === undefined && !accepted ? acks : 0,
    lagCeilingMs,
  });
  if (!choice.ok)
    return { possible: false, refusal: choice.refusal, reason: choice.reason, notChosen: choice.notChosen };
  const promoted = `${choice.candidate} would be promoted${choice.source === null ? "" : ` once it has caught up from ${choice.source}`}`;
  if (facts.loses === undefined)
    return {
      possible: true,
      candidate: choice.candidate,
      notChosen: choice.notChosen,
      reason: `${promoted}; ${stopped} of ${ackers.length} ackers reachable, ${needed} needed`,
      loss: null,
    };
  const { primaryUuid, unseen } = facts.loses;
  const candidate = facts.statuses.get(choice.candidate) as NodeStatus;
  const loss =
    unseen === null
      ? null
      : lossOf({
          primaryUuid,
          primaryExecuted,
          held: choice.union.union(heldBy(candidate)),
          unseen,
          unfenced: false,
        });
  const forbidden = lossForbids(loss, facts.declared.policy);
  if (forbidden !== null || loss === null)
    return {
      possible: false,
      refusal: forbidden?.refusal ?? "loss-unknown",
      reason: `${promoted}, but ${forbidden?.reason ?? ""}`,
      notChosen: choice.notChosen,
      loss,
    };
  return {
    possible: true,
    candidate: choice.candidate,
    notChosen: choice.notChosen,
    reason: `${promoted}, and would lose ${describeLoss(loss)}`,
    loss,
  };
}
