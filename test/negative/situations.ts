/**
 * Situations in which a hasty tool fails over and Baton must not: docs/negative.md is this list as a table. Each makes a real fault on
 * real servers and knows how to end it.
 */
import type { DiagnosisCode } from "@baton/contracts";
import type { Stage } from "../stage.ts";
import {
  all,
  hold,
  holding,
  killSessions,
  pauseFor,
  replicas,
  setting,
  type Undo,
  unlogged,
} from "./fault-kit.ts";

export interface Situation {
  name: string;
  /** What on-call is shown while it lasts; null: nothing is wrong with the cluster. */
  sees: DiagnosisCode | null;
  /** Orders that are right: a node led home or mended. Never a failover. */
  mayOrder?: readonly ("rejoin" | "reopen" | "repair")[];
  /** It is over before anybody can look: samples are counted after its end. */
  brief?: true;
  /**
   * The writer rests meanwhile. A second writable node would get its writes; and a commit that is under way while both dump threads
   * are cut may wait for its ack for ever (docs/negative.md).
   */
  noWriter?: true;
  /** `p` is the primary. Returns how it ends. */
  make(stage: Stage, p: string): Promise<Undo>;
}

const nothing: Undo = async () => undefined;

/** Two of the probers' sessions are held; both must be opened anew to meet what refuses new ones. */
async function refuseNewSessions(stage: Stage, p: string, change: string, back: string): Promise<Undo> {
  const inside = await hold(stage, p, "baton");
  await inside.queryAll(change, { deadlineMs: 5_000 });
  const rows = await inside.query<{ id: number }>(
    "SELECT processlist_id id FROM performance_schema.threads WHERE processlist_user = 'baton' AND processlist_id <> CONNECTION_ID()",
    { deadlineMs: 5_000 },
  );
  for (const { id } of rows) await inside.query(`KILL ${id}`, { deadlineMs: 5_000 }).catch(() => undefined);
  return async () => {
    await inside.queryAll(back, { deadlineMs: 5_000 });
    await inside.end();
  };
}

async function alterAccount(stage: Stage, node: string, change: string, replica = false): Promise<Undo> {
  const { user, password } = stage.lab.accounts.baton;
  const undo = await setting(
    stage,
    node,
    unlogged(`ALTER USER ${user} ${change}`, { replica }),
    unlogged(`ALTER USER ${user} IDENTIFIED BY '${password}' ACCOUNT UNLOCK`, { replica }),
  );
  await killSessions(stage, node, user);
  return undo;
}

const inAll = (stage: Stage, nodes: readonly string[], change: string, back: string) =>
  all(...nodes.map((n) => () => setting(stage, n, change, back)));

function hung(stage: Stage, nodes: readonly string[]): Undo {
  for (const n of nodes) stage.lab.node(n).hang();
  return async () => {
    for (const n of nodes) stage.lab.node(n).resume();
  };
}

