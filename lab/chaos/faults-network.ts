/** Cuts of several shapes, and bad lines. */
import { pairGone } from "./faults-replicas.ts";
import { DESK } from "./network.ts";
import { pick } from "./random.ts";
import type { Fault, Scene } from "./scene.ts";

const everybodyBut = (scene: Scene, ...hosts: readonly string[]) =>
  [...scene.network.hosts].filter((host) => !hosts.includes(host));

export const onNetwork: readonly Fault[] = [
  {
    name: "host-cut",
    what: "the primary's host is cut from everybody; it goes on living",
    weight: 3,
    roles: ["main"],
    lastsMs: [3_000, 5_000],
    expects: "failover",
    refusals: [],
    make: (scene) => scene.network.part([scene.primary.name], everybodyBut(scene, scene.primary.name)),
  },
  {
    name: "host-mute",
    what: "one direction only: nothing that the primary sends arrives",
    weight: 2,
    roles: ["main"],
    lastsMs: [3_000, 5_000],
    expects: "failover",
    refusals: [],
    make: (scene) => scene.network.cut([scene.primary.name], everybodyBut(scene, scene.primary.name)),
  },
  {
    name: "host-deaf",
    what: "the other direction only: nothing that is sent to the primary arrives",
    weight: 2,
    roles: ["main"],
    lastsMs: [3_000, 5_000],
    expects: "failover",
    refusals: [],
    make: (scene) => scene.network.cut(everybodyBut(scene, scene.primary.name), [scene.primary.name]),
  },
  {
    name: "probers-cut",
    what: "the primary is cut from all of Baton; its replicas and its clients reach it",
    roles: ["main"],
    lastsMs: [2_500, 4_000],
    expects: "keep",
    refusals: [],
    make: (scene) => scene.network.part([scene.primary.name], scene.sites),
  },
  {
    name: "probers-mute",
    what: "one direction only: nothing that the primary sends to Baton arrives",
    roles: ["main"],
    lastsMs: [2_500, 4_000],
    expects: "keep",
    refusals: [],
    make: (scene) => scene.network.cut([scene.primary.name], scene.sites),
  },
  {
    name: "probers-deaf",
    what: "the other direction only: nothing that Baton sends to the primary arrives",
    roles: ["main"],
    lastsMs: [2_500, 4_000],
    expects: "keep",
    refusals: [],
    make: (scene) => scene.network.cut(scene.sites, [scene.primary.name]),
  },
  {
    name: "replicas-cut",
    what: "the primary is cut from its replicas; Baton and the clients reach it",
    weight: 2,
    roles: ["main"],
    lastsMs: [2_500, 6_000],
    expects: "keep",
    refusals: [],
    make: (scene) =>
      scene.network.part(
        [scene.primary.name],
        scene.replicas.map((node) => node.name),
      ),
  },
  {
    name: "replica-cut",
    what: "one replica is cut from everybody",
    roles: ["main", "side"],
    lastsMs: [2_000, 4_000],
    expects: "keep",
    refusals: ["ackers-unreachable", "too-few-ackers-left", "node-lost", "catch-up-timeout"],
    holdsUp: true,
    make: (scene, [which]) => {
      const name = pick(scene.replicas, which).name;
      return scene.network.part([name], everybodyBut(scene, name));
    },
  },
  {
    name: "pair-cut",
    what: "the primary and one replica together are cut from the rest: they could go on alone",
    weight: 2,
    roles: ["main"],
    lastsMs: [3_000, 5_000],
    expects: "refuse",
    refusals: ["ackers-unreachable"],
    inWorld: pairGone,
    make: (scene, [which]) => {
      const pair = [scene.primary.name, pick(scene.replicas, which).name];
      return scene.network.part(pair, everybodyBut(scene, ...pair));
    },
  },
  {
    name: "minority",
    what: "the primary, one site and one NATS server are on the small side of a partition",
    weight: 3,
    roles: ["main"],
    lastsMs: [4_000, 7_000],
    expects: "either",
    refusals: ["node-lost"],
    make: (scene, [site, nats]) => {
      const { sites, lab } = scene;
      const small = [
        scene.primary.name,
        sites[Math.floor(site * sites.length)] as string,
        lab.nats.servers[Math.floor(nats * lab.nats.servers.length)]?.name as string,
      ];
      return scene.network.part(small, everybodyBut(scene, ...small));
    },
  },
  {
    name: "site-cut",
    what: "one site of Baton (a prober, a decider, an executor) is cut from everybody",
    roles: ["main", "side"],
    lastsMs: [2_000, 5_000],
    expects: "keep",
    refusals: [],
    holdsUp: true,
    make: (scene, [which]) => {
      const site = scene.sites[Math.floor(which * scene.sites.length)] as string;
      return scene.network.part([site], everybodyBut(scene, site));
    },
  },
  {
    name: "loss",
    what: "each eighth packet from and to the primary is lost",
    roles: ["main"],
    lastsMs: [2_500, 4_000],
    expects: "either",
    refusals: ["node-lost", "ackers-unreachable"],
    make: (scene) => scene.network.lossy(scene.primary.name),
  },
  {
    name: "slow-line",
    what: "the primary's line is narrow: packets wait in a queue, and some find no room",
    roles: ["main", "side"],
    lastsMs: [2_500, 4_000],
    expects: "either",
    refusals: ["node-lost", "ackers-unreachable"],
    make: (scene) => scene.network.slow(scene.primary.name),
  },
  {
    name: "client-cut",
    what: "the primary is cut from its clients alone",
    roles: ["main"],
    lastsMs: [2_000, 3_000],
    expects: "keep",
    refusals: [],
    make: (scene) => scene.network.part([scene.primary.name], [DESK]),
  },
];
