/**
 * Which state fits a cluster whose state NATS has lost, or gives as it was once. Pure: out of what the nodes carry and say, and of what a
 * person has decided. It proposes; what cannot be known it asks for.
 */
import type { ClusterState, NodeStatus } from "@baton/contracts";
import { GtidSet } from "@baton/mysql/gtid";
import { carriedRows, epochFault } from "@baton/protocol";

export interface Answer {
  node: string;
  host: string;
  port: number;
  status: NodeStatus | null;
  error: string;
}

export interface Facts {
  cluster: string;
  /** As NATS gives it. */
  state: ClusterState | null;
  answers: readonly Answer[];
  /** The highest epoch that the archive knows; null: no auditor answers. */
  archived: number | null;
  /** This Baton shall lead it from now on, whoever did. */
  takeOver: boolean;
  /** A person names the primary. */
  primary: string | null;
  /** For a cluster that gets a name of its own. */
  newInstallation: string;
}

export type Proposal =
  | { kind: "nothing"; why: string }
  /** What has to be known or decided first, and how to go on. */
  | { kind: "unclear"; why: string; next: string }
  | {
      kind: "state";
      state: ClusterState;
      why: string[];
      /** The primary's row is to be written before: the data are of another installation, or of an epoch that ends here. */
      writeRow: boolean;
    };

export function propose(facts: Facts): Proposal {
  const { cluster, state, takeOver } = facts;
  const read = facts.answers.filter((a) => a.status !== null) as (Answer & { status: NodeStatus })[];
  const statuses = new Map(read.map((a) => [a.node, a.status]));
  const missing = facts.answers.filter((a) => a.status === null).map((a) => a.node);
  const rows = carriedRows(statuses);
  const command = `baton recover ${cluster}`;
  if (read.length === 0)
    return {
      kind: "unclear",
      why: "no node can be reached",
      next: `start the nodes, see baton check, then ${command}`,
    };
  const fault = epochFault(cluster, state, statuses);
  if (state !== null && fault === null && !takeOver && facts.primary === null)
    return {
      kind: "nothing",
      why: `the state in NATS (epoch ${state.epoch}, primary ${state.primary}) fits what the nodes carry`,
    };
  const [top] = rows;
  const foreign = rows.find(
    ({ row }) =>
      row.cluster !== cluster || row.installation !== (state?.installation ?? top?.row.installation),
  );
  if (foreign !== undefined && !takeOver)
    return {
      kind: "unclear",
      why: `${foreign.node} carries the mark of installation ${foreign.row.installation}, cluster ${foreign.row.cluster}, epoch ${foreign.row.epoch}: another Baton leads it, or has led it`,
      next: `stop that Baton for good, then ${command} --take-over`,
    };

  const found = primaryOf(facts, read, top?.row.primaryUuid ?? null);
  if ("why" in found) return { kind: "unclear", why: found.why, next: found.next(command) };
  const { primary } = found;
  const others = read.filter((a) => a.node !== primary.node);
  const beside = others.filter((a) => !a.status.readOnly).map((a) => a.node);
  if (beside.length > 0)
    return {
      kind: "unclear",
      why: `${beside.join(", ")} accept${beside.length === 1 ? "s" : ""} writes beside ${primary.node}`,
      next: `find out who writes there and set super_read_only=ON on all but the one that is kept, then ${command} --primary <that one>`,
    };
  const shut = primary.status.readOnly;
  // A mark can be written only where writes are; and a new name without it would keep Baton itself from opening the node.
  if (takeOver && shut && top !== undefined && top.row.cluster !== cluster)
    return {
      kind: "unclear",
      why: `${primary.node} is read-only, so that it cannot be marked as this Baton's`,
      next: `SET GLOBAL super_read_only=OFF, GLOBAL read_only=OFF on ${primary.node}, then ${command} --take-over`,
    };
  const held = GtidSet.parse(primary.status.executed);
  const extra = others
    .map((a) => ({ node: a.node, set: heldOf(a.status).subtract(held) }))
    // What a running primary wrote between the two reads is on its way to both.
    .map((e) => ({ ...e, set: e.set.subtract(e.set.onlyFrom(primary.status.serverUuid)) }))
    .filter((e) => !e.set.isEmpty());
  const highest = Math.max(top?.row.epoch ?? 0, facts.archived ?? 0);
  // A primary that the row of its epoch does not name begins another, and so does another installation.
  const begins = takeOver || top === undefined || top.row.primaryUuid !== primary.status.serverUuid;
  const epoch = Math.max(1, begins ? highest + 1 : highest);
  const proposed: ClusterState = {
    cluster,
    epoch,
    primary: primary.node,
    primaryUuid: primary.status.serverUuid,
    installation:
      takeOver && !shut
        ? facts.newInstallation
        : (top?.row.installation ?? state?.installation ?? facts.newInstallation),
    phase: "steady",
    operation: null,
    last: null,
    quarantined: (state?.quarantined ?? []).filter((node) => node !== primary.node),
    ...(state?.unbuilt === undefined ? {} : { unbuilt: state.unbuilt }),
    failovers: state?.failovers ?? [],
    ...(shut ? {} : { primaryStartedUnixS: primary.status.startedUnixS }),
  };
  return {
    kind: "state",
    state: proposed,
    // Of one that is shut Baton's own reopening writes it.
    writeRow: !shut && (begins || epoch !== top.row.epoch),
    why: [
      ...(state === null
        ? [`NATS has no state of ${cluster}.`]
        : [`NATS says epoch ${state.epoch}, ${state.phase}, primary ${state.primary}.`]),
      ...(fault === null ? [] : [`${fault.why}.`]),
      found.because,
      ...(facts.archived === null
        ? ["No auditor answers: the epoch is the highest that a node carries."]
        : [`The archive knows operations up to epoch ${facts.archived}.`]),
      ...(missing.length === 0
        ? []
        : [
            `Not reached, so not heard: ${missing.join(", ")}. A later epoch that only these carry would be seen when they are back.`,
          ]),
      ...extra.map(
        (e) =>
          `${e.node} holds ${e.set}, which ${primary.node} has not: it will be compared and quarantined, or it is the one to keep.`,
      ),
      ...(state === null
        ? ["Which nodes were quarantined is not known any more: each is compared anew."]
        : []),
    ],
  };
}