const onPrimary: Situation[] = [
  {
    name: "too many connections (1040)",
    sees: "primary-overloaded",
    make: (s, p) => refuseNewSessions(s, p, "SET GLOBAL max_connections=1", "SET GLOBAL max_connections=200"),
  },
  {
    name: "the password of Baton's account was changed",
    sees: "credentials-failing",
    make: (s, p) => alterAccount(s, p, "IDENTIFIED BY 'another'"),
  },
  {
    name: "the password of Baton's account has expired",
    sees: "credentials-failing",
    make: (s, p) => alterAccount(s, p, "PASSWORD EXPIRE"),
  },
  {
    name: "Baton's account is locked on all nodes",
    sees: "credentials-failing",
    make: (s, p) =>
      all(...[p, ...replicas(s, p)].map((n) => () => alterAccount(s, n, "ACCOUNT LOCK", n !== p))),
  },
  {
    name: "somebody kills all of Baton's sessions, five times",
    sees: null,
    brief: true,
    make: async (s, p) => {
      for (let i = 0; i < 5; i++) {
        await killSessions(s, p, "baton");
        await pauseFor(100);
      }
      return nothing;
    },
  },
  {
    name: "the replicas' dump threads are killed, five times",
    sees: null,
    brief: true,
    noWriter: true,
    // A receiver that was cut off in its handshake stays off, and is started again.
    mayOrder: ["repair"],
    make: async (s, p) => {
      for (let i = 0; i < 5; i++) {
        await killSessions(s, p, "repl");
        await pauseFor(100);
      }
      return nothing;
    },
  },
  {
    name: "FLUSH TABLES WITH READ LOCK of a backup",
    sees: null,
    make: (s, p) => holding(s, p, "FLUSH TABLES WITH READ LOCK", "baton"),
  },
  {
    name: "LOCK INSTANCE FOR BACKUP",
    sees: null,
    make: (s, p) => holding(s, p, "LOCK INSTANCE FOR BACKUP", "baton"),
  },
  {
    name: "a DDL waits for a metadata lock, and all writes behind it",
    sees: null,
    make: async (s, p) => {
      const reader = await holding(s, p, "BEGIN; SELECT COUNT(*) FROM app.writes");
      const alter = await hold(s, p);
      const altered = alter.query("ALTER TABLE app.writes COMMENT='corpus'", { deadlineMs: 60_000 });
      altered.catch(() => undefined);
      return async () => {
        await reader();
        await altered;
        await alter.end();
      };
    },
  },
  {
    name: "a long transaction holds row locks",
    sees: null,
    make: (s, p) =>
      holding(
        s,
        p,
        "BEGIN; INSERT INTO app.writes VALUES ('corpus','corpus',0); SELECT COUNT(*) FROM app.writes FOR UPDATE",
      ),
  },
  {
    name: "one transaction of 60 000 rows",
    sees: null,
    brief: true,
    make: async (s, p) => {
      const numbers =
        "WITH d AS (SELECT 0 n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
      const six = "d a, d b, d c, d e, (SELECT * FROM d WHERE n < 6) f";
      await s.lab.node(p).query("CREATE TABLE IF NOT EXISTS app.big (id INT PRIMARY KEY, t VARCHAR(200))");
      await s.lab
        .node(p)
        .query(
          `INSERT INTO app.big ${numbers} SELECT a.n + 10*b.n + 100*c.n + 1000*e.n + 10000*f.n, REPEAT('x', 200) FROM ${six}`,
        );
      return async () => void (await s.lab.node(p).query("DROP TABLE app.big"));
    },
  },
  {
    name: "20 writers as fast as they can",
    sees: null,
    make: async (s) => {
      const writer = s.lab.writer({ connections: 20, paceMs: 0, answerTimeoutMs: 5_000 });
      return async () => void (await writer.stop());
    },
  },
  {
    name: "it stands still for 150 ms, five times (SIGSTOP, SIGCONT)",
    sees: null,
    brief: true,
    make: async (s, p) => {
      for (let i = 0; i < 5; i++) {
        s.lab.node(p).hang();
        await pauseFor(150);
        s.lab.node(p).resume();
        await pauseFor(200);
      }
      return nothing;
    },
  },
  {
    name: "a person sets super_read_only",
    sees: "primary-read-only",
    make: (s, p) =>
      setting(
        s,
        p,
        "SET GLOBAL super_read_only=ON",
        "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF",
      ),
  },
  {
    name: "a person switches semi-sync off",
    sees: "semi-sync-off",
    mayOrder: ["repair"],
    make: (s, p) =>
      setting(
        s,
        p,
        "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
        "SET GLOBAL rpl_semi_sync_source_enabled=ON",
      ),
  },
  {
    name: "offline_mode: clients and replicas are thrown out, Baton is not",
    sees: "semi-sync-too-few-ackers",
    noWriter: true,
    make: (s, p) => setting(s, p, "SET GLOBAL offline_mode=ON", "SET GLOBAL offline_mode=OFF"),
  },
  {
    name: "another time zone",
    sees: null,
    make: (s, p) => setting(s, p, "SET GLOBAL time_zone='+11:00'", "SET GLOBAL time_zone='SYSTEM'"),
  },
  {
    name: "binary logs are rotated and purged",
    sees: null,
    brief: true,
    make: async (s, p) => {
      for (let i = 0; i < 5; i++) await s.lab.node(p).query("FLUSH BINARY LOGS");
      return nothing;
    },
  },
];

