/** Who answers at the addresses that are to be declared; all asked at once, each within a deadline. Only reads. */
import type { MysqlAccess, NodeStatus } from "@baton/contracts";
import { openSession, readStatus, type Session } from "@baton/mysql";

const CONNECT_MS = 3_000;
const QUERY_MS = 5_000;

export interface ServerAnswer {
  /** Null when it could not be asked; `error` says why. */
  status: NodeStatus | null;
  error: string;
  /** Tables outside the system's schemas; null: the account may not see them (it lacks PROCESS). */
  tables: number | null;
}

export async function askServers(
  nodes: Readonly<Record<string, { host: string; port: number }>>,
  access: MysqlAccess,
): Promise<Map<string, ServerAnswer>> {
  const answers = Object.entries(nodes).map(
    async ([node, { host, port }]) => [node, await askServer({ host, port }, access)] as const,
  );
  return new Map(await Promise.all(answers));
}

async function askServer(at: { host: string; port: number }, access: MysqlAccess): Promise<ServerAnswer> {
  try {
    const session = await openSession(at, access, { connectTimeoutMs: CONNECT_MS, name: "baton-apply" });
    try {
      const status = await readStatus(session, QUERY_MS);
      // An error ends the session, so it comes last.
      const tables = await tablesOf(session).catch(() => null);
      return { status, error: "", tables };
    } finally {
      session.destroy();
    }
  } catch (error) {
    return { status: null, error: (error as Error).message, tables: null };
  }
}

/** Of Baton's own schema nothing is lost. */
async function tablesOf(session: Session): Promise<number> {
  const [row] = await session.query<{ n: number }>(
    `SELECT COUNT(*) n FROM information_schema.innodb_tablespaces WHERE NAME LIKE '%/%'
    AND SUBSTRING_INDEX(NAME, '/', 1) NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema', 'baton')`,
    { deadlineMs: QUERY_MS },
  );
  return Number(row?.n);
}
