/** JSON Schema from the zod schemas. Every exported schema keeps its own name as a definition. */
import { z } from "zod";
import * as contracts from "../index.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** One published schema: `name` is its file under docs/schemas/, without `.json`. */
export interface PublishedSchema {
  name: string;
  title: string;
  schema: z.ZodType;
}

/** What a stranger needs to speak Baton: messages, replies, commands, KV values and the configuration. */
export function publishedSchemas(): PublishedSchema[] {
  const all: PublishedSchema[] = [];
  for (const m of Object.values(contracts.MESSAGES)) {
    all.push({ name: m.type, title: `${m.type}: ${m.what}`, schema: m.schema });
  }
  all.push({
    name: "probe-reply",
    title: "probe-reply: a prober's answer to probe",
    schema: contracts.ProbeReply,
  });
  all.push({
    name: "confirm-reply",
    title: "confirm-reply: a decider's answer to confirm",
    schema: contracts.ConfirmReply,
  });
  for (const [verb, command] of Object.entries(contracts.COMMANDS)) {
    all.push({
      name: `command-${verb}-request`,
      title: `request of the command ${verb}`,
      schema: command.request,
    });
    all.push({ name: `command-${verb}-reply`, title: `reply of the command ${verb}`, schema: command.reply });
  }
  all.push({
    name: "command-error",
    title: "reply of any command that is refused",
    schema: contracts.CommandError,
  });
  for (const [bucket, b] of Object.entries(contracts.BUCKETS)) {
    const name = `bucket-${bucket.replace(/^baton_/, "")}`;
    all.push({ name, title: `value of ${b.key} in the KV bucket ${bucket}`, schema: b.schema });
  }
  all.push({ name: "config", title: "baton.yaml", schema: contracts.Config });
  return all;
}

/**
 * Gives each exported schema its export name as JSON Schema id, so that definitions are called `Name` and
 * `NodeStatus` instead of `__schema7`. It writes to zod's global registry: call it in the generator only.
 */
function nameExports(): void {
  for (const [id, value] of Object.entries(contracts)) {
    if (value instanceof z.ZodType) z.globalRegistry.add(value, { ...z.globalRegistry.get(value), id });
  }
}

/** `z.json()` becomes a recursive definition that says no more than `{}`: any JSON. Say `{}`. */
function anyJson(value: Json): Json {
  if (Array.isArray(value)) return value.map(anyJson);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.$ref === "string" && /__schema\d+$|__shared#/.test(value.$ref)) return {};
  const kept = Object.entries(value).filter(([key]) => !/^__s(chema\d+|hared)$/.test(key));
  return Object.fromEntries(kept.map(([key, v]) => [key, anyJson(v)]));
}

/** The file's content: JSON Schema 2020-12, complete in itself, as a receiver should check it. */
export function schemaDocument(published: PublishedSchema): JsonObject {
  nameExports();
  // "input": what a sender may leave out or add is allowed, so that a newer sender does not break an older reader.
  const made = z.toJSONSchema(published.schema, { io: "input", target: "draft-2020-12" });
  const { $schema, ...rest } = anyJson(made as unknown as JsonObject) as JsonObject;
  return {
    $schema: $schema as string,
    $id: `urn:baton:v1:${published.name}`,
    title: published.title,
    ...rest,
  };
}

/** All named schemas in draft-07, which AsyncAPI's own schema object is a superset of; refs go through `refTo`. */
export function draft07Components(refTo: (name: string) => string): JsonObject {
  nameExports();
  const made = z.toJSONSchema(z.globalRegistry, { io: "input", target: "draft-07", uri: refTo });
  const schemas = anyJson(made.schemas as unknown as JsonObject) as JsonObject;
  const bare = Object.entries(schemas).map(([name, schema]) => {
    const { $schema: _dialect, $id: _address, ...rest } = schema as JsonObject;
    return [name, rest] as const;
  });
  return Object.fromEntries(bare);
}

/** A schema that has no name of its own, with its refs made as in draft07Components. */
export function draft07Of(schema: z.ZodType, refTo: (name: string) => string): JsonObject {
  nameExports();
  const name = Object.entries(contracts).find(([, value]) => value === schema)?.[0];
  if (name !== undefined) return { $ref: refTo(name) };
  const made = anyJson(
    z.toJSONSchema(schema, { io: "input", target: "draft-07" }) as unknown as JsonObject,
  ) as JsonObject;
  const { $schema: _dialect, definitions: _named, ...rest } = made;
  return JSON.parse(
    JSON.stringify(rest, (key, v) =>
      key === "$ref" && typeof v === "string" ? refTo(v.replace("#/definitions/", "")) : v,
    ),
  );
}
