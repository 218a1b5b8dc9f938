/** What can happen to the primary's process, and to whoever wants to speak to it. */
import { setTimeout as pause } from "node:timers/promises";
import type { LabNode } from "../lab-node.ts";
import { pick } from "./random.ts";
import type { Fault, Heal } from "./scene.ts";

/** Starts what is down and wakes what sleeps. */
export function revive(...nodes: readonly LabNode[]): Heal {
  return async () => {
    await Promise.all(
      nodes.map(async (node) => {
        if (!node.running) await node.start();
        else if (node.hung) node.resume();
      }),
    );
  };
}

/** Statements on one node alone, not replicated; super_read_only is lifted for that moment. */
export async function unlogged(node: LabNode, sql: string): Promise<void> {
  const [was] = await node.query<{ closed: number }>("SELECT @@GLOBAL.super_read_only AS closed");
  const lift =
    was?.closed === 1
      ? ["SET GLOBAL super_read_only=OFF", "SET GLOBAL super_read_only=ON"]
      : ["DO 0", "DO 0"];
  await node.query(`${lift[0]}; SET sql_log_bin=0; ${sql}; SET sql_log_bin=1; ${lift[1]}`);
}

/**
 * KILL of every connection of the account. The threads of a replica bear the name of who started it, and are no connections: to kill them
 * stops replication for good.
 */
export async function killSessions(root: Pick<LabNode, "query">, user: string): Promise<void> {
  const rows = await root.query<{ id: number }>(
    "SELECT processlist_id AS id FROM performance_schema.threads WHERE processlist_user = ? AND name = 'thread/sql/one_connection'",
    [user],
  );
  for (const { id } of rows) await root.query(`KILL ${id}`).catch(() => undefined);
}

export const onPrimary: readonly Fault[] = [
  {
    name: "kill",
    what: "kill -9 of the primary; it is started again at the end",
    weight: 4,
    roles: ["main"],
    lastsMs: [1_500, 4_000],
    expects: "failover",
    refusals: [],
    make: async ({ primary }) => {
      primary.killNow();
      return revive(primary);
    },
  },
  {
    name: "kill-restart",
    what: "kill -9 of the primary, which is started again within a second: inside the failover",
    weight: 3,
    roles: ["main"],
    lastsMs: [2_000, 4_000],
    expects: "either",
    refusals: ["node-lost", "state-changed", "durability-unproven"],
    make: async ({ primary }, [when]) => {
      await primary.kill();
      const again = pause(when * 900).then(() => primary.start());
      again.catch(() => undefined);
      return async () => {
        await again;
        await revive(primary)();
      };
    },
  },
  {
    name: "hang",
    what: "SIGSTOP of the primary, SIGCONT at the end: it wakes with its sockets full",
    weight: 3,
    roles: ["main"],
    lastsMs: [2_500, 5_000],
    expects: "failover",
    refusals: [],
    make: async ({ primary }) => {
      primary.hang();
      return revive(primary);
    },
  },
  {
    name: "stutter",
    what: "the primary stands still for 150 ms, again and again: a slow disk, a stalled host",
    roles: ["main"],
    lastsMs: [2_000, 3_500],
    expects: "either",
    refusals: ["node-lost"],
    make: async ({ primary }) => {
      const over = new AbortController();
      const stuttering = (async () => {
        while (!over.signal.aborted && primary.running) {
          primary.hang();
          await pause(150);
          if (primary.running) primary.resume();
          await pause(150);
        }
      })();
      return async () => {
        over.abort();
        await stuttering;
        await revive(primary)();
      };
    },
  },
  {
    name: "flapping",
    what: "kill -9 of the primary and a start at once, three times",
    weight: 2,
    roles: ["main"],
    lastsMs: [1_500, 2_500],
    expects: "either",
    refusals: [
      "node-lost",
      "state-changed",
      "durability-unproven",
      "ackers-unreachable",
      "too-few-ackers-left",
    ],
    make: async ({ primary }) => {
      for (let time = 0; time < 3; time++) {
        await primary.kill();
        await primary.start();
      }
      return revive(primary);
    },
  },
  {
    name: "overload",
    what: "the primary has no connection left (1040), and the sessions there are end",
    roles: ["main"],
    lastsMs: [2_000, 3_000],
    expects: "keep",
    refusals: [],
    make: async ({ primary }) => {
      // With the replicas' connections it is full: only who is in can undo it.
      const root = await primary.attach();
      await root.query("SET GLOBAL max_connections=1");
      await killSessions(root, "baton");
      await killSessions(root, "app");
      return async () => {
        await root.query("SET GLOBAL max_connections=200").catch(revive(primary));
        root.end();
      };
    },
  },
  {
    name: "wrong-password",
    what: "the password of Baton's account is another one on the primary, or the account is locked on all nodes",
    roles: ["main", "side"],
    lastsMs: [2_000, 3_000],
    expects: "keep",
    refusals: ["ackers-unreachable", "node-lost", "no-candidate", "cannot-follow"],
    holdsUp: true,
    make: async ({ lab, primary }, [everywhere]) => {
      const nodes = everywhere < 0.5 ? [primary] : lab.nodes;
      const { user, password } = lab.accounts.baton;
      for (const node of nodes) {
        await unlogged(node, `ALTER USER ${user} IDENTIFIED BY 'another' ACCOUNT LOCK`);
        await killSessions(node, user);
      }
      return async () => {
        for (const node of nodes) {
          if (!node.running) await node.start();
          if (node.hung) node.resume();
          await unlogged(node, `ALTER USER ${user} IDENTIFIED BY '${password}' ACCOUNT UNLOCK`);
        }
      };
    },
  },
  {
    name: "disk-full",
    what: "no byte is left for the primary's binary log; mysqld waits and tries again each minute",
    weight: 0.5,
    roles: ["main"],
    lastsMs: [2_000, 3_000],
    expects: "keep",
    refusals: [],
    make: async ({ disks, primary }) => disks.fill(primary.name),
  },
  {
    name: "lock",
    what: "FLUSH TABLES WITH READ LOCK, LOCK INSTANCE FOR BACKUP, or a DDL behind an open transaction, on the primary",
    roles: ["main"],
    lastsMs: [2_000, 3_000],
    expects: "keep",
    refusals: [],
    make: async ({ primary }, [which]) => {
      const lock = pick(
        ["FLUSH TABLES WITH READ LOCK", "LOCK INSTANCE FOR BACKUP", "BEGIN; SELECT COUNT(*) FROM app.writes"],
        which,
      );
      const release = await primary.hold(lock);
      if (!lock.startsWith("BEGIN")) return release;
      const altered = primary.query("ALTER TABLE app.writes COMMENT='chaos'").catch(() => undefined);
      return async () => {
        await release();
        await altered;
      };
    },
  },
  {
    name: "semi-sync-off",
    what: "a person switches semi-sync off on the primary, under writes; Baton switches it on again",
    roles: ["main"],
    weight: 2,
    lastsMs: [2_000, 4_000],
    expects: "keep",
    refusals: [],
    make: async ({ primary }) => {
      await primary.query("SET GLOBAL rpl_semi_sync_source_enabled=OFF");
      // Nothing to heal: that it is on again in the end is asked of Baton.
      return async () => undefined;
    },
  },
];
