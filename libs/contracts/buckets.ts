/** The KV buckets: key, value, who writes. History is always 1: more brings expired values back (FEASIBILITY.md §3). */
import { DeclaredCluster } from "./cluster.ts";
import { Brake, ClusterState, LockHolder, Mark, Planned, Presence, Salvage, Vouch } from "./state.ts";

/** A lease outlives the 4–7 s that JetStream stalls when a stream's leader is killed (FEASIBILITY.md §3). */
export const LOCK_TTL_S = 15;
export const PRESENCE_TTL_S = 15;

/** The key of the brake for all clusters. No cluster's name begins with an underscore. */
export const ALL_CLUSTERS = "_all";

export const BUCKETS = {
  baton_clusters: { schema: DeclaredCluster, key: "<cluster>", ttlS: null, writer: "CLI" },
  baton_state: { schema: ClusterState, key: "<cluster>", ttlS: null, writer: "executor" },
  baton_locks: { schema: LockHolder, key: "<cluster>", ttlS: LOCK_TTL_S, writer: "decider, executor" },
  baton_salvage: { schema: Salvage, key: "<cluster>.<operation>.<part>", ttlS: null, writer: "executor" },
  baton_vouch: { schema: Vouch, key: "<cluster>.<node>", ttlS: null, writer: "decider" },
  baton_marks: { schema: Mark, key: "<cluster>", ttlS: null, writer: "decider" },
  baton_brakes: { schema: Brake, key: "<cluster> | _all", ttlS: null, writer: "decider" },
  baton_plans: { schema: Planned, key: "<cluster>", ttlS: null, writer: "decider" },
  baton_presence: {
    schema: Presence,
    key: "<service>.<instance>",
    ttlS: PRESENCE_TTL_S,
    writer: "every service",
  },
} as const;
export type BucketName = keyof typeof BUCKETS;
