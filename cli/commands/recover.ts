/**
 * `baton recover`: NATS has lost a cluster's state or was set back, or another Baton led the cluster until now. Asks the nodes and the archive,
 * proposes the state that fits, and writes it when a person confirms.
 */
import { randomBytes } from "node:crypto";
import type { Bus } from "@baton/bus";
import { BatonError, type ClusterState, type Config, LOCK_TTL_S } from "@baton/contracts";
import { dialectFor, isMissingTable, MysqlFault, openSession } from "@baton/mysql";
import { rowOf } from "@baton/protocol";
import { accessTo } from "@baton/runtime";
import { askCluster } from "../check/ask-nodes.ts";
import { configFile, withClusters } from "../config-file.ts";
import { Exit } from "../failure.ts";
import { chooseNats, natsOf, reachBus } from "../reach.ts";
import { type Proposal, propose } from "../recover/propose.ts";
import { paint, wantsColour } from "../view/colour.ts";

const HISTORY_MS = 2_000;
const HISTORY_MOST = 200;
const CONNECT_MS = 3_000;
const MARK_MS = 10_000;

interface Options {
  yes?: true;
  takeOver?: true;
  primary?: string;
  config?: string;
  nats?: string;
  json?: true;
}

export async function recover(cluster: string, o: Options): Promise<void> {
  const { config, file } = configFile(o.config);
  withClusters(config, file);
  if (config.clusters[cluster] === undefined)
    throw new BatonError("E_NOT_FOUND", {
      place: `recover ${cluster}`,
      message: `The configuration ${file} declares no cluster ${cluster}.`,
      remedy: `Its clusters: ${Object.keys(config.clusters).join(", ")}.`,
    });
  const choice = o.nats === undefined ? natsOf(config.nats) : await chooseNats({ nats: o.nats });
  const bus = await reachBus({ ...choice, replicas: config.nats.replicas });
  const p = paint(wantsColour(process.stdout, process.env));
  const say = (...lines: string[]) => {
    if (!o.json) for (const line of lines) console.log(line);
  };
  try {
    // The buckets themselves may be what is gone.
    await bus.ensure();
    const states = bus.bucket("baton_state");
    const [found, answers, archived] = await Promise.all([
      states.get(cluster),
      askCluster(cluster, config),
      archivedEpoch(bus, cluster),
    ]);
    for (const { node, host, port, status, error } of answers)
      say(
        `  ${p.bold(node)}  ${host}:${port}  ${
          status === null
            ? p.red(`not reached: ${error}`)
            : `${status.readOnly ? "read-only" : "writable"}  ${
                status.epoch == null
                  ? "carries no epoch"
                  : `carries epoch ${status.epoch.epoch} (installation ${status.epoch.installation}, cluster ${status.epoch.cluster}, primary ${status.epoch.primaryUuid})`
              }`
        }`,
      );
    const proposal = propose({
      cluster,
      state: found?.value ?? null,
      answers,
      archived,
      takeOver: o.takeOver === true,
      primary: o.primary ?? null,
      newInstallation: randomBytes(8).toString("hex"),
    });
    if (proposal.kind !== "state") {
      const done = proposal.kind === "nothing";
      if (o.json) console.log(JSON.stringify({ ...proposal, applied: false }, null, 2));
      else if (done) say(`${p.green("●")} Nothing to recover: ${proposal.why}.`);
      else say(`${p.red("●")} Nothing was changed: ${proposal.why}.`, `  Next: ${proposal.next}`);
      if (!done) throw new Exit(1);
      return;
    }
    const { state, why } = proposal;
    say(
      ...why.map((line) => `  ${line}`),
      `${p.bold("Proposed")}  ${cluster}: epoch ${state.epoch}, primary ${state.primary}${state.quarantined.length === 0 ? "" : `, quarantined ${state.quarantined.join(", ")}`}`,
    );
    if (o.yes !== true) {
      const again = `baton recover ${cluster}${o.takeOver ? " --take-over" : ""}${o.primary === undefined ? "" : ` --primary ${o.primary}`} --yes`;
      if (o.json) console.log(JSON.stringify({ ...proposal, applied: false, next: again }, null, 2));
      else say(`Nothing was changed. To write it: ${again}`);
      return;
    }
    await apply(bus, config, proposal, found?.revision ?? 0);
    if (o.json) console.log(JSON.stringify({ ...proposal, applied: true }, null, 2));
    else say(`${p.green("●")} Written. Baton leads the cluster by it from now on: baton status ${cluster}`);
  } finally {
    await bus.drain();
  }
}

