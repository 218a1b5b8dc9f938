/**
 * May this declaration be accepted? Pure: what NATS knows of the cluster and what the servers say in, refusals out. A declaration that names the
 * wrong servers makes Baton shut a healthy primary, or somebody else's server, and do so by its own rules.
 */
import { BatonError, type ClusterState, type DeclaredCluster, type ErrorCode } from "@baton/contracts";
import { type ClusterHistory, heldBy, historyOf, isForeign, notCounted } from "@baton/protocol";
import type { ServerAnswer } from "./ask-servers.ts";

/** What is known of a cluster in NATS. */
export interface KnownCluster {
  declared: DeclaredCluster | null;
  state: ClusterState | null;
  /** The ledger: node → server_uuid of the replica that was last seen to follow. */
  uuids: ReadonlyMap<string, string>;
}

export interface DeclarationFacts {
  wanted: DeclaredCluster;
  before: KnownCluster;
  answers: ReadonlyMap<string, ServerAnswer>;
  /** Every other cluster that stays in NATS, or comes into it now. */
  others: ReadonlyMap<string, KnownCluster>;
  /** Nodes whose servers may lose their own data, and the size that a person typed: how many transactions. */
  forceJoin: ReadonlyMap<string, number | null>;
  /** A person says that new nodes which cannot be reached are right all the same, and that the last acker may go. */
  force: boolean;
  /** `up` starts with what there is; the deciders leave alone what turns out to be foreign. */
  by: "apply" | "up";
}

export interface Judgement {
  refusals: BatonError[];
  warnings: string[];
  accepted: Record<string, string>;
  /** Foreign servers, and how many transactions each would lose. */
  foreign: Map<string, number>;
  /** Who is taken out and counts as a member: it stays declared until it has left. */
  leaving: string[];
}

export function judgeDeclaration(facts: DeclarationFacts): Judgement {
  const { wanted, before, answers } = facts;
  const refusals: BatonError[] = [];
  const warnings: string[] = [];
  const fresh = changedNodes(wanted, before.declared);
  refusals.push(
    ...primaryStays(facts),
    ...sharedWithOthers(facts),
    ...duplicates(facts, fresh, warnings),
    ...names(facts),
    ...runningOperation(facts),
  );
  const { foreign, strangers } = findForeign(facts, fresh);
  const accepted: Record<string, string> = {};
  for (const [node, uuid] of Object.entries(before.declared?.accepted ?? {})) {
    const now = answers.get(node)?.status?.serverUuid;
    if (wanted.nodes[node] !== undefined && (now === undefined || now === uuid)) accepted[node] = uuid;
  }
  for (const [node, { transactions, empty, why }] of foreign) {
    const uuid = answers.get(node)?.status?.serverUuid as string;
    if (accepted[node] === uuid) continue;
    if (empty) {
      accepted[node] = uuid;
      warnings.push(
        `${at(wanted, node)} holds ${transactions} transactions of its own and no table: it joins as a new replica`,
      );
      continue;
    }
    if (confirms(facts.forceJoin.get(node), transactions)) {
      accepted[node] = uuid;
      continue;
    }
    const typed = facts.forceJoin.get(node);
    const refused = refusal("E_NODE_FOREIGN", facts, node, {
      message: `${at(wanted, node)} ${why}: it holds ${transactions} transactions of its own${typed == null ? "" : `, not ${typed}`}. It looks like somebody else's server.`,
      remedy: `Mend its address. If it is to lose its data and join: baton apply --force-join ${node} --confirm-size ${transactions}`,
    });
    if (fresh.includes(node)) refusals.push(refused);
    else warnings.push(`${refused.message} It is left alone. ${refused.remedy}`);
  }
  for (const node of facts.forceJoin.keys())
    if (wanted.nodes[node] !== undefined && !foreign.has(node) && answers.get(node)?.status != null)
      warnings.push(`${at(wanted, node)} needs no --force-join: it holds nothing that is not the cluster's`);
  refusals.push(...strangers, ...unreachable(facts, fresh, warnings), ...ackersStay(facts, warnings));
  return {
    refusals,
    warnings,
    accepted,
    foreign: new Map([...foreign].filter(([, f]) => !f.empty).map(([node, f]) => [node, f.transactions])),
    leaving: whoLeaves(facts),
  };
}

