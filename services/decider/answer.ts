/** The answer to `baton status`: the picture, told. Pure. */
import type { ClusterView, Diagnosis, NodeRole, NodeView } from "@baton/contracts";
import { downtimeOf, follows, isCalm, windowsAhead } from "@baton/protocol";
import { heldBackNow, nowUnixMs } from "./brakes.ts";
import { diagnose, nodeProblems, planNow } from "./diagnose.ts";
import { describeDurability } from "./durability.ts";
import { describeMember } from "./membership.ts";
import { answersAsAnother, type Picture, primaryExecuted } from "./picture.ts";
import { liveProbers, type VoteSettings } from "./votes.ts";

function undecided(picture: Picture, decider: string): Diagnosis {
  return {
    cluster: picture.cluster,
    code: "warming-up",
    previous: null,
    node: null,
    severity: "info",
    epoch: 0,
    summary: "No prober has reported yet.",
    probers: [],
    replicas: [],
    refusal: null,
    decider,
    suspectedForMs: 0,
  };
}

function viewNode(picture: Picture, node: string, now: number, s: VoteSettings): NodeView {
  const declared = picture.declared?.nodes[node];
  const state = picture.state?.value;
  const fresh = [...(picture.seen.get(node)?.values() ?? [])]
    .filter((seen) => now - seen.atMs <= s.freshMs)
    .sort((a, b) => b.atMs - a.atMs);
  const best = fresh.find((seen) => seen.sample.outcome === "ok") ?? fresh[0];
  const known = picture.statuses.get(node);
  // Right after a change of reign the last status tells of the time before it.
  const present = known !== undefined && known.atMs > (picture.state?.sinceMs ?? 0) ? known.status : null;
  // Nor does the primary's own last one tell of another server at its address.
  const own = best?.sample.outcome === "ok" && !answersAsAnother(picture, best.sample);
  const status = own ? present : null;
  let role: NodeRole = "unknown";
  if (state !== undefined && node === state.primary) role = "primary";
  else if (status !== null && state !== undefined)
    role = follows(status, state.primaryUuid, picture.declared?.nodes[state.primary])
      ? "replica"
      : "detached";
  else if (state !== undefined && best !== undefined && best.sample.outcome !== "ok") role = "replica";
  return {
    node,
    host: declared?.host ?? "",
    port: declared?.port ?? 0,
    region: declared?.region ?? "local",
    role,
    outcome: best?.sample.outcome ?? null,
    rttMs: best?.sample.rttMs ?? null,
    delayMs: role === "replica" ? (status?.replica?.delayMs ?? null) : null,
    writable: status === null ? null : !status.readOnly,
    version: status?.version ?? null,
    executed: status?.executed ?? null,
    quarantined: state?.quarantined.includes(node) ?? false,
    serverUuid: known?.status.serverUuid ?? state?.servers?.[node] ?? null,
    member: describeMember(picture, node, now),
    problems:
      state === undefined || node === state.primary || !isCalm(state)
        ? []
        : nodeProblems(picture, node, primaryExecuted(picture, state.primary), now, s),
    downtime: downtimeOf(picture.brakes, node, nowUnixMs(picture, now)),
  };
}

/** All but what is planned, which the picture does not hold. */
export function viewCluster(picture: Picture, decider: string, now: number, s: VoteSettings): ClusterView {
  const state = picture.state?.value ?? null;
  const plan = planNow(picture, now, s);
  const last = picture.diagnosis ?? undecided(picture, decider);
  const verdict = diagnose(picture, now, s);
  let failover: ClusterView["failover"];
  if (state === null || plan === null)
    failover = {
      possible: false,
      candidate: null,
      refusal: null,
      reason:
        verdict?.code === "foreign-installation" || verdict?.code === "state-went-back"
          ? `the state and the data do not fit (${verdict.code})`
          : "the cluster has not been adopted yet",
    };
  else if (!isCalm(state))
    failover = {
      possible: false,
      candidate: null,
      refusal: null,
      reason: `${state.operation?.id ?? "an operation"} is running`,
    };
  else if (plan.possible)
    failover = {
      possible: true,
      candidate: plan.candidate,
      refusal: null,
      reason: plan.reason,
      loss: plan.loss,
    };
  else
    failover = {
      possible: false,
      candidate: null,
      refusal: plan.refusal,
      reason: plan.reason,
      ...(plan.loss === undefined ? {} : { loss: plan.loss }),
    };
  const durability = describeDurability(picture);
  return {
    cluster: picture.cluster,
    epoch: state?.epoch ?? 0,
    phase: state?.phase ?? null,
    primary: state?.primary ?? null,
    operation: state?.operation?.id ?? null,
    diagnosis: verdict === null ? last : { ...last, ...verdict },
    nodes: Object.keys(picture.declared?.nodes ?? {}).map((node) => viewNode(picture, node, now, s)),
    brake: heldBackNow(picture, now),
    maintenance: windowsAhead(picture.brakes, nowUnixMs(picture, now)),
    planned: null,
    failover,
    ...(durability === undefined ? {} : { durability }),
    probers: [...liveProbers(picture, now, s)]
      .map(([prober, { region, atMs }]) => ({ prober, region, lastSampleAgeMs: now - atMs }))
      .sort((a, b) => (a.prober < b.prober ? -1 : 1)),
  };
}
