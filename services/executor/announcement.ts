/**
 * What the world is told of a change of reign, made from the state alone, so that a successor which finds the operation ended can
 * say it again; the stream drops what was said already.
 */
import type { Alert, ClusterState, DeclaredCluster, Event, Intent, Loss } from "@baton/contracts";
import { describeLoss } from "@baton/protocol";

export type Told = Omit<Event, "cluster" | "operation" | "kind">;
export type Warned = Pick<Alert, "severity" | "code" | "title" | "summary" | "action" | "node">;

export function primaryChanged(intent: Intent, state: ClusterState, declared: DeclaredCluster): Told {
  const primary = declared.nodes[state.primary];
  const loss = lossIn(state);
  return {
    type: "primary-changed",
    epoch: state.epoch,
    node: state.primary,
    outcome: null,
    code: null,
    summary: `${state.primary} is the primary of ${intent.cluster} in place of ${intent.node}${loss === null ? "" : `; this loses ${describeLoss(loss)}`}`,
    primary: {
      node: state.primary,
      host: primary?.host ?? "",
      port: primary?.port ?? 0,
      serverUuid: state.primaryUuid,
    },
    previous: intent.node,
    next: null,
    detail: loss === null ? {} : { loss },
  };
}

/** What the failover that runs, or was the last to end, may have lost; null: nothing that was acknowledged. */
function lossIn(state: ClusterState): Loss | null {
  return (state.operation ?? state.last)?.loss ?? null;
}

/** `state` is the one in which the operation is the last ended. */
export function reignEnded(intent: Intent, state: ClusterState): { event: Told; alert: Warned } {
  const outcome = state.last?.outcome ?? "completed";
  const code = state.last?.code ?? null;
  const blocked = outcome === "blocked";
  const planned = intent.kind === "switchover";
  const loss = lossIn(state);
  const lost = loss === null ? "" : ` It may have lost ${describeLoss(loss)}.`;
  return {
    event: {
      type: "operation-ended",
      epoch: state.epoch,
      node: state.primary,
      outcome,
      code,
      summary: `${intent.kind} of ${intent.cluster} from ${intent.node} to ${state.primary}: ${outcome}${loss === null ? "" : `; it may have lost ${describeLoss(loss)}`}`,
      primary: null,
      previous: intent.node,
      next: blocked ? `baton status ${intent.cluster}` : null,
      detail: loss === null ? {} : { loss },
    },
    alert: {
      severity: blocked || (loss?.atMost ?? 0) > 0 ? "critical" : planned ? "info" : "warning",
      code: blocked && code !== null ? code : "primary-changed",
      title: `${intent.cluster}: ${state.primary} is primary in place of ${intent.node}`,
      summary: `${planned ? "Switchover" : intent.kind === "split-brain" ? "Split brain" : "Failover"} ${intent.operation} led to epoch ${state.epoch}.${lost} ${intent.reason}`,
      action: blocked
        ? "Writes wait until replicas follow the new primary: bring them back."
        : planned
          ? "Nothing."
          : intent.kind === "split-brain"
            ? `Nothing now. Find out who made ${state.primary} writable: its writes were acknowledged, those of ${intent.node} were not.`
            : loss !== null && loss.atMost > 0
              ? `Look for what is missing: ${intent.node} is quarantined with it when it comes back. Find out why it died.`
              : `Nothing now. Find out why ${intent.node} died; it rejoins by itself if it is clean.`,
      node: state.primary,
    },
  };
}