/** Nodes that are new, or not where they were. */
export function changedNodes(wanted: DeclaredCluster, before: DeclaredCluster | null): string[] {
  return Object.entries(wanted.nodes)
    .filter(([node, { host, port }]) => {
      const was = before?.nodes[node];
      return was === undefined || was.host !== host || was.port !== port;
    })
    .map(([node]) => node);
}

export function removedNodes(wanted: DeclaredCluster, before: DeclaredCluster | null): string[] {
  return Object.keys(before?.nodes ?? {}).filter((node) => wanted.nodes[node] === undefined);
}

function at(wanted: DeclaredCluster, node: string): string {
  const d = wanted.nodes[node];
  return d === undefined ? node : `${node} (${d.host}:${d.port})`;
}

function refusal(
  code: ErrorCode,
  { wanted }: DeclarationFacts,
  node: string | null,
  o: { message: string; remedy: string },
): BatonError {
  const place = node === null ? `clusters.${wanted.cluster}` : `clusters.${wanted.cluster}.nodes.${node}`;
  return new BatonError(code, { place, ...o });
}

/** The primary of the state stays declared, by its name, at an address where its own server answers. */
function primaryStays(facts: DeclarationFacts): BatonError[] {
  const { wanted, before, answers } = facts;
  const { state } = before;
  if (state === null) return [];
  const { cluster } = wanted;
  const { primary, primaryUuid } = state;
  const was = before.declared?.nodes[primary];
  const put = `Write ${primary} as it was${was === undefined ? "" : `, at ${was.host}:${was.port}`}.`;
  const holder = [...answers].find(
    ([node, a]) => node !== primary && a.status?.serverUuid === primaryUuid && isMysql(a),
  )?.[0];
  const is = wanted.nodes[primary];
  if (is === undefined && holder !== undefined)
    return [
      refusal("E_PRIMARY_RENAMED", facts, holder, {
        message: `${at(wanted, holder)} is the primary of ${cluster}, which is known as ${primary}.`,
        remedy: `${put} To rename it, let another be primary first: baton switchover ${cluster}; a replica may be renamed.`,
      }),
    ];
  if (is === undefined)
    return [
      refusal("E_PRIMARY_DROPPED", facts, null, {
        message: `${primary}${was === undefined ? "" : ` (${was.host}:${was.port})`} is the primary of ${cluster} and is not declared any more.`,
        remedy: `${put} To take it out, let another be primary first: baton switchover ${cluster}.`,
      }),
    ];
  if (holder !== undefined)
    return [
      refusal("E_PRIMARY_MOVED", facts, holder, {
        message: `The server at ${at(wanted, holder)} is the primary of ${cluster}, which is known as ${primary}.`,
        remedy: `${put} Names that change places would make Baton shut the primary.`,
      }),
    ];
  if (was !== undefined && was.host === is.host && was.port === is.port) return [];
  const answer = answers.get(primary);
  if (answer?.status?.serverUuid === primaryUuid) return [];
  const found =
    answer?.status == null
      ? `cannot be asked (${answer?.error ?? "no answer"})`
      : `is another server, ${answer.status.serverUuid}`;
  return [
    refusal("E_PRIMARY_MOVED", facts, primary, {
      message: `${is.host}:${is.port} ${found}; the primary ${primary} is ${primaryUuid}.`,
      remedy: `${put} An address counts as the primary's when its own server answers there.`,
    }),
  ];
}

const isMysql = (a: ServerAnswer) => a.status?.flavour === "mysql";

