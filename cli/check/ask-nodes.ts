/** Asks every node of every cluster at once what `baton check` needs to know; each within a deadline. */
import { type Config, type MysqlAccess, Outcome } from "@baton/contracts";
import { MysqlFault, openSession, readStatus } from "@baton/mysql";
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
  const nodes = Object.entries(config.clusters[cluster]?.nodes ?? {});
  const access = accessTo(config, cluster);
  return Promise.all(nodes.map(([node, { host, port }]) => askNode({ cluster, node, host, port, access })));
}

async function askNode(o: {
  cluster: string;
  node: string;
  host: string;
  port: number;
  access: MysqlAccess;
}): Promise<AskedNode> {
  const { node, host, port, access } = o;
  const answer = { node, host, port, findings: [] };
  try {
    const session = await openSession({ host, port }, access, {
      connectTimeoutMs: CONNECT_MS,
      name: "baton-check",
    });
    try {
      const status = await readStatus(session, QUERY_MS);
      return { ...answer, status, outcome: "ok", error: "" };
    } finally {
      session.destroy();
    }
  } catch (error) {
    const outcome = error instanceof MysqlFault ? error.outcome : Outcome.enum.error;
    return { ...answer, status: null, outcome, error: (error as Error).message };
  }
}
