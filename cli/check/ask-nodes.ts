/** Asks every node of every cluster at once what `baton check` needs to know; each within a deadline. */
import { type Config, type MysqlAccess, Outcome, type Policy } from "@baton/contracts";
import { checkNode, MysqlFault, openSession, readStatus } from "@baton/mysql";
import { accessTo } from "@baton/runtime";
import type { NodeAnswer } from "./cluster-checks.ts";
import type { Finding } from "./finding.ts";

const CONNECT_MS = 3_000;
const QUERY_MS = 5_000;

export interface AskedNode extends NodeAnswer {
  /** What the node's own settings lack. */
  findings: Finding[];
}

export async function askCluster(cluster: string, config: Config): Promise<AskedNode[]> {
  const declared = config.clusters[cluster];
  if (!declared) return [];
  const { nodes, policy } = declared;
  const access = accessTo(config, cluster);
  return Promise.all(
    Object.entries(nodes).map(([node, { host, port }]) =>
      askNode({ cluster, node, host, port, access, policy }),
    ),
  );
}

async function askNode(o: {
  cluster: string;
  node: string;
  host: string;
  port: number;
  access: MysqlAccess;
  policy: Policy;
}): Promise<AskedNode> {
  const { cluster, node, host, port, access, policy } = o;
  const answer = { node, host, port, findings: [] };
  try {
    const session = await openSession({ host, port }, access, {
      connectTimeoutMs: CONNECT_MS,
      name: "baton-check",
    });
    try {
      const status = await readStatus(session, QUERY_MS);
      const role = status.readOnly ? "replica" : "primary";
      const lacks = await checkNode(session, role, policy, {
        replication: access.replication,
        tls: access.tls,
        deadlineMs: QUERY_MS,
      });
      const findings = lacks
        // It has a code of its own: E_NODE_NO_GTID, in cluster-checks.ts.
        .filter(({ found }) => status.gtidMode || !found.startsWith("gtid_mode "))
        .map((finding) => ({ ...finding, place: `${cluster}.${node}` }));
      return { ...answer, status, findings, outcome: "ok", error: "" };
    } finally {
      session.destroy();
    }
  } catch (error) {
    const outcome = error instanceof MysqlFault ? error.outcome : Outcome.enum.error;
    return { ...answer, status: null, outcome, error: (error as Error).message };
  }
}