/** A server belongs to one cluster, by whatever name and address. */
function sharedWithOthers(facts: DeclarationFacts): BatonError[] {
  const { wanted, answers, others } = facts;
  const found: BatonError[] = [];
  for (const [other, { declared, state, uuids }] of others) {
    for (const [node, { host, port }] of Object.entries(wanted.nodes)) {
      const theirs = Object.entries(declared?.nodes ?? {}).find(
        ([, d]) => d.host === host && d.port === port,
      );
      const answer = answers.get(node);
      const uuid = answer !== undefined && isMysql(answer) ? answer.status?.serverUuid : undefined;
      const known =
        uuid === undefined
          ? undefined
          : state?.primaryUuid === uuid
            ? state.primary
            : [...uuids].find(([name, u]) => u === uuid && declared?.nodes[name] !== undefined)?.[0];
      const as = theirs?.[0] ?? known;
      if (as === undefined) continue;
      found.push(
        refusal("E_CONFIG_SHARED_NODE", facts, node, {
          message: `The server of ${at(wanted, node)} is in the cluster ${other}, as ${as}: two clusters would lead it two ways.`,
          remedy: `Take it out of one of them. To rename a cluster: start Baton with its old name (${other}), then write the new one and run baton apply --prune.`,
        }),
      );
      break;
    }
  }
  return found;
}

/** One server by two names would count as two voices. */
function duplicates(facts: DeclarationFacts, fresh: readonly string[], warnings: string[]): BatonError[] {
  const { wanted, answers } = facts;
  const found: BatonError[] = [];
  const seen = new Map<string, string>();
  for (const [node, answer] of answers) {
    if (answer.status === null || !isMysql(answer)) continue;
    const twin = seen.get(answer.status.serverUuid);
    seen.set(answer.status.serverUuid, node);
    if (twin === undefined) continue;
    const error = refusal("E_CONFIG_DUPLICATE_NODE", facts, node, {
      message: `${at(wanted, twin)} and ${at(wanted, node)} answer with one server_uuid, ${answer.status.serverUuid}.`,
      remedy: "Declare each server once; of a copied data directory delete auto.cnf.",
    });
    if (fresh.includes(node) || fresh.includes(twin)) found.push(error);
    else warnings.push(`${error.message} ${error.remedy}`);
  }
  return found;
}

/** Replicas that change names: a swap is refused, a new name is lawful where nothing in the state hangs on the old one. */
function names(facts: DeclarationFacts): BatonError[] {
  const { wanted, before, answers } = facts;
  const { state, uuids } = before;
  const found: BatonError[] = [];
  for (const [node, answer] of answers) {
    if (answer.status === null || !isMysql(answer) || uuids.get(node) === answer.status.serverUuid) continue;
    const uuid = answer.status.serverUuid;
    const known = [...uuids].find(([name, u]) => u === uuid && name !== node)?.[0];
    if (known === undefined || node === state?.primary || uuid === state?.primaryUuid) continue;
    const elsewhere = answers.get(known)?.status?.serverUuid;
    if (wanted.nodes[known] !== undefined && elsewhere !== undefined && elsewhere !== uuid)
      found.push(
        refusal("E_NODE_SWAPPED", facts, node, {
          message: `The server at ${at(wanted, node)} is known as ${known}, and ${known} is declared at another one.`,
          remedy: "Give the addresses back. To rename a replica use a name that is not in use.",
        }),
      );
    else if (wanted.nodes[known] === undefined && hangsOn(state, known))
      found.push(
        refusal("E_CONFLICT", facts, node, {
          message: `The server at ${at(wanted, node)} is known as ${known}, which is quarantined or is being repaired: under another name that would be forgotten.`,
          remedy: `Keep the name ${known} until baton status shows it as a replica.`,
        }),
      );
  }
  return found;
}

function hangsOn(state: ClusterState | null, node: string): boolean {
  if (state === null) return false;
  const { quarantined, unbuilt = {}, unrestored = [], undecided = [], operation } = state;
  return (
    [...quarantined, ...Object.keys(unbuilt), ...unrestored, ...undecided].includes(node) ||
    operation?.node === node
  );
}

/** Who is moved or taken out in the middle of an operation may be the one that it counts on. */
function runningOperation(facts: DeclarationFacts): BatonError[] {
  const { wanted, before } = facts;
  const { state, declared } = before;
  if (state === null || declared === null || state.operation === null) return [];
  const gone = removedNodes(wanted, declared);
  const moved = changedNodes(wanted, declared).filter((node) => declared.nodes[node] !== undefined);
  const own = [...gone, ...moved].filter(
    (node) => state.operation?.kind !== "rebuild" || node === state.operation.node,
  );
  if (own.length === 0) return [];
  return [
    refusal("E_LOCKED", facts, own[0] as string, {
      message: `${state.operation.id} is running, and ${own.join(", ")} would be taken out or moved under it.`,
      remedy: "Wait until it has ended (baton status), then run baton apply again.",
    }),
  ];
}

