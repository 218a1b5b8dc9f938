/**
 * Bugs, put between the real executor and what it talks to: the promises must notice each of them. They are wrappers of the bus and of
 * the sessions, so that product code has no switch for them, and an executor over real servers can be given the same
 * ones (planted-executor.ts).
 */
import type { Bucket, Bus } from "@baton/bus";
import type { BucketName, ClusterState } from "@baton/contracts";
import type { OpenSession } from "@baton/executor/core";
import { type Access, dialectFor, type Row, type Session, type Target } from "@baton/mysql";

export interface Plant {
  readonly what: string;
  readonly open?: (open: OpenSession) => OpenSession;
  /** `open` and `targetOf` reach the nodes, for a bug that acts on one. */
  readonly bus?: (bus: Bus, open: OpenSession, targetOf: (node: string) => Target, access: Access) => Bus;
}

const dialect = dialectFor("9.7.4");
const WAIT = /SELECT WAIT_FOR_EXECUTED_GTID_SET\('[^']*', [\d.]+\) AS late/g;
/** Without the timeout. */
const NODE_LOCK = dialect.takeNodeLock(0).slice(0, dialect.takeNodeLock(0).indexOf(", "));
const HELPER_LOCK = dialect.takeHelperLock(0).slice(0, dialect.takeHelperLock(0).indexOf(", "));

/** A session whose statements, or answers, are not what the executor thinks. */
function through(change: (session: Session, sql: string, ask: Session["queryAll"]) => Promise<Row[][]>) {
  return (open: OpenSession): OpenSession =>
    async (...given) => {
      const session = await open(...given);
      const ask = session.queryAll.bind(session);
      return new Proxy(session, {
        get(of, name) {
          if (name === "queryAll")
            return (sql: string, o?: Parameters<Session["queryAll"]>[1]) =>
              change(of, sql, (text) => ask(text, o));
          const value = Reflect.get(of, name, of);
          return typeof value === "function" ? value.bind(of) : value;
        },
      });
    };
}

export const PLANTS = {
  "skip-apply-wait": {
    what: "the candidate is not waited for until it has applied what it received",
    // Everybody holds the empty set.
    open: through((_session, sql, ask) => ask(sql.replaceAll(WAIT, dialect.waitApplied("", 1)))),
  },
  "no-node-lock": {
    what: "no node's lock is taken, and every hand believes that it has it",
    open: (open) => {
      const last = new Map<string, number>();
      return through(async (session, sql, ask) => {
        const node = addressOf(session);
        if (sql.startsWith(HELPER_LOCK)) return [[{ taken: 1, holder: last.get(node) ?? 0 }]];
        if (!sql.startsWith(NODE_LOCK)) return ask(sql);
        last.set(node, session.threadId);
        return [[{ taken: 1, holder: session.threadId, helper: null }]];
      })(open);
    },
  },
  "no-confirm": {
    what: "a hand is not confirmed by a compare-and-set after its lock is taken (docs/decisions/0010)",
    bus: (bus) => {
      let last: ClusterState | null = null;
      return withStates(bus, (states) => ({
        ...states,
        async update(cluster, state, revision) {
          // To confirm is to write the same again.
          if (state === last) return revision;
          last = state;
          return states.update(cluster, state, revision);
        },
      }));
    },
  },
  "stop-too-few": {
    what: "one acker fewer than N−k+1 is stopped: of each fence the first only says that it was",
    open: (open) => {
      let spared: string | null = null;
      return through(async (session, sql, ask) => {
        if (!sql.startsWith(`${dialect.stopReceiver};${dialect.statusSql}`)) return ask(sql);
        spared ??= addressOf(session);
        if (spared !== addressOf(session)) return ask(sql);
        const [rows] = await ask(dialect.statusSql);
        const status = rows?.[0]?.status as { channel: { receiver: string } | null } | undefined;
        if (status?.channel) status.channel.receiver = "OFF";
        return [[], rows ?? []];
      })(open);
    },
  },
  "open-before-commit": {
    what: "the candidate is opened before the state says that it is the primary",
    bus: (bus, open, targetOf, access) => {
      let acks: number | null = null;
      return withStates(bus, (states) => ({
        ...states,
        async update(cluster, state, revision) {
          // Asked long before: at the commit point NATS may be away, and then the bug does its worst.
          acks ??= (await bus.bucket("baton_clusters").get(cluster))?.value.policy.acks ?? 1;
          if (state.phase === "promoting") {
            const how = { connectTimeoutMs: 1_000, name: "baton-planted" };
            const session = await open(targetOf(state.primary), access, how);
            await session.queryAll(dialect.openPrimary({ acks, timeoutMs: null }).join(";"));
            await session.end();
          }
          return states.update(cluster, state, revision);
        },
      }));
    },
  },
} as const satisfies Record<string, Plant>;

export type PlantName = keyof typeof PLANTS;

function addressOf({ target }: Session): string {
  return `${target.host}:${target.port}`;
}

function withStates(bus: Bus, change: (states: Bucket<ClusterState>) => Bucket<ClusterState>): Bus {
  return {
    ...bus,
    get connected() {
      return bus.connected;
    },
    bucket: ((name: BucketName) =>
      name === "baton_state" ? change(bus.bucket(name)) : bus.bucket(name)) as Bus["bucket"],
  };
}
