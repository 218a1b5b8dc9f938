/** What can happen to replicas, alone and together with the primary. */
import { setTimeout as pause } from "node:timers/promises";
import type { RefusalCode } from "@baton/contracts";
import type { LabNode } from "../lab-node.ts";
import { until } from "../until.ts";
import { keepDisks, untilFollows } from "./faults-members.ts";
import { killSessions, revive } from "./faults-primary.ts";
import { DESK } from "./network.ts";
import { pick } from "./random.ts";
import type { Expectation, Fault, Heal, Scene } from "./scene.ts";
import { survivesWithout, type World } from "./world.ts";

const one = (scene: Scene, drawn: number): LabNode => pick(scene.replicas, drawn);

/** The primary and one replica go at the same moment. */
export function pairGone(world: World): { expects: Expectation; refusals: readonly RefusalCode[] } {
  const { nodes, acks, durability } = world;
  if (durability !== "lossless")
    return { expects: "either", refusals: ["ackers-unreachable", "too-few-ackers-left"] };
  if (survivesWithout(world, 1)) return { expects: "failover", refusals: [] };
  const canFence = nodes - 2 >= nodes - acks;
  return { expects: "refuse", refusals: [canFence ? "too-few-ackers-left" : "ackers-unreachable"] };
}
/** Far more than Baton needs to shut a node that accepts writes and is not the primary. */
const shutTimeoutMs = 60_000;
/** What may keep a failover back while a replica is away, with two replicas and one ack. */
const ackerAway = [
  "ackers-unreachable",
  "too-few-ackers-left",
  "node-lost",
  "no-candidate",
  "catch-up-timeout",
] as const;

/**
 * Makes a replica writable and cuts it from the clients: one that looks for a writable node would write to it, and what is written with a
 * person's second pen nobody can keep. They reach it again when it has been shut.
 */
async function openForRoot(scene: Scene, node: LabNode): Promise<Heal> {
  const back = await scene.network.part([node.name], [DESK]);
  await node.query("SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF");
  return async () => {
    const isShut = async () => {
      const [row] = await node.query<{ shut: number }>("SELECT @@GLOBAL.super_read_only AS shut");
      return row?.shut === 1;
    };
    try {
      await until(isShut, {
        timeoutMs: shutTimeoutMs,
        onTimeout: () => new Error(`${node.name} is still writable after ${shutTimeoutMs} ms`),
      });
    } finally {
      await back();
    }
  };
}

