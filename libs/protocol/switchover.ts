/**
 * May the pen be passed on while the primary lives, and to whom? Deciders ask it of what the probers have seen, for the
 * plan that a person is shown; the executor asks it again of what it has just read itself.
 */
import type { DeclaredCluster, NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import { type Contender, errantOf, FILTERED, type NotChosen, prefer, series } from "./choose.ts";
import { echoesOf } from "./fence.ts";
import { flavourRefusal } from "./flavour.ts";
import { ackersOf, contenderOf } from "./plan.ts";

/** A transaction that has been open for longer would be cut off, unless a person insists. */
export const LONG_TRANSACTION_MS = 10_000;

export interface SwitchoverFacts {
  declared: DeclaredCluster;
  primary: string;
  primaryUuid: string;
  quarantined: readonly string[];
  /** Status of each node that can be reached now; a node that is missing here is not reachable. */
  statuses: ReadonlyMap<string, NodeStatus>;
  /** Whom a person named; null: the best is chosen. */
  named: string | null;
  /** Nodes that a person has in hand, and why. */
  downtimes?: ReadonlyMap<string, string>;
  /** Age of the oldest open transaction on the primary; null when nobody has looked. */
  oldestTransactionMs: number | null;
  /** Whether somebody holds the primary's global read lock, as a backup does; null when nobody has looked. */
  readLocked: boolean | null;
}

export interface Check {
  check: string;
  ok: boolean;
  /** About safety: no `force` overrides it. */
  safety: boolean;
  found: string;
}

export interface SwitchoverPlan {
  /** Null when nobody can take over; `notChosen` says why for each. */
  candidate: string | null;
  checks: Check[];
  notChosen: NotChosen[];
}

/** Those checks that forbid it: with `force`, only those about safety. */
export function forbidding(checks: readonly Check[], force: boolean): Check[] {
  return checks.filter((c) => !c.ok && (c.safety || !force));
}

export function planSwitchover(facts: SwitchoverFacts): SwitchoverPlan {
  const checks = checkPrimary(facts);
  const notChosen: NotChosen[] = [];
  const eligible: Contender[] = [];
  const about = new Map<string, Check[]>();
  for (const node of Object.keys(facts.declared.nodes)) {
    if (node === facts.primary) continue;
    const found = checkCandidate(facts, node);
    about.set(node, found);
    const against = found.filter((c) => !c.ok);
    const status = facts.statuses.get(node);
    if (node === facts.named) continue;
    if (against.length > 0 || status === undefined)
      notChosen.push({ node, reason: against.map((c) => c.found).join("; ") });
    else eligible.push(contenderOf(node, status, facts.declared, facts.quarantined, facts.downtimes));
  }
  let candidate = facts.named;
  if (candidate !== null)
    for (const c of eligible) notChosen.push({ node: c.node, reason: `${candidate} was named` });
  else if (eligible.length > 0) {
    const choice = prefer(
      eligible,
      facts.declared.nodes[facts.primary]?.region ?? "",
      facts.declared.policy.lagCeilingMs,
    );
    candidate = choice.best.node;
    notChosen.push(...choice.notChosen);
  }
  if (candidate !== null) checks.push(...(about.get(candidate) ?? []), checkAckers(facts, candidate));
  return { candidate, checks, notChosen };
}

function checkPrimary(facts: SwitchoverFacts): Check[] {
  const { primary } = facts;
  const status = facts.statuses.get(primary);
  const { acks, durability } = facts.declared.policy;
  const checks: Check[] = [
    {
      check: "primary",
      safety: true,
      ok: status !== undefined && status.serverUuid === facts.primaryUuid && !status.readOnly,
      found:
        status === undefined
          ? `${primary} cannot be reached`
          : status.serverUuid !== facts.primaryUuid
            ? `${primary} is server ${status.serverUuid}, the state names ${facts.primaryUuid}`
            : `${primary} ${status.readOnly ? "is read-only" : "accepts writes"}`,
    },
  ];
  const unfit = flavourRefusal(facts.declared.policy, facts.statuses);
  if (unfit !== null) checks.push({ check: "flavour", safety: true, ok: false, found: unfit.reason });
  const semi = status?.semiSync;
  if (status !== undefined)
    checks.push({
      check: "semi-sync",
      safety: true,
      // In available durability a write goes on without them; what is written is read after the freeze in any case.
      ok: durability === "available" || (semi?.source === true && semi.clients >= acks),
      found:
        semi?.source === true
          ? `${semi.clients} ackers are attached to ${primary}, a write needs ${acks}`
          : `semi-sync is off on ${primary}`,
    });
  if (facts.oldestTransactionMs !== null)
    checks.push({
      check: "transactions",
      safety: false,
      ok: facts.oldestTransactionMs <= LONG_TRANSACTION_MS,
      found: `the oldest open transaction on ${primary} is ${(facts.oldestTransactionMs / 1_000).toFixed(1)} s old`,
    });
  if (facts.readLocked !== null)
    checks.push({
      check: "locks",
      safety: false,
      ok: !facts.readLocked,
      found: facts.readLocked
        ? `somebody holds ${primary}'s global read lock, as a backup does`
        : `nobody holds ${primary}'s global read lock`,
    });
  return checks;
}

/** What speaks for and against one replica as the next primary. */
function checkCandidate(facts: SwitchoverFacts, node: string): Check[] {
  const status = facts.statuses.get(node);
  const of = (check: string, ok: boolean, safety: boolean, found: string): Check => ({
    check,
    ok,
    safety,
    found,
  });
  if (facts.quarantined.includes(node))
    return [of("clean", false, true, `${node} is quarantined: it holds transactions outside the history`)];
  if (status === undefined) return [of("reachable", false, true, `${node} cannot be reached`)];
  const own = contenderOf(node, status, facts.declared, facts.quarantined, facts.downtimes);
  const primary = facts.statuses.get(facts.primary);
  const errant = errantOf(own, {
    contenders: [],
    primaryExecuted: GtidSet.parse(primary?.executed ?? ""),
  });
  const r = status.replica;
  const follows = r !== null && r.sourceUuid === facts.primaryUuid && r.receiver === "on";
  const applies = r !== null && r.applier === "on" && r.applierErrno === 0;
  const delayMs = r?.delayMs ?? null;
  // One further behind is not waited for, unless a person insists.
  const { lagCeilingMs } = facts.declared.policy;
  const checks = [
    of(
      "clean",
      errant.isEmpty(),
      true,
      errant.isEmpty()
        ? `${node} holds nothing that ${facts.primary} has not`
        : `${node} holds errant transactions ${errant}`,
    ),
    of(
      "receives",
      follows,
      true,
      follows
        ? `${node} receives from ${facts.primary}`
        : `${node} does not receive from ${facts.primary}${r === null ? "" : ` (receiver ${r.receiver}${r.receiverErrno === 0 ? "" : `, error ${r.receiverErrno}`})`}`,
    ),
    of(
      "applies",
      applies,
      true,
      applies
        ? `${node} applies what it receives`
        : `${node}'s applier is ${r?.applier ?? "off"}${r?.applierErrno ? `, error ${r.applierErrno}` : ""}`,
    ),
    of(
      "filters",
      !own.filtered,
      true,
      own.filtered ? `${node} is ${FILTERED}` : `${node} applies every row that it receives`,
    ),
    of(
      "lag",
      delayMs === null || delayMs <= lagCeilingMs,
      false,
      delayMs === null
        ? `${node}'s lag is not known`
        : `${node} is ${(delayMs / 1_000).toFixed(2)} s behind, the ceiling is ${lagCeilingMs / 1_000} s`,
    ),
  ];
  if (primary !== undefined)
    checks.push(
      of(
        "version",
        series(status.version) >= series(primary.version),
        true,
        `${node} runs ${status.version}, ${facts.primary} ${primary.version}`,
      ),
    );
  if (own.downtime !== null) checks.push(of("downtime", false, false, `${node} is ${own.downtime}`));
  if (node !== facts.named)
    checks.push(
      of(
        "promotion",
        own.promotion !== "never",
        false,
        own.promotion === "never"
          ? `${node}'s promotion rule is never`
          : `${node}'s promotion rule is ${own.promotion}`,
      ),
    );
  return checks;
}

/** Without k followers no write would return. The old primary is one of them: it is alive and helps. */
function checkAckers(facts: SwitchoverFacts, candidate: string): Check {
  const { acks } = facts.declared.policy;
  const reached = ackersOf(facts.declared, candidate, facts.quarantined).filter((n) => facts.statuses.has(n));
  const uuidOf = (n: string) => facts.statuses.get(n)?.serverUuid ?? "";
  const echoes = echoesOf(
    reached.map((n) => [n, uuidOf(n)] as const),
    candidate,
    uuidOf(candidate),
  );
  const followers = reached.filter((n) => !echoes.has(n));
  return {
    check: "ackers",
    ok: followers.length >= acks,
    safety: true,
    found: `${followers.join(", ") || "nobody"} would follow ${candidate}, a write needs ${acks}`,
  };
}

/** Freezing, reading, committing, opening and attaching a replica on an idle machine, and round trips to the nodes. */
const WORK_MS = 40;
const ROUND_TRIPS = 8;

/** How long clients would wait. The candidate catches up before the freeze, so that its lag is no part of it. */
export function expectedPauseMs(slowestRttMs: number): number {
  return WORK_MS + ROUND_TRIPS * slowestRttMs;
}