/** Under the cluster's lock, so that no operation begins meanwhile. */
async function apply(
  bus: Bus,
  config: Config,
  { state, writeRow }: Extract<Proposal, { kind: "state" }>,
  over: number,
): Promise<void> {
  const { cluster } = state;
  const place = `recover ${cluster}`;
  const locks = bus.bucket("baton_locks");
  const holder = {
    operation: `recover-${cluster}`,
    kind: "adopt",
    holder: "cli",
    sinceUnixMs: Date.now(),
  } as const;
  const lock = await locks.create(cluster, holder);
  if (lock === null)
    throw new BatonError("E_LOCKED", {
      place,
      message: `Nothing was changed: ${(await locks.get(cluster))?.value.operation ?? "an operation"} holds the cluster's lock.`,
      remedy: `It ends by itself, at the latest ${LOCK_TTL_S} s after its executor; then say it again.`,
    });
  try {
    // The mark first: until the state fits it, no Baton acts.
    if (writeRow) await mark(config, state);
    const revision = await bus.bucket("baton_state").update(cluster, state, over);
    if (revision === null)
      throw new BatonError("E_CONFLICT", {
        place,
        message: "The state in NATS was changed by another meanwhile.",
        remedy: `Look at it: baton status ${cluster}; then say it again.`,
      });
  } finally {
    await locks.remove(cluster, lock).catch(() => false);
  }
}

async function mark(config: Config, state: ClusterState): Promise<void> {
  const node = config.clusters[state.cluster]?.nodes[state.primary];
  const row = rowOf(state);
  if (node === undefined || row === null) return;
  const session = await openSession({ host: node.host, port: node.port }, accessTo(config, state.cluster), {
    connectTimeoutMs: CONNECT_MS,
    name: "baton-recover",
  });
  try {
    const d = dialectFor(session.version);
    const o = { deadlineMs: MARK_MS };
    const [lock] = await session.query<{ taken: number }>(d.takeNodeLock(2), o);
    if (Number(lock?.taken) !== 1)
      throw new BatonError("E_LOCKED", {
        place: `recover ${state.cluster}`,
        message: `Nothing was changed: a Baton holds ${state.primary}'s lock.`,
        remedy: "Stop the other Baton, or wait for its operation to end; then say it again.",
      });
    try {
      await session.query(d.writeEpoch(row), o);
    } catch (error) {
      if (!(error instanceof MysqlFault) || !isMissingTable(error.errno)) throw error;
      await session.queryAll([...d.createEpoch, d.writeEpoch(row)].join(";"), o);
    }
  } catch (error) {
    if (!(error instanceof MysqlFault)) throw error;
    throw new BatonError("E_NODE_UNREACHABLE", {
      place: `recover ${state.cluster}`,
      message: `The state was not changed: ${state.primary} could not be marked within ${MARK_MS / 1_000} s (${error.message}).`,
      remedy: "Writes must be acknowledged there: bring its replicas back, then say it again.",
      cause: error,
    });
  } finally {
    session.destroy();
  }
}

/** The highest epoch of an operation that the archive knows of this cluster; null when no auditor answers. */
async function archivedEpoch(bus: Bus, cluster: string): Promise<number | null> {
  try {
    const request = { cluster, operation: null, limit: HISTORY_MOST };
    const { operations } = await bus.command("history", request, { timeoutMs: HISTORY_MS });
    // A failover that was rolled back names an epoch that never was.
    const done = operations.filter((op) => op.outcome === "completed" || op.outcome === "blocked");
    return Math.max(0, ...done.map((op) => op.epoch));
  } catch {
    return null;
  }
}