export const onReplicas: readonly Fault[] = [
  {
    name: "replica-kill",
    what: "kill -9 of one replica",
    roles: ["main", "side"],
    lastsMs: [1_500, 3_000],
    expects: "keep",
    refusals: ackerAway,
    holdsUp: true,
    make: async (scene, [which]) => {
      const node = one(scene, which);
      node.killNow();
      return revive(node);
    },
  },
  {
    name: "replica-hang",
    what: "SIGSTOP of one replica",
    roles: ["main", "side"],
    lastsMs: [1_500, 3_500],
    expects: "keep",
    refusals: ackerAway,
    holdsUp: true,
    make: async (scene, [which]) => {
      const node = one(scene, which);
      node.hang();
      return revive(node);
    },
  },
  {
    name: "replicas-hang",
    what: "SIGSTOP of all replicas: no write is acknowledged",
    roles: ["main"],
    lastsMs: [1_500, 3_500],
    expects: "keep",
    refusals: ackerAway,
    make: async (scene) => {
      for (const node of scene.replicas) node.hang();
      return revive(...scene.replicas);
    },
  },
  {
    name: "replica-stop",
    what: "a person stops one replica's receiver and starts it again",
    roles: ["main", "side"],
    lastsMs: [1_500, 3_000],
    expects: "keep",
    refusals: ackerAway,
    make: async (scene, [which]) => {
      const node = one(scene, which);
      await node.query("STOP REPLICA IO_THREAD");
      return async () => {
        await revive(node)();
        const [channel] = await node.query("SHOW REPLICA STATUS");
        if (channel) await node.query("START REPLICA IO_THREAD");
      };
    },
  },
  {
    name: "replica-lag",
    what: "FLUSH TABLES WITH READ LOCK on one replica: it receives, acknowledges and applies nothing",
    roles: ["main", "side"],
    lastsMs: [1_500, 3_500],
    expects: "keep",
    refusals: ackerAway,
    holdsUp: true,
    make: async (scene, [which]) => one(scene, which).hold("FLUSH TABLES WITH READ LOCK"),
  },
  {
    name: "relay-log-lost",
    what: "one replica is killed with relay logs that it has not applied, and boots without them (relay_log_recovery=ON)",
    weight: 2,
    roles: ["main", "side"],
    lastsMs: [2_000, 3_500],
    expects: "keep",
    refusals: [...ackerAway, "acker-cannot-vouch"],
    holdsUp: true,
    make: async (scene, [which]) => {
      const node = one(scene, which);
      await node.hold("FLUSH TABLES WITH READ LOCK");
      await pause(500);
      await node.kill();
      const before = node.bootWith([]);
      node.bootWith([...before, "--relay-log-recovery=ON"]);
      const started = node.start();
      started.catch(() => undefined);
      return async () => {
        await started;
        node.bootWith(before);
        // Back to the safe boot configuration, for the rounds to come.
        await node.kill();
        await node.start();
      };
    },
  },
  {
    name: "dumps-killed",
    what: "the threads that send to the replicas are killed on the primary, three times, under commits that wait for their acks",
    roles: ["main"],
    lastsMs: [1_500, 2_500],
    expects: "keep",
    refusals: [],
    make: async (scene) => {
      for (let time = 0; time < 3; time++) await killSessions(scene.primary, scene.lab.accounts.repl.user);
      return async () => undefined;
    },
  },
  {
    name: "kill-lagging",
    what: "kill -9 of the primary while no replica has applied what it acknowledged; for another second they apply nothing",
    roles: ["main"],
    weight: 3,
    lastsMs: [2_000, 4_000],
    expects: "failover",
    refusals: ["catch-up-timeout"],
    make: async ({ primary, replicas }) => {
      const locks = await Promise.all(replicas.map((node) => node.hold("LOCK TABLES app.writes READ")));
      await pause(500);
      primary.killNow();
      const released = pause(1_000).then(() => Promise.all(locks.map((release) => release())));
      return async () => {
        await released;
        await revive(primary)();
      };
    },
  },
  {
    name: "pair-kill",
    what: "kill -9 of the primary and one replica together",
    weight: 2,
    roles: ["main"],
    lastsMs: [2_500, 4_000],
    expects: "refuse",
    refusals: ["ackers-unreachable"],
    inWorld: pairGone,
    make: async (scene, [which]) => {
      const nodes = [scene.primary, one(scene, which)];
      for (const node of nodes) node.killNow();
      return revive(...nodes);
    },
  },
  {
    name: "power-cut",
    what: "kill -9 of all nodes, which start again one after the other",
    weight: 2,
    roles: ["main"],
    lastsMs: [1_500, 3_000],
    expects: "either",
    refusals: [...ackerAway, "durability-unproven", "acker-cannot-vouch"],
    make: async ({ lab }, [first]) => {
      for (const node of lab.nodes) node.killNow();
      const turn = Math.floor(first * lab.nodes.length);
      return async () => {
        for (const [at] of lab.nodes.entries()) {
          const node = lab.nodes[(at + turn) % lab.nodes.length] as LabNode;
          if (!node.running) await node.start();
        }
      };
    },
  },
  {
    name: "errant",
    what: "somebody writes on a replica, which has a transaction more than the cluster then; rebuilt at the end, as a person orders",
    roles: ["main"],
    lastsMs: [1_000, 2_000],
    expects: "keep",
    refusals: ["not-clean"],
    make: async (scene, [which, row]) => {
      const node = one(scene, which);
      const id = `errant-${row.toString(36).slice(2)}`;
      await node.query(
        `SET GLOBAL super_read_only=OFF; INSERT INTO app.writes VALUES ('${id}','errant',0); SET GLOBAL super_read_only=ON`,
      );
      return () => scene.rebuild(node.name);
    },
  },
  {
    name: "two-pens",
    what: "a person makes a replica writable and writes other rows there than the clients do on the primary",
    roles: ["main"],
    weight: 2,
    lastsMs: [1_500, 2_500],
    expects: "keep",
    refusals: ["not-clean"],
    make: async (scene, [which, row]) => {
      const node = one(scene, which);
      const back = await openForRoot(scene, node);
      const id = `pen-${row.toString(36).slice(2)}`;
      for (let number = 0; number < 5; number++) {
        // Baton may be quicker: then it is shut already.
        await node.query(`INSERT INTO app.writes VALUES ('${id}-${number}','pen',0)`).catch(() => undefined);
      }
      return back;
    },
  },
  {
    name: "replica-writable",
    what: "a person makes a replica writable; nobody writes there",
    roles: ["main"],
    lastsMs: [1_500, 2_500],
    expects: "keep",
    refusals: [],
    make: async (scene, [which]) => {
      return openForRoot(scene, one(scene, which));
    },
  },
  {
    name: "replica-dead-then-kill",
    what: "kill -9 of one replica and, when it has been dead for five to seven seconds, of the primary: the dead replica is parked by then",
    roles: ["main"],
    weight: 2,
    lastsMs: [7_500, 9_000],
    expects: "failover",
    refusals: [],
    fits: ({ nodes }) => nodes >= 4,
    inWorld: ({ nodes, acks, durability }) => {
      if (durability !== "lossless") return { expects: "either", refusals: ["too-few-ackers-left"] };
      // The parked one counts no more: one of the others is opened, and k must be left.
      return nodes - 2 >= acks + 1
        ? { expects: "failover", refusals: [] }
        : { expects: "refuse", refusals: ["too-few-ackers-left"] };
    },
    make: async (scene, [which, when]) => {
      const node = one(scene, which);
      node.killNow();
      await pause(5_000 + 2_000 * when);
      scene.primary.killNow();
      return revive(node, scene.primary);
    },
  },
  {
    name: "candidate-locked",
    what: "FLUSH TABLES WITH READ LOCK or LOCK INSTANCE FOR BACKUP on every replica but one, then kill -9 of the primary",
    roles: ["main"],
    weight: 2,
    lastsMs: [2_500, 4_000],
    expects: "either",
    refusals: ["catch-up-timeout", "too-few-ackers-left", "no-candidate"],
    make: async ({ primary, replicas }, [free, which]) => {
      const candidate = pick(replicas, free);
      const lock = pick(["FLUSH TABLES WITH READ LOCK", "LOCK INSTANCE FOR BACKUP"], which);
      const locked = replicas.filter((node) => node !== candidate);
      const locks = await Promise.all(locked.map((node) => node.hold(lock)));
      primary.killNow();
      return async () => {
        for (const release of locks) await release();
        await revive(primary)();
      };
    },
  },
  {
    name: "tail-lost",
    what: "one replica is killed, and killed again a second after it follows again; then it comes with its disk as it was at the first time",
    roles: ["main"],
    weight: 2,
    lastsMs: [4_000, 6_000],
    expects: "keep",
    refusals: [...ackerAway, "acker-cannot-vouch"],
    make: async (scene, [which]) => {
      const node = one(scene, which);
      await node.kill();
      const back = await keepDisks(scene, node);
      await node.start();
      await untilFollows(node);
      await pause(1_000);
      await node.kill();
      await back();
      await node.start();
      return revive(node);
    },
  },
];