const onReplicas: Situation[] = [
  {
    name: "FLUSH TABLES WITH READ LOCK on a replica",
    sees: null,
    make: (s) => holding(s, "n3", "FLUSH TABLES WITH READ LOCK", "baton"),
  },
  {
    name: "a replica is killed and started again",
    sees: "replica-dead",
    mayOrder: ["rejoin"],
    make: async (s) => {
      await s.lab.node("n3").kill();
      return () => s.lab.node("n3").start();
    },
  },
  {
    name: "a replica is shut down in order and started again",
    sees: "replica-dead",
    mayOrder: ["rejoin"],
    make: async (s) => {
      await s.lab.node("n3").terminate();
      return () => s.lab.node("n3").start();
    },
  },
  {
    name: "a replica hangs",
    sees: "replica-dead",
    make: async (s) => hung(s, ["n3"]),
  },
  {
    name: "all replicas hang: semi-sync starves the primary",
    sees: "replica-dead",
    make: async (s, p) => hung(s, replicas(s, p)),
  },
  {
    name: "both replicas' receivers are stopped by hand",
    sees: "semi-sync-too-few-ackers",
    make: (s, p) => inAll(s, replicas(s, p), "STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD"),
  },
  {
    name: "both replicas' appliers are stopped by hand",
    sees: "replication-stopped",
    make: (s, p) => inAll(s, replicas(s, p), "STOP REPLICA SQL_THREAD", "START REPLICA SQL_THREAD"),
  },
  {
    name: "the replication account is locked and its sessions are killed",
    sees: "semi-sync-too-few-ackers",
    noWriter: true,
    make: async (s, p) => {
      const undo = await setting(
        s,
        p,
        unlogged("ALTER USER repl ACCOUNT LOCK"),
        unlogged("ALTER USER repl ACCOUNT UNLOCK"),
      );
      await killSessions(s, p, "repl");
      return async () => {
        await undo();
        for (const n of replicas(s, p))
          await s.lab.node(n).query("STOP REPLICA IO_THREAD; START REPLICA IO_THREAD");
      };
    },
  },
];

const program = (s: Stage, ...names: string[]) => names.map((n) => s.system.program(n));

const onBaton: Situation[] = [
  {
    name: "a prober is killed",
    sees: null,
    brief: true,
    make: async (s) => {
      for (const p of program(s, "prober-1")) p.kill();
      return nothing;
    },
  },
  {
    name: "all probers are killed",
    sees: null,
    brief: true,
    make: async (s) => {
      for (const p of program(s, "prober-1", "prober-2")) p.kill();
      return nothing;
    },
  },
  {
    name: "all probers hang for two seconds",
    sees: null,
    brief: true,
    make: async (s) => {
      const probers = program(s, "prober-1", "prober-2");
      for (const p of probers) p.hang();
      await pauseFor(2_000);
      for (const p of probers) p.resume();
      return nothing;
    },
  },
  {
    name: "a prober hangs",
    sees: null,
    make: async (s) => {
      s.system.program("prober-2").hang();
      return async () => s.system.program("prober-2").resume();
    },
  },
  {
    name: "the decider is killed",
    sees: null,
    brief: true,
    make: async (s) => {
      for (const p of program(s, "decider-1")) p.kill();
      return nothing;
    },
  },
  {
    name: "the decider hangs for two seconds",
    sees: null,
    brief: true,
    make: async (s) => {
      s.system.program("decider-1").hang();
      await pauseFor(2_000);
      s.system.program("decider-1").resume();
      return nothing;
    },
  },
  {
    name: "executor, notifier and auditor are killed",
    sees: null,
    brief: true,
    make: async (s) => {
      for (const p of program(s, "executor-1", "notifier-1", "auditor-1")) p.kill();
      return nothing;
    },
  },
  {
    name: "NATS is killed and started again",
    sees: null,
    brief: true,
    make: async (s) => {
      await s.lab.nats.servers[0]?.kill();
      await pauseFor(1_000);
      await s.lab.nats.servers[0]?.start();
      return nothing;
    },
  },
  {
    name: "NATS hangs for three seconds",
    sees: null,
    brief: true,
    make: async (s) => {
      s.lab.nats.servers[0]?.hang();
      await pauseFor(3_000);
      s.lab.nats.servers[0]?.resume();
      return nothing;
    },
  },
  {
    name: "everything of Baton is killed at once",
    sees: null,
    brief: true,
    make: async (s) => {
      for (const { program: p } of s.system.instances) p.kill();
      return nothing;
    },
  },
];

const secondPens: Situation[] = [
  {
    name: "a person makes a replica writable",
    sees: "replica-writable",
    mayOrder: ["rejoin"],
    noWriter: true,
    make: async (s) => {
      await s.lab.node("n3").query("SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF");
      return nothing;
    },
  },
  {
    name: "somebody writes on a replica",
    sees: "gtid-drift",
    mayOrder: ["rejoin"],
    noWriter: true,
    make: async (s) => {
      const n3 = s.lab.node("n3");
      await n3.query(
        "SET GLOBAL super_read_only=OFF; INSERT INTO app.writes VALUES ('errant','n3',0); SET GLOBAL super_read_only=ON",
      );
      return () => n3.reseed();
    },
  },
];

export const SITUATIONS: readonly Situation[] = [...onPrimary, ...onReplicas, ...onBaton, ...secondPens];
