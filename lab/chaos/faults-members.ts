/** What happens to who belongs to the cluster and to what its servers hold: people with a declaration, empty and old disks, foreign GTIDs. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { LabNode } from "../lab-node.ts";
import { until } from "../until.ts";
import { revive } from "./faults-primary.ts";
import { pick } from "./random.ts";
import type { Fault, Scene } from "./scene.ts";

/** Baton leads home and reopens within seconds; the rest is for a busy machine. */
const patienceMs = 60_000;
/** An undeclared acker is told when it has stood for three seconds. */
const toldMs = 4_500;
const gtidEveryMs = 20;

/** Whether a node receives. */
async function receives(node: LabNode): Promise<boolean> {
  const [channel] = await node.query<{ Replica_IO_Running: string }>("SHOW REPLICA STATUS");
  return channel?.Replica_IO_Running === "Yes";
}

/** Waits until a node that came back receives again: it is Baton that starts its receiver. */
export function untilFollows(node: LabNode): Promise<unknown> {
  return until(() => receives(node), {
    timeoutMs: patienceMs,
    onTimeout: () => new Error(`${node.name} does not follow after ${patienceMs} ms`),
  });
}

/** Keeps what is on a stopped node's disks; returns the way back to it. */
export async function keepDisks(scene: Scene, node: LabNode): Promise<() => Promise<void>> {
  const back = [await node.keepData(), await scene.disks.keep(node.name, join(node.dir, "binlogs-kept"))];
  return async () => {
    for (const each of back) await each();
  };
}

/** Declares exactly these nodes, as a person would who tries again until it is taken. */
async function declare(scene: Scene, nodes: readonly LabNode[]): Promise<void> {
  let why: string | null = null;
  const taken = async () => {
    why = await scene.apply(nodes.map(({ name }) => name));
    return why === null;
  };
  await until(taken, {
    timeoutMs: patienceMs,
    everyMs: 500,
    onTimeout: () => new Error(`the nodes could not be declared again within ${patienceMs} ms: ${why}`),
  });
}

async function acceptsWrites(node: LabNode): Promise<boolean> {
  const [row] = await node.query<{ open: number }>("SELECT @@GLOBAL.read_only = 0 AS open");
  return row?.open === 1;
}

