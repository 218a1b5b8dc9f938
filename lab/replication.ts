import { accounts } from "./accounts.ts";
import { LabError } from "./lab-error.ts";
import type { LabNode } from "./lab-node.ts";
import { until } from "./until.ts";

const attachTimeoutMs = 20_000;

/** The statement that makes a node follow `source` by GTID, with the heartbeat that Baton's detection needs. */
export function changeSource(source: { host: string; port: number }): string {
  return (
    `CHANGE REPLICATION SOURCE TO SOURCE_HOST='${source.host}', SOURCE_PORT=${source.port}, ` +
    `SOURCE_USER='${accounts.repl.user}', SOURCE_PASSWORD='${accounts.repl.password}', ` +
    "SOURCE_AUTO_POSITION=1, SOURCE_HEARTBEAT_PERIOD=0.2, SOURCE_CONNECT_RETRY=1, " +
    "SOURCE_RETRY_COUNT=86400, GET_SOURCE_PUBLIC_KEY=1"
  );
}

/**
 * Points a replica elsewhere while its applier keeps running: its relay log stays, which is safe and thirty times
 * cheaper, since nothing is purged and made anew. The receiver must be stopped; everything not named (user,
 * auto position) is kept, but the heartbeat period would fall back to its default.
 */
export function changeSourceKeepingRelayLog(source: { host: string; port: number }): string {
  return (
    `CHANGE REPLICATION SOURCE TO SOURCE_HOST='${source.host}', SOURCE_PORT=${source.port}, ` +
    "SOURCE_HEARTBEAT_PERIOD=0.2"
  );
}

/** The statements that make a node that holds no history of its own a semi-sync replica of `source`. */
export function followSql(source: { host: string; port: number }): string {
  return (
    "SET GLOBAL rpl_semi_sync_source_enabled=OFF; SET GLOBAL rpl_semi_sync_replica_enabled=ON; " +
    `${changeSource(source)}; START REPLICA`
  );
}

export async function follow(node: LabNode, source: LabNode): Promise<void> {
  await node.query(followSql(source));
}

/** Resolves when `count` semi-sync replicas are attached to the primary; `variable` is the server's name for their number. */
export async function attached(
  primary: LabNode,
  count: number,
  signal?: AbortSignal,
  variable = "Rpl_semi_sync_source_clients",
): Promise<void> {
  let clients = "none";
  await until(
    async () => {
      const rows = await primary.query<{ Value: string }>(`SHOW STATUS LIKE '${variable}'`);
      clients = rows[0]?.Value ?? "none";
      return Number(clients) >= count;
    },
    {
      timeoutMs: attachTimeoutMs,
      everyMs: 10,
      signal,
      onTimeout: (cause) =>
        new LabError("replica-not-attached", {
          found: `${clients} semi-sync replicas at ${primary.name} after ${attachTimeoutMs} ms`,
          expected: `${count}`,
          remedy: `read ${primary.dir}/mysqld.log and the replicas' logs beside it`,
          cause,
        }),
    },
  );
}

/** Resolves when `node` has executed all that `source` has executed now. */
export async function caughtUp(node: LabNode, source: LabNode): Promise<void> {
  const [history] = await source.query<{ executed: string }>("SELECT @@GLOBAL.gtid_executed AS executed");
  const [answer] = await node.query<{ late: number }>("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?) AS late", [
    history?.executed ?? "",
    attachTimeoutMs / 1000,
  ]);
  if (answer?.late === 0) return;
  const [status] = await node.query<{ executed: string }>("SELECT @@GLOBAL.gtid_executed AS executed");
  throw new LabError("replica-not-attached", {
    found: `${node.name} has executed ${status?.executed} after ${attachTimeoutMs} ms`,
    expected: `${history?.executed}, as ${source.name} has`,
    remedy: `read ${node.dir}/mysqld.log`,
  });
}
