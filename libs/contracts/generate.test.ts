import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SAMPLES } from "./generate/samples.ts";
import { type Json, type JsonObject, publishedSchemas } from "./generate/schemas.ts";
import { DOCS, differing, generate, write } from "./generate.ts";
import { MESSAGES } from "./messages.ts";

const files = generate();

describe("the generated files", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "baton-contracts-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test("are the ones checked in", () => {
    expect(differing(DOCS), "run `node libs/contracts/generate.ts`").toEqual([]);
  });

  test("are the same bytes each time", () => {
    expect([...generate()]).toEqual([...files]);
  });

  test("are written once, and an edited, a missing and a left-over one is named", () => {
    expect(write(folder)).toEqual([...files.keys()].sort());
    expect(differing(folder)).toEqual([]);
    writeFileSync(join(folder, "subjects.md"), "edited");
    rmSync(join(folder, "schemas/alert.json"));
    writeFileSync(join(folder, "schemas/gone.json"), "{}");
    const changed = ["schemas/alert.json", "schemas/gone.json", "subjects.md"];
    expect(differing(folder)).toEqual(changed);
    expect(write(folder)).toEqual(changed);
    expect(differing(folder)).toEqual([]);
  });
});

/** Every value that is one step away from `value`: a part left out, replaced by another type, or added. */
function* broken(value: Json): Generator<Json> {
  for (const other of [null, true, -1, 1.5, "No Name!", [], {}]) yield other;
  if (value === null || typeof value !== "object") return;
  if (Array.isArray(value)) {
    for (const [i, part] of value.entries()) {
      for (const b of broken(part)) yield value.with(i, b);
    }
    return;
  }
  yield { ...value, unknownProperty: 1 };
  for (const [key, part] of Object.entries(value)) {
    const { [key]: _left, ...rest } = value;
    yield rest;
    for (const b of broken(part)) yield { ...value, [key]: b };
  }
}

describe("schemas and zod types agree", () => {
  const ajv = new Ajv2020({ strict: true, strictTypes: false });
  formats.default(ajv);

  test("on a value for every schema", () => {
    expect(publishedSchemas().map((s) => s.name)).toEqual(Object.keys(SAMPLES));
  });

  test.each(publishedSchemas())("$name", ({ name, schema }) => {
    const validate = ajv.compile(JSON.parse(files.get(`schemas/${name}.json`) as string));
    const sample = SAMPLES[name] as Json;
    expect(schema.safeParse(sample).error).toBeUndefined();
    validate(sample);
    expect(validate.errors ?? []).toEqual([]);

    let refused = 0;
    for (const value of broken(sample)) {
      const byZod = schema.safeParse(value).success;
      if (!byZod) refused += 1;
      if (validate(value) !== byZod) {
        expect.fail(`zod ${byZod ? "accepts" : "refuses"}, the schema does not: ${JSON.stringify(value)}`);
      }
    }
    expect(refused).toBeGreaterThan(0);
  });
});

describe("asyncapi.json", () => {
  const document = JSON.parse(files.get("asyncapi.json") as string) as JsonObject;
  const at = (pointer: string): Json | undefined =>
    pointer
      .replace("#/", "")
      .split("/")
      .reduce<Json | undefined>(
        (v, key) => (v === undefined ? undefined : (v as JsonObject)[key.replaceAll("~1", "/")]),
        document,
      );
  const entries = (pointer: string) => Object.entries(at(pointer) as Record<string, JsonObject>);

  test("says AsyncAPI 3 and has the parts that the specification asks for", () => {
    expect(document.asyncapi).toBe("3.0.0");
    expect(at("#/info/title")).toBe("Baton");
    expect(at("#/info/version")).toMatch(/^\d+\.\d+\.\d+/);
    for (const [, server] of entries("#/servers")) {
      expect(server).toMatchObject({ host: expect.any(String), protocol: "nats" });
    }
  });

  test("every $ref leads somewhere in the document", () => {
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map((m) => m[1] as string);
    expect(refs.length).toBeGreaterThan(50);
    for (const ref of refs) expect(at(ref), ref).toBeDefined();
  });

  test("each message's channel has the subject, and each parameter of it is declared and in the payload", () => {
    for (const message of Object.values(MESSAGES)) {
      const channel = at(`#/channels/${message.type}`) as JsonObject;
      const address = channel.address as string;
      expect(address.replace(/\{(\w+)\}/g, "*")).toBe(
        ["baton.v1", message.type, ...message.tokens.map(() => "*")].join("."),
      );
      const named = [...address.matchAll(/\{(\w+)\}/g)].map((m) => m[1] as string);
      const parameters = channel.parameters as Record<string, JsonObject>;
      expect(Object.keys(parameters)).toEqual(named);
      for (const [name, parameter] of Object.entries(parameters)) {
        const allowed = ["description", "location", "enum", "default", "examples"];
        expect(allowed).toEqual(expect.arrayContaining(Object.keys(parameter)));
        const { $ref } = at(`#/components/messages/${message.type}/payload`) as { $ref: string };
        expect(Object.keys((at($ref) as JsonObject).properties as JsonObject)).toContain(name);
      }
    }
  });

  test("operations send or receive messages of their own channel; replies come back on an open address", () => {
    for (const [id, operation] of entries("#/operations")) {
      expect(["send", "receive"], id).toContain(operation.action);
      const channel = (operation.channel as { $ref: string }).$ref;
      for (const { $ref } of operation.messages as { $ref: string }[]) {
        expect($ref.startsWith(`${channel}/messages/`), id).toBe(true);
      }
      if (operation.reply === undefined) continue;
      const reply = operation.reply as { channel: { $ref: string }; messages: { $ref: string }[] };
      expect((at(reply.channel.$ref) as JsonObject).address).toBeNull();
      for (const { $ref } of reply.messages) expect($ref.startsWith(reply.channel.$ref)).toBe(true);
    }
  });

  test("events carry the CloudEvents headers of NATS binary mode", () => {
    for (const message of Object.values(MESSAGES)) {
      const headers = at(`#/components/messages/${message.type}/headers`) as JsonObject;
      expect(headers.required).toEqual(
        expect.arrayContaining(["ce-specversion", "ce-id", "ce-source", "ce-type"]),
      );
      expect(at(`#/components/messages/${message.type}/headers/properties/ce-type/const`)).toBe(
        `baton.v1.${message.type}`,
      );
    }
  });
});

test("subjects.md links only to schemas that exist", () => {
  const page = readFileSync(join(DOCS, "subjects.md"), "utf8");
  const links = [...page.matchAll(/\]\((schemas\/[^)]+\.json)\)/g)].map((m) => m[1] as string);
  expect(links.length).toBeGreaterThan(10);
  for (const link of links) expect(files.has(link), link).toBe(true);
});
