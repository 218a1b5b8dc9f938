/**
 * What must hold between the nodes of a cluster: one primary, all others following it, no server that is two nodes.
 * Pure: what each node said in, findings out.
 */
import { type DeclaredCluster, type NodeStatus, OUTCOMES_OF_DEATH, type Outcome } from "@baton/contracts";
import { flavourRefusal } from "@baton/protocol";
import { list, plural } from "../view/amounts.ts";
import type { Finding } from "./finding.ts";

/** What one node answered. */
export interface NodeAnswer {
  node: string;
  host: string;
  port: number;
  /** Null when it could not be asked. */
  status: NodeStatus | null;
  outcome: Outcome;
  error: string;
}

export function checkCluster(cluster: DeclaredCluster, answers: readonly NodeAnswer[]): Finding[] {
  const findings = answers.flatMap((answer) => unreachable(cluster, answer));
  const reached = answers.filter((a): a is NodeAnswer & { status: NodeStatus } => a.status !== null);
  for (const a of reached) {
    if (!a.status.gtidMode) {
      const mariadb = a.status.flavour === "mariadb";
      findings.push({
        level: "error",
        code: "E_NODE_NO_GTID",
        place: `${cluster.cluster}.${a.node}`,
        found: mariadb ? "gtid_strict_mode or log_bin is not ON." : "gtid_mode is not ON.",
        why: "Without GTIDs nobody can say whether a replica has all that was acknowledged.",
        mend: mariadb
          ? "In my.cnf, section [mariadb]: gtid_strict_mode=ON and log_bin=binlog; then restart"
          : "SET PERSIST enforce_gtid_consistency = ON; then gtid_mode OFF_PERMISSIVE, ON_PERMISSIVE, ON, one after another on all nodes",
      });
    }
  }
  findings.push(
    ...flavours(cluster, reached),
    ...twins(cluster, reached),
    ...roles(cluster, reached, answers.length),
  );
  return findings;
}

type Reached = NodeAnswer & { status: NodeStatus };

/** What the servers' flavour forbids: both kinds in one cluster, more acks than it can wait for. */
function flavours(cluster: DeclaredCluster, reached: readonly Reached[]): Finding[] {
  const unfit = flavourRefusal(cluster.policy, new Map(reached.map((a) => [a.node, a.status])));
  if (unfit === null) return [];
  const mixed = unfit.refusal === "mixed-flavours";
  return [
    {
      level: "error",
      code: "E_NODE_SETTING",
      place: cluster.cluster,
      found: `${unfit.reason} (${unfit.refusal}).`,
      why: mixed
        ? "Their GTIDs cannot be compared, so nobody could tell who has all that was acknowledged."
        : "A failover reckons with what the policy says; where the servers do otherwise an acknowledged write may be missed.",
      mend: mixed
        ? "Declare servers of one flavour only"
        : "Set policy.acks to 1, policy.durability to lossless, policy.onAckLoss to wait",
    },
  ];
}

function unreachable(cluster: DeclaredCluster, a: NodeAnswer): Finding[] {
  if (a.outcome === "ok") return [];
  const place = `${cluster.cluster}.${a.node}`;
  if (a.outcome === "auth") {
    return [
      {
        level: "error",
        code: "E_NODE_AUTH",
        place,
        found: `${a.host}:${a.port} refuses the account: ${a.error}`,
        why: "Baton can neither watch nor lead a node that does not let it in.",
        mend: "Set mysql.user and mysql.password, or create the account with the grants of docs/start",
      },
    ];
  }
  return [
    {
      level: "error",
      code: "E_NODE_UNREACHABLE",
      place,
      found: `${a.host}:${a.port} cannot be asked (${a.outcome}): ${a.error}`,
      why: OUTCOMES_OF_DEATH.has(a.outcome)
        ? "A node that cannot be reached counts as dead."
        : "Baton can neither watch nor lead a node that it cannot ask.",
      mend: unreachableMend(a.outcome),
    },
  ];
}

function unreachableMend(outcome: Outcome): string {
  switch (outcome) {
    case "refused":
      return "Start mysqld there, or mend the port";
    case "too-many-connections":
      return "Raise max_connections, or find who holds them";
    case "tls":
      return "Give mysql.tls the server's CA, or switch TLS on there";
    default:
      return "Check the host's name, its address, and the firewalls on the way";
  }
}

/** One server under two names, or two servers with one server_id. */
function twins(cluster: DeclaredCluster, reached: readonly Reached[]): Finding[] {
  const findings: Finding[] = [];
  const by = (key: (a: Reached) => string | number) => {
    const groups = new Map<string | number, Reached[]>();
    for (const a of reached) groups.set(key(a), [...(groups.get(key(a)) ?? []), a]);
    return [...groups.values()].filter((group) => group.length > 1);
  };
  for (const same of by((a) => a.status.serverUuid)) {
    findings.push({
      level: "error",
      code: "E_CONFIG_DUPLICATE_NODE",
      place: cluster.cluster,
      found: `${list(same.map((a) => a.node))} are one and the same server (${same[0]?.status.serverUuid}).`,
      why: "An acknowledgement would be counted twice.",
      mend: "Declare each server once; a copied data directory needs its auto.cnf deleted",
    });
  }
  for (const same of by((a) => a.status.serverId)) {
    if (new Set(same.map((a) => a.status.serverUuid)).size === 1) continue;
    findings.push({
      level: "error",
      code: "E_NODE_SETTING",
      place: cluster.cluster,
      found: `${list(same.map((a) => a.node))} share server_id ${same[0]?.status.serverId}.`,
      why: "A replica drops transactions that carry its own server_id.",
      mend: "SET PERSIST server_id = <a number of its own>; of MariaDB in my.cnf",
    });
  }
  return findings;
}

