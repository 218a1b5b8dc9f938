/** What no single value shows: nodes that are the same server, clusters without a replica. Pure. */
import { BatonError, type Config } from "@baton/contracts";
import type { Path } from "./config-file.ts";

/** Throws BatonError E_CONFIG_NO_REPLICA, E_CONFIG_DUPLICATE_NODE, E_CONFIG_SHARED_NODE, E_CONFIG_INVALID. */
export function checkConfig(config: Config, place: (path: Path) => string): void {
  const seen = new Map<string, { cluster: string; node: string }>();
  for (const [cluster, { nodes, policy }] of Object.entries(config.clusters)) {
    const count = Object.keys(nodes).length;
    if (count < 2) {
      throw new BatonError("E_CONFIG_NO_REPLICA", {
        place: place(["clusters", cluster, "nodes"]),
        message: `${cluster} has ${count === 0 ? "no node" : "one node"}: there is nobody to pass the role to.`,
        remedy: "List the primary and at least one replica.",
      });
    }
    if (policy.acks > count - 1) {
      throw new BatonError("E_CONFIG_INVALID", {
        place: place(["clusters", cluster, "policy", "acks"]),
        message: `each write waits for ${policy.acks} acks, and ${cluster} has ${count - 1} replicas.`,
        remedy: `Write ${count - 1} or less.`,
      });
    }
    for (const [node, { host, port }] of Object.entries(nodes)) {
      const server = `${sameHost(host)}:${port}`;
      const before = seen.get(server);
      seen.set(server, { cluster, node });
      if (!before) continue;
      const shared = before.cluster !== cluster;
      throw new BatonError(shared ? "E_CONFIG_SHARED_NODE" : "E_CONFIG_DUPLICATE_NODE", {
        place: place(["clusters", cluster, "nodes", node]),
        message: `${host}:${port} is also ${shared ? `in the cluster ${before.cluster}, as ` : ""}the node ${before.node}.`,
        remedy: shared
          ? "A server belongs to one cluster: take it out of one of them."
          : "List each server once.",
      });
    }
  }
  const names = config.notifier.channels.map((c) => c.name);
  const twice = names.findIndex((name, i) => names.indexOf(name) !== i);
  if (twice >= 0) {
    throw new BatonError("E_CONFIG_INVALID", {
      place: place(["notifier", "channels", twice]),
      message: `two channels are called ${names[twice]}.`,
      remedy: "Give each channel a name of its own.",
    });
  }
}

function sameHost(host: string): string {
  const plain = host.toLowerCase().replace(/\.$/, "");
  return ["localhost", "::1", "[::1]"].includes(plain) ? "127.0.0.1" : plain;
}