interface Foreign {
  transactions: number;
  /** It is known that it has no table of anybody's. */
  empty: boolean;
  why: string;
}

function findForeign(facts: DeclarationFacts, fresh: readonly string[]) {
  const reached = new Map(
    [...facts.answers].flatMap(([node, a]) =>
      a.status === null ? [] : [[node, { ...a, status: a.status }] as const],
    ),
  );
  const foreign = new Map<string, Foreign>();
  const strangers: BatonError[] = [];
  if (facts.before.state === null) {
    const { members, apart } = firstMembers(reached);
    if (members === null)
      strangers.push(
        refusal("E_NODE_FOREIGN", facts, null, {
          message: `${apart.map((n) => at(facts.wanted, n)).join(" and ")} hold data and share no history: which of them is the cluster cannot be said.`,
          remedy:
            "Let the replicas follow the primary first (CHANGE REPLICATION SOURCE TO), or take out who does not belong.",
        }),
      );
    else
      for (const node of apart)
        foreign.set(
          node,
          foreignOf(reached.get(node) as Reached, "shares nothing with the other nodes' history"),
        );
    return { foreign, strangers };
  }
  const history = historyNow(facts, reached);
  for (const [node, answer] of reached) {
    if (isForeign(answer.status, history))
      foreign.set(node, foreignOf(answer, "shares nothing with this cluster's history"));
    else if (fresh.includes(node) && ownBeside(answer, history))
      foreign.set(node, foreignOf(answer, "was never of this cluster and has gone its own way"));
  }
  return { foreign, strangers };
}

type Reached = ServerAnswer & { status: NonNullable<ServerAnswer["status"]> };

/** A hundred transactions are what setting a server up takes at most. */
const BOOTSTRAP = 100;

function foreignOf(answer: Reached, why: string): Foreign {
  const transactions = heldBy(answer.status).count();
  return { transactions, empty: answer.tables === 0 && transactions <= BOOTSTRAP, why };
}

function historyNow({ before }: DeclarationFacts, reached: ReadonlyMap<string, Reached>): ClusterHistory {
  return historyOf(
    before.state ?? { primaryUuid: "" },
    [...before.uuids.values()].map((serverUuid) => ({ serverUuid })),
    () => [...reached.values()].map(({ status }) => status),
  );
}

/** A copy of the cluster that took writes of its own, a staging system say: what it took is lost when it joins. */
function ownBeside({ status }: Reached, history: ClusterHistory): boolean {
  if (status.flavour === "mariadb" || history.uuids.has(status.serverUuid)) return false;
  if (history.uuids.has(status.replica?.sourceUuid ?? "")) return false;
  const executed = history.executed();
  return (
    executed?.onlyFrom(status.serverUuid).isEmpty() === true && !heldBy(status).subtract(executed).isEmpty()
  );
}

/**
 * Nobody is known yet: those that replicate each other, or hold a part of one history, are the cluster; an empty server that replicates nobody goes along.
 * `members` null: two such groups are equally good.
 */
function firstMembers(reached: ReadonlyMap<string, Reached>): { members: string[] | null; apart: string[] } {
  const statuses = new Map([...reached].map(([node, { status }]) => [node, status]));
  const all = [...statuses.values()];
  const groups: string[][] = [];
  for (const [node, status] of statuses) {
    const alone = !all.some((other) => replicates(status, other) || replicates(other, status));
    if (alone && heldBy(status).isEmpty()) continue;
    const mine = groups.filter((group) => group.some((n) => related(statuses.get(n) as Status, status, all)));
    for (const group of mine) groups.splice(groups.indexOf(group), 1);
    groups.push([...mine.flat(), node]);
  }
  groups.sort((a, b) => b.length - a.length);
  const [first = [], ...others] = groups;
  const apart = others.flat();
  if (others[0]?.length === first.length) return { members: null, apart: [...first, ...apart] };
  return { members: first, apart };
}