type Found =
  | { primary: Answer & { status: NodeStatus }; because: string }
  | { why: string; next: (command: string) => string };

function primaryOf(
  { primary: named, answers }: Facts,
  read: readonly (Answer & { status: NodeStatus })[],
  uuid: string | null,
): Found {
  if (named !== null) {
    const primary = read.find((a) => a.node === named);
    if (primary !== undefined) return { primary, because: `You have named ${named} as the primary.` };
    const why = answers.some((a) => a.node === named)
      ? `${named} cannot be reached`
      : `there is no node ${named}`;
    return { why, next: (command) => `${command} --primary <a node that answers>` };
  }
  const writable = read.filter((a) => !a.status.readOnly);
  const names = writable.map((a) => a.node).join(" and ");
  if (uuid !== null) {
    const primary = read.find((a) => a.status.serverUuid === uuid);
    if (
      primary !== undefined &&
      (writable.length === 0 || (writable.length === 1 && writable[0] === primary))
    )
      return {
        primary,
        because: `The data name ${primary.node} (${uuid}) as the primary of the highest epoch, and it is ${primary.status.readOnly ? "read-only: Baton opens it" : "the one that accepts writes"}.`,
      };
    return {
      why:
        primary === undefined
          ? `the data name ${uuid} as the primary of the highest epoch, and no node that answers is that server`
          : `the data name ${primary.node} as the primary of the highest epoch, and ${names} accept${writable.length === 1 ? "s" : ""} writes`,
      next: (command) =>
        primary === undefined
          ? `start that server; or, if it will not come back and you know who holds all that was acknowledged, ${command} --primary <node>`
          : `find out who is right; ${command} --primary <node> decides it`,
    };
  }
  const [only] = writable;
  if (writable.length === 1 && only !== undefined)
    return {
      primary: only,
      because: `No node carries an epoch; ${only.node} is the one that accepts writes.`,
    };
  return {
    why:
      writable.length === 0
        ? "no node carries an epoch, and none accepts writes"
        : `no node carries an epoch, and ${names} accept writes`,
    next: (command) => `${command} --primary <node>`,
  };
}

function heldOf(status: NodeStatus): GtidSet {
  return GtidSet.parse(status.executed).union(GtidSet.parse(status.replica?.received ?? ""));
}