export const onMembers: readonly Fault[] = [
  {
    name: "undeclared-acker",
    what: "a person takes a replica out of the declaration and starts its receiver by hand; the others stall, so that it alone acknowledges; kill -9 of the primary",
    roles: ["main"],
    weight: 2,
    lastsMs: [2_500, 4_000],
    expects: "refuse",
    refusals: ["durability-unproven"],
    fits: ({ nodes, acks }) => nodes >= acks + 3,
    inWorld: ({ durability }) =>
      durability === "lossless"
        ? { expects: "refuse", refusals: ["durability-unproven"] }
        : {
            expects: "either",
            refusals: ["durability-unproven", "ackers-unreachable", "too-few-ackers-left"],
          },
    make: async (scene, [which]) => {
      const stranger = pick(scene.replicas, which);
      const others = scene.replicas.filter((node) => node !== stranger);
      const why = await scene.apply([scene.primary, ...others].map(({ name }) => name));
      if (why !== null) throw new Error(`${stranger.name} could not be taken out: ${why}`);
      await stranger.query("SET GLOBAL rpl_semi_sync_replica_enabled=ON; START REPLICA");
      await pause(toldMs);
      for (const node of others) node.hang();
      await pause(500);
      scene.primary.killNow();
      for (const node of others) node.resume();
      return async () => {
        await revive(scene.primary, ...others)();
        await declare(scene, scene.lab.nodes);
      };
    },
  },
  {
    name: "apply-in-operation",
    what: "a person orders a switchover and, within it, takes a replica out of the declaration: perhaps the very candidate",
    roles: ["main"],
    weight: 2,
    lastsMs: [2_500, 4_000],
    expects: "either",
    refusals: ["state-changed", "lock-lost", "too-few-ackers-left", "no-candidate", "node-lost"],
    fits: ({ nodes, acks }) => nodes >= acks + 2,
    make: async (scene, [which, when]) => {
      const out = pick(scene.replicas, which);
      const ordered = scene.switchover();
      await pause(600 * when);
      const applied = scene.apply(scene.lab.nodes.filter((node) => node !== out).map(({ name }) => name));
      await Promise.all([ordered, applied]);
      return () => declare(scene, scene.lab.nodes);
    },
  },
  {
    name: "emptied",
    what: "one replica is killed and comes back with an empty data directory, under its old server_id; rebuilt at the end, as a person orders",
    roles: ["main"],
    lastsMs: [2_500, 4_000],
    expects: "keep",
    refusals: [],
    make: async (scene, [which]) => {
      const node = pick(scene.replicas, which);
      await node.kill();
      await node.seed();
      await scene.disks.empty(node.name);
      await node.start();
      return () => scene.rebuild(node.name);
    },
  },
  {
    name: "drift-on-the-acker",
    what: "a replica with a transaction of its own acknowledges alone, since the others are dead; it restarts, the primary dies, the others return; rebuilt at the end, as a person orders",
    roles: ["main"],
    weight: 2,
    lastsMs: [3_000, 5_000],
    expects: "either",
    refusals: [
      "ackers-unreachable",
      "too-few-ackers-left",
      "acker-cannot-vouch",
      "durability-unproven",
      "not-clean",
      "no-candidate",
      "node-lost",
    ],
    fits: ({ acks }) => acks === 1,
    make: async (scene, [which, row]) => {
      const acker = pick(scene.replicas, which);
      const others = scene.replicas.filter((node) => node !== acker);
      const id = `drift-${row.toString(36).slice(2)}`;
      await acker.query(
        `SET GLOBAL super_read_only=OFF; INSERT INTO app.writes VALUES ('${id}','drift',0); SET GLOBAL super_read_only=ON`,
      );
      for (const node of others) node.killNow();
      await pause(1_000);
      await acker.kill();
      await acker.start();
      await pause(500);
      scene.primary.killNow();
      await revive(...others)();
      return async () => {
        await revive(scene.primary)();
        await scene.rebuild(acker.name);
      };
    },
  },
  {
    name: "tail-lost-on-the-primary",
    what: "all nodes are killed, twice; after the second time the primary comes first, with its disk as it was at the first time",
    roles: ["main"],
    weight: 2,
    lastsMs: [6_000, 8_000],
    expects: "either",
    refusals: [
      "ackers-unreachable",
      "too-few-ackers-left",
      "acker-cannot-vouch",
      "durability-unproven",
      "node-lost",
    ],
    make: async (scene) => {
      const { lab, primary, replicas } = scene;
      const killAll = () => Promise.all(lab.nodes.map((node) => node.kill()));
      await killAll();
      const back = await keepDisks(scene, primary);
      await Promise.all(lab.nodes.map((node) => node.start()));
      // Where another has been opened meanwhile, it is that one's tail that counts.
      await until(
        async () =>
          (await acceptsWrites(primary)) || (await Promise.all(replicas.map(acceptsWrites))).includes(true),
        { timeoutMs: patienceMs, onTimeout: () => new Error(`nobody accepts writes after ${patienceMs} ms`) },
      );
      await pause(1_500);
      await killAll();
      await back();
      await primary.start();
      await pause(1_500);
      return revive(...lab.nodes);
    },
  },
  {
    name: "foreign-gtids",
    what: "a person writes on the primary under a tag, and under the UUID of a server that nobody knows",
    roles: ["main", "side"],
    lastsMs: [1_500, 2_500],
    expects: "keep",
    refusals: [],
    make: async ({ primary }, [, row]) => {
      const person = await primary.attach();
      const uuid = randomUUID();
      let over = false;
      const writing = (async () => {
        for (let number = 1; !over; number++) {
          const id = `gtid-${row.toString(36).slice(2)}-${number}`;
          const next = number % 2 === 0 ? `${uuid}:${number}` : "AUTOMATIC:chaos";
          await person.query(
            `SET gtid_next='${next}'; INSERT INTO app.writes VALUES ('${id}','person',0); SET gtid_next='AUTOMATIC'`,
          );
          await pause(gtidEveryMs);
        }
      })();
      // It may be shut or die under another fault: then nobody writes any more.
      writing.catch(() => undefined);
      return async () => {
        over = true;
        // What it waits for may need the healing of another fault.
        await Promise.race([writing.catch(() => undefined), pause(1_000)]);
        person.end();
      };
    },
  },
];