type Status = Reached["status"];

function replicates(a: Status, b: Status): boolean {
  return a.replica !== null && a.replica.sourceUuid === b.serverUuid;
}

function related(a: Status, b: Status, all: readonly Status[]): boolean {
  if (a.flavour === "mariadb" || b.flavour === "mariadb") return true;
  if (replicates(a, b) || replicates(b, a)) return true;
  const [source, same] = [a.replica?.sourceUuid ?? "", b.replica?.sourceUuid ?? ""];
  if (source !== "" && source === same) return true;
  const [p, q] = [heldBy(a), heldBy(b)];
  if (p.isEmpty() || q.isEmpty()) return false;
  if (p.contains(q) || q.contains(p)) return true;
  const shared = p.intersect(q);
  return all.some(({ serverUuid }) => !shared.onlyFrom(serverUuid).isEmpty());
}

/** `up` must start while servers are down; what they turn out to be, the deciders see. */
function unreachable(facts: DeclarationFacts, fresh: readonly string[], warnings: string[]): BatonError[] {
  const { wanted, answers, before } = facts;
  return fresh.flatMap((node) => {
    const answer = answers.get(node);
    if (answer === undefined || answer.status !== null || node === before.state?.primary) return [];
    const error = refusal("E_NODE_UNREACHABLE", facts, node, {
      message: `${at(wanted, node)} cannot be asked who it is: ${answer.error}`,
      remedy:
        "Start it, or mend its address or the account. If all is right and it is down: baton apply --force.",
    });
    if (facts.by === "apply" && !facts.force) return [error];
    warnings.push(error.message);
    return [];
  });
}

/** Not whose acks prove nothing, who counts no more as it is, or who only gets another name. */
function whoLeaves({ wanted, before, answers, force }: DeclarationFacts): string[] {
  const { state, uuids } = before;
  if (state === null || force || wanted.policy.durability === "available") return [];
  const out = [state.primary, ...notCounted(state)];
  const stays = (node: string) =>
    [...answers.values()].some((a) => a.status !== null && a.status.serverUuid === uuids.get(node));
  return removedNodes(wanted, before.declared).filter((node) => !out.includes(node) && !stays(node));
}

/** Who is taken out may hold alone what it acknowledged: as many as a write waits for must follow the primary without it. */
function ackersStay(facts: DeclarationFacts, warnings: string[]): BatonError[] {
  const { wanted, before, answers } = facts;
  const { state } = before;
  const removed = removedNodes(wanted, before.declared).filter((node) => node !== state?.primary);
  const moved = changedNodes(wanted, before.declared).filter(
    (node) => before.declared?.nodes[node] !== undefined && node !== state?.primary,
  );
  const leaving = [...removed, ...moved].filter(
    (node) =>
      ![...answers.values()].some((a) => a.status !== null && a.status.serverUuid === before.uuids.get(node)),
  );
  if (state === null || leaving.length === 0) return [];
  const followers = [...answers].filter(
    ([node, a]) =>
      node !== state.primary &&
      !state.quarantined.includes(node) &&
      a.status?.replica?.receiver === "on" &&
      (a.status.replica.sourceUuid === state.primaryUuid || !isMysql(a)),
  );
  const { acks } = wanted.policy;
  if (followers.length >= acks) return [];
  const error = refusal("E_NODE_LAST_ACKER", facts, null, {
    message: `${leaving.join(", ")} would be taken out, and of the nodes that stay ${followers.length} follow the primary ${state.primary}: a write waits for ${acks}, and what was acknowledged last may be nowhere else.`,
    remedy:
      "Bring another replica back first (baton status). If that is lost all the same: baton apply --force.",
  });
  if (facts.by === "apply" && !facts.force) return [error];
  warnings.push(error.message);
  return [];
}

/** A busy server goes on while the person types. */
function confirms(typed: number | null | undefined, transactions: number): boolean {
  return typed != null && typed <= transactions && typed >= transactions * 0.9;
}
