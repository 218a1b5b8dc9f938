// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the references are what is tested
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BatonError } from "@baton/contracts";
import { afterAll, describe, expect, test } from "vitest";
import { loadConfig } from "./config.ts";

const folder = mkdtempSync(join(tmpdir(), "baton-config-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function load(yaml: string, env: NodeJS.ProcessEnv = {}) {
  const file = join(folder, "baton.yaml");
  writeFileSync(file, yaml);
  return loadConfig({ file, env }).config;
}

function refusal(yaml: string, env: NodeJS.ProcessEnv = {}): BatonError {
  try {
    load(yaml, env);
  } catch (error) {
    if (error instanceof BatonError) return error;
    throw error;
  }
  throw new Error("the configuration was accepted");
}

const good = `
nats: { url: "nats://127.0.0.1:4222" }
mysql: { user: baton, password: "\${file:secret}" }
clusters:
  shop:
    nodes:
      n1: { host: db1, port: 3306 }
      n2: { host: db2 }
`;

describe("what is accepted", () => {
  test("values, defaults, a secret from a file beside it, and file names from its folder", () => {
    writeFileSync(join(folder, "secret"), "s3cret\n");
    const config = load(good);
    expect(config.mysql.password).toBe("s3cret");
    expect(config.clusters.shop?.nodes.n2).toEqual({
      host: "db2",
      port: 3306,
      region: "local",
      promotion: "neutral",
    });
    expect(config.auditor.file).toBe(join(folder, "data/audit.sqlite"));
    expect(config.prober.calmMs).toBe(1_000);
  });

  test("an empty file is all defaults", () => {
    expect(load("").clusters).toEqual({});
    expect(load("# nothing\n").region).toBe("local");
    expect(load("nats:\nclusters:\n").nats.port).toBe(4222);
  });

  test("no file at all is defaults and the environment", () => {
    const { config, file } = loadConfig({ env: { BATON_REGION: "eu-1" }, file: undefined });
    expect([config.region, file]).toEqual(["eu-1", null]);
  });

  test("the environment goes over the file", () => {
    const config = load(good.replace("${file:secret}", "x"), {
      BATON_NATS_URL: "nats://a:4222, nats://b:4222",
      BATON_MYSQL_PASSWORD: "12345",
      BATON_LOG_LEVEL: "debug",
      BATON_HTTP_PORT: "0",
      BATON__PROBER__CALM_MS: "250",
      BATON__HTTP__PORTS__AUDITOR: "7000",
      BATON__CLUSTERS__SHOP__NODES__N2__PORT: "3307",
      BATON__CLUSTERS__SHOP__POLICY__REJOIN: "false",
      UNRELATED: "1",
    });
    expect(config.nats.url).toEqual(["nats://a:4222", "nats://b:4222"]);
    expect(config.mysql.password).toBe("12345");
    expect(config.log.level).toBe("debug");
    expect(config.http.ports).toMatchObject({ prober: 0, decider: 0, auditor: 7000 });
    expect(config.prober.calmMs).toBe(250);
    expect(config.clusters.shop?.nodes.n2?.port).toBe(3307);
    expect(config.clusters.shop?.policy.rejoin).toBe(false);
  });

  test("references in text, and how to write one literally", () => {
    const config = load('mysql: { password: "a${env:P}b$${env:P}" }', { P: "-x-" });
    expect(config.mysql.password).toBe("a-x-b${env:P}");
  });
});

describe("what is refused, with the place and the remedy", () => {
  const nodes = "clusters: { shop: { nodes: { n1: { host: a }, n2: { host: b } } } }";

  test.each<[string, string, string, RegExp, RegExp]>([
    ["a file that is not YAML", "nats: {", "E_CONFIG_SYNTAX", /^baton\.yaml:1:\d+/, /Mend the line/],
    ["a file that holds a list", "- a\n- b", "E_CONFIG_SYNTAX", /^baton\.yaml:1:1/, /example/],
    [
      "a name written twice",
      "region: a\nregion: b",
      "E_CONFIG_SYNTAX",
      /^baton\.yaml:2:1 region/,
      /Keep one/,
    ],
    [
      "an unknown key",
      "clusters:\n  shop:\n    nodes:\n      n1: { host: a }\n      n2:\n        host: b\n        prot: 3306",
      "E_CONFIG_UNKNOWN_KEY",
      /^baton\.yaml:7:9 clusters\.shop\.nodes\.n2\.prot$/,
      /Did you mean port\?/,
    ],
    [
      "an unknown key that is like none",
      "zebra: 1",
      "E_CONFIG_UNKNOWN_KEY",
      /:1:1 zebra/,
      /Known there: region, nats/,
    ],
    ["a text for a number", "prober:\n  calmMs: soon", "E_CONFIG_INVALID", /:2:3 prober\.calmMs/, /a number/],
    ["a number for a text", "mysql: { password: 12345 }", "E_CONFIG_INVALID", /mysql\.password/, /quotes/],
    ["a number too small", "prober: { calmMs: 1 }", "E_CONFIG_INVALID", /prober\.calmMs/, /50 or more/],
    [
      "a port that is none",
      "http: { ports: { prober: 70000 } }",
      "E_CONFIG_INVALID",
      /http\.ports\.prober/,
      /65535 or less/,
    ],
    [
      "a word that is not known",
      "log: { level: inof }",
      "E_CONFIG_INVALID",
      /log\.level/,
      /Did you mean info\?/,
    ],
    ["a list for a text", "nats: { url: [] }", "E_CONFIG_INVALID", /nats\.url/, /./],
    [
      "three fourths of a replica",
      "nats: { replicas: 2 }",
      "E_CONFIG_INVALID",
      /nats\.replicas/,
      /one of them/,
    ],
    [
      "an unknown channel",
      "notifier: { channels: [ { type: pager } ] }",
      "E_CONFIG_INVALID",
      /channels\.0\.type/,
      /one of them/,
    ],
    [
      "a secret that is too short, which is not shown",
      'notifier: { channels: [ { type: webhook, url: "http://x.test", secret: hunter2 } ] }',
      "E_CONFIG_INVALID",
      /channels\.0\.secret/,
      /./,
    ],
    [
      "a cluster's name in capitals",
      nodes.replace("shop", "Shop"),
      "E_CONFIG_INVALID",
      /clusters\.Shop/,
      /Rename/,
    ],
    [
      "a host that is missing",
      "clusters: { shop: { nodes: { n1: { port: 1 }, n2: { host: b } } } }",
      "E_CONFIG_INVALID",
      /n1\.host/,
      /a text/,
    ],
    [
      "a cluster without nodes",
      "clusters: { shop: {} }",
      "E_CONFIG_INVALID",
      /shop\.nodes/,
      /names with values/,
    ],
    [
      "a node written twice",
      "clusters:\n  shop:\n    nodes:\n      n1: { host: a }\n      n1: { host: b }",
      "E_CONFIG_DUPLICATE_NODE",
      /^baton\.yaml:5:7 clusters\.shop\.nodes\.n1/,
      /name of its own/,
    ],
    [
      "one server as two nodes",
      "clusters: { shop: { nodes: { n1: { host: localhost }, n2: { host: 127.0.0.1 } } } }",
      "E_CONFIG_DUPLICATE_NODE",
      /nodes\.n2/,
      /List each server once/,
    ],
    [
      "one server in two clusters",
      "clusters: { a: { nodes: { n1: { host: a }, n2: { host: b } } }, c: { nodes: { n1: { host: B }, n2: { host: d } } } }",
      "E_CONFIG_SHARED_NODE",
      /clusters\.c\.nodes\.n1/,
      /one cluster/,
    ],
    [
      "a cluster without a replica",
      "clusters: { shop: { nodes: { n1: { host: a } } } }",
      "E_CONFIG_NO_REPLICA",
      /shop\.nodes/,
      /at least one replica/,
    ],
    [
      "more acks than replicas",
      nodes.replace("} } } }", "} }, policy: { acks: 2 } } }"),
      "E_CONFIG_INVALID",
      /policy\.acks/,
      /1 or less/,
    ],
    [
      "a secret file that is missing",
      'mysql: { password: "${file:nowhere}" }',
      "E_CONFIG_SECRET",
      /mysql\.password/,
      /Create it/,
    ],
    [
      "a variable that is not set",
      'mysql: { password: "${env:NOPE}" }',
      "E_CONFIG_SECRET",
      /mysql\.password/,
      /Set NOPE/,
    ],
  ])("%s", (_name, yaml, code, place, remedy) => {
    const error = refusal(yaml);
    expect(error.code).toBe(code);
    expect(error.place).toMatch(place);
    expect(error.remedy).toMatch(remedy);
    expect(error.exitCode).toBe(2);
    expect(error.line()).not.toMatch(/hunter2|undefined|\[object/);
  });

  test("a file that is not there", () => {
    expect(() => loadConfig({ file: join(folder, "none.yaml"), env: {} })).toThrow(
      expect.objectContaining({ code: "E_CONFIG_NOT_FOUND", exitCode: 2 }),
    );
  });

  test("environment variables name themselves as the place", () => {
    const unknown = refusal("", { BATON__PROBER__CLAM_MS: "5" });
    expect([unknown.code, unknown.place]).toEqual([
      "E_CONFIG_UNKNOWN_KEY",
      "environment variable BATON__PROBER__CLAM_MS",
    ]);
    expect(unknown.remedy).toMatch(/calmMs/);
    const invalid = refusal("", { BATON_HTTP_PORT: "many" });
    expect([invalid.code, invalid.place]).toEqual([
      "E_CONFIG_INVALID",
      "environment variable BATON_HTTP_PORT http.ports.prober",
    ]);
  });
});
