/** `baton.yaml`: one file that every service and the CLI read; each takes what concerns it. */
import { z } from "zod";
import { Cluster } from "./cluster.ts";
import { Severity } from "./codes.ts";
import { Ms, Name } from "./names.ts";

const Account = z.strictObject({ user: z.string().min(1), password: z.string() });
const Port = z.number().int().min(0).max(65535);

export const MysqlAccess = z.strictObject({
  user: z.string().min(1).default("baton"),
  password: z.string().default(""),
  replication: Account.extend({
    password: z.string().max(32, "must have at most 32 characters: MySQL refuses longer ones (error 3056)"),
  })
    .optional()
    .describe("what a replica is given to follow a primary"),
  tls: z
    .strictObject({ ca: z.string().optional(), cert: z.string().optional(), key: z.string().optional() })
    .optional()
    .describe("PEM texts or ${file:…}; when set, connections without TLS are not made"),
});
export type MysqlAccess = z.infer<typeof MysqlAccess>;

export const Channel = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("log"),
    name: Name.default("log"),
    minSeverity: Severity.default("info"),
  }),
  z.strictObject({
    type: z.literal("webhook"),
    name: Name.default("webhook"),
    url: z.url(),
    secret: z
      .string()
      .min(16, "must have at least 16 characters")
      .describe("signs each body with HMAC-SHA256"),
    minSeverity: Severity.default("info"),
    timeoutMs: Ms.default(5_000),
  }),
]);
export type Channel = z.infer<typeof Channel>;

const Ports = z.strictObject({
  prober: Port.default(9471),
  decider: Port.default(9472),
  executor: Port.default(9473),
  notifier: Port.default(9474),
  auditor: Port.default(9475),
});
const GrpcPorts = z.strictObject({
  prober: Port.default(9481),
  decider: Port.default(9482),
  executor: Port.default(9483),
  notifier: Port.default(9484),
  auditor: Port.default(9485),
});

export const Config = z.strictObject({
  region: Name.default("local").describe("where this instance runs"),
  nats: z
    .strictObject({
      url: z
        .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
        .optional()
        .describe("without one, `baton up` runs a nats-server of its own"),
      monitor: z
        .union([z.url({ protocol: /^https?$/ }), z.array(z.url({ protocol: /^https?$/ })).min(1)])
        .optional()
        .describe(
          "monitoring endpoints of its servers, where `baton check` asks how JetStream writes; else port 8222 of each",
        ),
      user: z.string().optional(),
      password: z.string().optional(),
      token: z.string().optional(),
      port: Port.default(4222).describe("of the embedded server; 0: any free one"),
      store: z.string().default("data/nats").describe("folder of the embedded server"),
      replicas: z.union([z.literal(1), z.literal(3), z.literal(5)]).default(1),
    })
    .prefault({}),
  mysql: MysqlAccess.prefault({}),
  clusters: z
    .record(Name, Cluster.extend({ mysql: MysqlAccess.optional().describe("instead of the common one") }))
    .default({}),
  prober: z
    .strictObject({
      calmMs: Ms.min(50).default(1_000).describe("between two looks at a node while all is well"),
      suspectMs: Ms.min(20).default(100).describe("between two looks while anything is suspect"),
      floorMs: Ms.min(50).default(300).describe("a shorter silence never counts"),
      connectTimeoutMs: Ms.min(50).default(1_000),
    })
    .prefault({}),
  decider: z
    .strictObject({
      heartbeatSilentMs: Ms.min(100)
        .default(500)
        .describe("a receiver that has heard nothing for so long no longer hears its source"),
      freshMs: Ms.min(500).default(3_000).describe("a prober without a sample for so long has no vote"),
      retryMs: Ms.default(5_000).describe("after a refused or rolled-back operation, before the next try"),
    })
    .prefault({}),
  notifier: z
    .strictObject({ channels: z.array(Channel).default([{ type: "log", name: "log", minSeverity: "info" }]) })
    .prefault({}),
  auditor: z.strictObject({ file: z.string().min(1).default("data/audit.sqlite") }).prefault({}),
  http: z.strictObject({ host: z.string().default("127.0.0.1"), ports: Ports.prefault({}) }).prefault({}),
  grpc: z.strictObject({ host: z.string().default("127.0.0.1"), ports: GrpcPorts.prefault({}) }).prefault({}),
  log: z
    .strictObject({ level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info") })
    .prefault({}),
});
export type Config = z.infer<typeof Config>;