function roles(cluster: DeclaredCluster, reached: readonly Reached[], declared: number): Finding[] {
  const { cluster: place, policy } = cluster;
  const writable = reached.filter(({ status }) => !status.readOnly);
  const mariadb = reached.some(({ status }) => status.flavour === "mariadb");
  const setting = (node: string, found: string, why: string, mend: string): Finding => ({
    level: "error",
    code: "E_NODE_SETTING",
    place: node === "" ? place : `${place}.${node}`,
    found,
    why,
    mend,
  });
  if (declared < 2) {
    return [
      {
        ...setting("", "It has no replica.", "There is nobody to pass the baton to.", "Declare a replica"),
        code: "E_CONFIG_NO_REPLICA",
      },
    ];
  }
  if (writable.length !== 1) {
    if (reached.length === 0) return [];
    const found =
      writable.length === 0
        ? "No node that can be reached is writable."
        : `${list(writable.map((a) => a.node))} are all writable.`;
    const mend =
      writable.length === 0
        ? "SET GLOBAL read_only = OFF on the one that is to be the primary"
        : `SET GLOBAL ${mariadb ? "read_only" : "super_read_only"} = ON on all but one, after looking at what each has that the others have not`;
    return [setting("", found, "Exactly one node may take writes: the primary.", mend)];
  }
  const primary = writable[0] as Reached;
  const findings = reached
    .filter((a) => a !== primary)
    .flatMap((a) =>
      follows(a, primary).map(({ found, mend }) =>
        setting(a.node, found, "Only a replica that follows the primary can take over from it.", mend),
      ),
    );
  const ackers = primary.status.semiSync?.clients ?? 0;
  if (ackers < policy.acks) {
    const missing = setting(
      primary.node,
      `${plural(ackers, "acker")} attached, and a write waits for ${policy.acks}.`,
      policy.durability === "lossless"
        ? "In lossless durability writes wait until enough replicas have them."
        : "Each write is answered before a replica has it: a failover may lose more.",
      mariadb
        ? "SET GLOBAL rpl_semi_sync_slave_enabled = ON on the replicas, then STOP SLAVE IO_THREAD; START SLAVE IO_THREAD"
        : "SET PERSIST rpl_semi_sync_replica_enabled = ON on the replicas, then STOP REPLICA IO_THREAD; START REPLICA IO_THREAD",
    );
    findings.push({ ...missing, level: policy.durability === "lossless" ? "error" : "advice" });
  }
  return findings;
}

function follows(a: Reached, primary: Reached): { found: string; mend: string }[] {
  const { replica } = a.status;
  const mariadb = a.status.flavour === "mariadb";
  const change = mariadb
    ? `CHANGE MASTER TO MASTER_HOST = '${primary.host}', MASTER_PORT = ${primary.port}, MASTER_USE_GTID = slave_pos, …; START SLAVE`
    : `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '${primary.host}', SOURCE_PORT = ${primary.port}, SOURCE_AUTO_POSITION = 1, …; START REPLICA`;
  if (!replica) return [{ found: "It follows nobody.", mend: change }];
  const source = `${replica.sourceHost}:${replica.sourcePort}`;
  const problems: { found: string; mend: string }[] = [];
  if (replica.sourceUuid !== "" && replica.sourceUuid !== primary.status.serverUuid) {
    return [{ found: `It follows ${source}, which is not the primary ${primary.node}.`, mend: change }];
  }
  if (replica.receiver !== "on") {
    problems.push({
      found: `Its receiver is ${replica.receiver === "off" ? "stopped" : `not connected to ${source}`}${replica.receiverError ? `: ${replica.receiverError}` : "."}`,
      mend: mariadb ? "START SLAVE IO_THREAD" : "START REPLICA IO_THREAD",
    });
  }
  if (replica.applier !== "on") {
    problems.push({
      found: `Its applier is stopped${replica.applierError ? `: ${replica.applierError}` : "."}`,
      mend: mariadb ? "START SLAVE SQL_THREAD" : "START REPLICA SQL_THREAD",
    });
  }
  if (!replica.autoPosition) {
    problems.push({
      found: "It follows by file and position, not by GTID.",
      mend: mariadb
        ? "STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID = slave_pos; START SLAVE"
        : "STOP REPLICA IO_THREAD; SELECT WAIT_FOR_EXECUTED_GTID_SET(RECEIVED_TRANSACTION_SET) FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME = ''; STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 1; START REPLICA",
    });
  }
  return problems;
}

/** One server in two clusters, under whatever names. */
export function sharedServers(
  clusters: readonly { cluster: string; answers: readonly NodeAnswer[] }[],
): Finding[] {
  const seen = new Map<string, string>();
  const findings: Finding[] = [];
  for (const { cluster, answers } of clusters) {
    for (const { node, status } of answers) {
      if (!status) continue;
      const other = seen.get(status.serverUuid);
      const me = `${cluster}.${node}`;
      if (other === undefined) seen.set(status.serverUuid, me);
      else if (!other.startsWith(`${cluster}.`)) {
        findings.push({
          level: "error",
          code: "E_CONFIG_SHARED_NODE",
          place: me,
          found: `It is the same server as ${other} (${status.serverUuid}).`,
          why: "Two clusters would lead it two ways.",
          mend: "Declare it in one of them only",
        });
      }
    }
  }
  return findings;
}
