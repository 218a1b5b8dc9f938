// docker-compose.yml, the Dockerfile and deploy/ against each other and against the repository: what one names, another
// must have. That the whole system runs from them is tried by hand (docs/operate/compose.md).

import { execFileSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "@baton/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";

const repository = join(import.meta.dirname, "..");
const read = (path: string) => readFileSync(join(repository, path), "utf8");

interface Reference {
  source: string;
}

interface Service {
  image: string;
  build?: string;
  command?: string[];
  entrypoint?: string[];
  environment?: Record<string, string>;
  configs?: Reference[];
  secrets?: string[];
  volumes?: string[];
  ports?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test?: string[]; disable?: boolean };
  restart?: string;
  init?: boolean;
  read_only?: boolean;
  cap_drop?: string[];
  security_opt?: string[];
}

const compose = parse(read("docker-compose.yml"), { merge: true, maxAliasCount: 1000 }) as {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
  configs: Record<string, { file: string }>;
  secrets: Record<string, { file: string }>;
};
const services = Object.entries(compose.services);
const dockerfile = read("Dockerfile")
  .replace(/^\s*#.*\n/gm, "")
  .replace(/\\\n/g, " ");
const lastStage = dockerfile.slice(dockerfile.lastIndexOf("\nFROM "));

/** Instances of one of Baton's five services: those that run its main.ts. */
function instances(service: string): Service[] {
  return services.map(([, s]) => s).filter((s) => s.command?.[0] === `services/${service}/main.ts`);
}

let secrets: string;

beforeAll(() => {
  secrets = mkdtempSync(join(tmpdir(), "baton-compose-secrets-"));
  execFileSync(join(repository, "deploy/compose/secrets.sh"), [secrets], { timeout: 10_000 });
});

afterAll(() => rmSync(secrets, { recursive: true, force: true }));

describe("docker-compose.yml", () => {
  it("runs what the design asks for, each instance under a name of its own", () => {
    const counts = Object.fromEntries(
      ["prober", "decider", "executor", "notifier", "auditor"].map((name) => [name, instances(name).length]),
    );
    expect(counts).toEqual({ prober: 2, decider: 2, executor: 2, notifier: 1, auditor: 1 });
    const names = services.flatMap(([, s]) => {
      const at = s.command?.indexOf("--instance") ?? -1;
      return at < 0 ? [] : [s.command?.[at + 1]];
    });
    expect(names).toHaveLength(8);
    expect(new Set(names).size).toBe(8);
    expect(services.filter(([, s]) => s.command?.[0] === "nats-server")).toHaveLength(3);
    const servers = services.flatMap(([, s]) => (s.command?.[0] === "mysqld" ? [s.command] : []));
    expect(new Set(servers.map((command) => command.find((a) => a.startsWith("--server-id="))))).toEqual(
      new Set(["--server-id=1", "--server-id=2", "--server-id=3"]),
    );
  });

  it("puts the probers, deciders and executors in two regions each", () => {
    for (const name of ["prober", "decider", "executor"]) {
      const regions = instances(name).map((s) => s.environment?.BATON_REGION);
      expect(new Set(regions), name).toEqual(new Set(["east", "west"]));
    }
  });

  it("names only programs, configs, secrets and volumes that exist", () => {
    const made = readdirSync(secrets);
    for (const [name, s] of services) {
      const program = s.command?.[0] ?? "";
      if (program.endsWith(".ts"))
        expect(existsSync(join(repository, program)), `${name} ${program}`).toBe(true);
      for (const { source } of s.configs ?? []) expect(compose.configs, name).toHaveProperty([source]);
      for (const secret of s.secrets ?? []) expect(compose.secrets, name).toHaveProperty([secret]);
      for (const volume of s.volumes ?? []) {
        expect(compose.volumes, name).toHaveProperty([volume.split(":")[0] ?? ""]);
      }
    }
    for (const { file } of Object.values(compose.configs))
      expect(existsSync(join(repository, file)), file).toBe(true);
    for (const [name, { file }] of Object.entries(compose.secrets)) {
      expect(file).toBe(`deploy/compose/secrets/${name}`);
      expect(made, "what secrets.sh makes").toContain(name);
    }
  });

  it("waits only for services that can say that they are healthy, or that end", () => {
    for (const [name, s] of services) {
      for (const [other, { condition }] of Object.entries(s.depends_on ?? {})) {
        const target = compose.services[other];
        expect(target, `${name} waits for ${other}`).toBeDefined();
        if (condition === "service_healthy") {
          expect(target?.healthcheck?.test, `${name} waits for the health of ${other}`).toBeDefined();
        } else {
          expect(condition).toBe("service_completed_successfully");
          expect(target?.restart, `${other} ends`).toMatch(/^(no|on-failure)/);
        }
      }
    }
  });

  it("checks the health of everything that stays, and starts it again", () => {
    for (const [name, s] of services) {
      if (s.healthcheck?.disable) continue;
      expect(s.healthcheck?.test?.length, name).toBeGreaterThan(1);
      expect(s.restart, name).toBe("unless-stopped");
    }
  });

  it("lets no service wait for MySQL: it must start while the primary is dead", () => {
    for (const name of ["prober", "decider", "executor", "notifier", "auditor"]) {
      for (const s of instances(name)) {
        const waitsFor = Object.keys(s.depends_on ?? {});
        expect(waitsFor.filter((other) => !other.startsWith("nats-"))).toEqual([]);
      }
    }
  });

  it("runs Baton read-only, without privileges, under an init that passes signals on", () => {
    for (const [name, s] of services) {
      if (!s.image.includes("baton:")) continue;
      expect(s, name).toMatchObject({ init: true, read_only: true, cap_drop: ["ALL"] });
      expect(s.security_opt, name).toContain("no-new-privileges:true");
    }
  });

  it("publishes NATS and MySQL on the loopback and nothing else", () => {
    const ports = services.flatMap(([, s]) => s.ports ?? []);
    expect(ports.map((port) => port.split(":").at(-1)).sort()).toEqual(["3306", "3306", "3306", "4222"]);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  it("gives a service the secrets that its configuration reads", () => {
    const wanted = [
      ...read("deploy/compose/baton.yaml").matchAll(/^[^#]*\$\{file:\/run\/secrets\/([^}]+)}/gm),
    ];
    expect(wanted.length).toBeGreaterThan(0);
    for (const [name, s] of services) {
      if (!s.image.includes("baton:")) continue;
      for (const [, secret] of wanted) expect(s.secrets, name).toContain(secret);
    }
  });
});

describe("the image", () => {
  it("is not root's", () => {
    const users = [...lastStage.matchAll(/^USER (\S+)/gm)].map((m) => m[1]);
    expect(users).not.toEqual([]);
    expect(users.at(-1)).toMatch(/^[1-9]\d*(:|$)/);
    expect(lastStage).toMatch(/^HEALTHCHECK /m);
  });

  it("installs every workspace but the tests, with the Node that package.json asks for", () => {
    const root = JSON.parse(read("package.json")) as { workspaces: string[]; engines: { node: string } };
    const manifests = globSync(
      root.workspaces.map((workspace) => `${workspace}/package.json`),
      { cwd: repository },
    ).filter((file) => !file.startsWith("test/"));
    const copied = [...dockerfile.matchAll(/^COPY (\S+\/package\.json) (\S+)$/gm)].map((m) => {
      expect(m[1]).toBe(`${m[2]}package.json`);
      return m[1];
    });
    expect(copied.sort()).toEqual(manifests.sort());
    const asked = Number(/\d+/.exec(root.engines.node)?.[0]);
    for (const [, major] of dockerfile.matchAll(/^FROM node:(\d+)/gm)) {
      expect(Number(major)).toBeGreaterThanOrEqual(asked);
    }
  });

  it("is given everything that it copies", () => {
    const allowed = read(".dockerignore")
      .split("\n")
      .flatMap((line) => (line.startsWith("!") ? [line.slice(1)] : []));
    const copies = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(
      (m) => m[1]?.split(" ") ?? [],
    );
    for (const path of copies) {
      expect(existsSync(join(repository, path)), path).toBe(true);
      expect(allowed).toContain(path.split("/")[0]);
    }
  });
});

describe("deploy/compose/baton.yaml", () => {
  it("is a configuration that the services take, about the servers of the compose file", () => {
    const file = join(secrets, "baton.yaml");
    writeFileSync(file, read("deploy/compose/baton.yaml").replaceAll("/run/secrets/", `${secrets}/`));
    const { config } = loadConfig({ file, env: {} });
    const password = (name: string) => readFileSync(join(secrets, name), "utf8");
    expect(config.mysql.password).toBe(password("mysql-baton-password"));
    expect(config.mysql.replication?.password).toBe(password("mysql-replication-password"));
    // CHANGE REPLICATION SOURCE takes no longer one (error 3056).
    expect(config.mysql.replication?.password.length).toBeLessThanOrEqual(32);
    expect(password("nats-users.conf")).toContain(`password: "${config.nats.password}"`);

    const servers = [config.nats.url ?? []].flat().map((url) => new URL(url).hostname);
    const named = (program: string) =>
      services.flatMap(([name, s]) => (s.command?.[0] === program ? [name] : [])).sort();
    expect(servers.sort()).toEqual(named("nats-server"));
    expect(config.nats.replicas).toBe(servers.length);
    const nodes = Object.values(config.clusters.shop?.nodes ?? {});
    expect(nodes.map((node) => node.host).sort()).toEqual(named("mysqld"));
    expect(new Set(nodes.map((node) => node.region)).size).toBeGreaterThan(1);
    expect(config.http.host).toBe("0.0.0.0");
    expect(config.auditor.file).toMatch(/^\/var\/lib\/baton\//);
  });

  it("keeps the secrets that exist when they are made again", () => {
    const before = readFileSync(join(secrets, "nats-users.conf"), "utf8");
    execFileSync(join(repository, "deploy/compose/secrets.sh"), [secrets], { timeout: 10_000 });
    expect(readFileSync(join(secrets, "nats-users.conf"), "utf8")).toBe(before);
  });
});

describe("deploy/mysql/my.cnf", () => {
  /** Section [mysqld] as name → values; `-` and `_` are the same to mysqld, `loose_` is no part of the name. */
  const settings = new Map<string, string[]>();
  for (const line of read("deploy/mysql/my.cnf").split("\n")) {
    const setting = /^([a-z][\w-]*)\s*=\s*(\S+)$/.exec(line);
    if (!setting) continue;
    const name = (setting[1] ?? "").replaceAll("-", "_").replace(/^loose_/, "");
    settings.set(name, [...(settings.get(name) ?? []), setting[2] ?? ""]);
  }

  // SAFETY.md, Durability modes.
  it.each([
    ["gtid_mode", ["ON"]],
    ["enforce_gtid_consistency", ["ON"]],
    ["log_replica_updates", ["ON"]],
    ["read_only", ["ON"]],
    ["super_read_only", ["ON"]],
    ["skip_replica_start", ["ON"]],
    ["relay_log_recovery", ["OFF"]],
    ["sync_relay_log", ["1"]],
    ["sync_binlog", ["1"]],
    ["innodb_flush_log_at_trx_commit", ["1"]],
    ["plugin_load_add", ["semisync_source.so", "semisync_replica.so", "mysql_clone.so"]],
    ["rpl_semi_sync_source_enabled", ["OFF"]],
    ["rpl_semi_sync_replica_enabled", ["OFF"]],
    ["rpl_semi_sync_source_wait_point", ["AFTER_SYNC"]],
    ["rpl_semi_sync_source_timeout", ["4294967295"]],
    ["rpl_semi_sync_source_wait_no_replica", ["ON"]],
    ["rpl_semi_sync_source_wait_for_replica_count", ["1"]],
    ["replica_net_timeout", ["4"]],
  ])("boots lossless: %s = %j", (name, wanted) => {
    expect(settings.get(name)).toEqual(wanted);
  });

  it("is every MySQL node's", () => {
    for (const [name, s] of services) {
      if (s.command?.[0] !== "mysqld") continue;
      expect(s.configs, name).toContainEqual({ source: "my-cnf", target: "/etc/mysql/conf.d/baton.cnf" });
    }
    expect(compose.configs["my-cnf"]?.file).toBe("deploy/mysql/my.cnf");
  });
});

describe("the nodes' first start", () => {
  it("puts in every password that the grants leave open", () => {
    const open = [...read("deploy/mysql/grants.sql").matchAll(/BY '([^']+)'/g)].map((m) => m[1]);
    expect(open).toEqual(["BATON-PASSWORD", "REPLICATION-PASSWORD"]);
    for (const placeholder of open)
      expect(read("deploy/compose/mysql/boot.sh")).toContain(`s/${placeholder}/`);
  });

  it.each(globSync("deploy/**/*.sh", { cwd: repository }))("%s is a script that a shell can read", (file) => {
    const shell = read(file).startsWith("#!/bin/sh") ? "sh" : "bash";
    execFileSync(shell, ["-n", join(repository, file)], { timeout: 10_000 });
  });
});
