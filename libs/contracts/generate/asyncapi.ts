/** The AsyncAPI 3.0 document: subjects as channels, CloudEvents headers, who sends and who receives. */
import { z } from "zod";
import { COMMANDS, CommandError } from "../commands.ts";
import { MESSAGES, type MessageDefinition, STREAMS, SUBJECT_ROOT } from "../messages.ts";
import { ConfirmReply, ProbeReply } from "../payloads.ts";
import { draft07Components, draft07Of, type Json, type JsonObject } from "./schemas.ts";

const schemaRef = (name: string) => `#/components/schemas/${name}`;
const ref = (pointer: string): JsonObject => ({ $ref: pointer });

const ADDRESS_WORDS: Record<string, string> = {
  cluster: "the cluster's name",
  node: "the node's name in its cluster",
  region: "the region of the prober",
  operation: "the operation's id",
  type: "what happened",
  severity: "how urgent",
};

/** CloudEvents 1.0 in NATS binary mode: attributes are headers, the body is the data. */
function cloudEventHeaders(type: string): JsonObject {
  const text = (description: string): JsonObject => ({ type: "string", description });
  return {
    type: "object",
    required: ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "content-type"],
    properties: {
      "ce-specversion": { type: "string", const: "1.0" },
      "ce-id": text("unique with ce-source; the same when a message is sent again"),
      "ce-source": text("baton/<service>/<instance>"),
      "ce-type": { type: "string", const: `${SUBJECT_ROOT}.${type}` },
      "ce-time": { type: "string", format: "date-time", description: "by the sender's clock" },
      "content-type": { type: "string", const: "application/json" },
      traceparent: text("W3C trace context; one trace per failure, from diagnosis to alert"),
    },
  };
}

function parameterOf(message: MessageDefinition, token: string): JsonObject {
  const property = (message.schema as unknown as { shape?: Record<string, z.ZodType> }).shape?.[token];
  const values = property instanceof z.ZodEnum ? { enum: property.options.map(String) } : {};
  const description = ADDRESS_WORDS[token] ?? token;
  return { description, location: `$message.payload#/${token}`, ...values };
}

function carriedBy(message: MessageDefinition): string {
  if (message.carrier === "core") return "Core NATS: at most once, not kept.";
  const days = STREAMS[message.carrier].maxAgeMs / 86_400_000;
  return `JetStream ${message.carrier}: at least once, kept for ${days} days.`;
}

function messageChannel(message: MessageDefinition): JsonObject {
  const address = [SUBJECT_ROOT, message.type, ...message.tokens.map((t) => `{${t}}`)].join(".");
  const parameters = Object.fromEntries(message.tokens.map((t) => [t, parameterOf(message, t)]));
  return {
    address,
    title: message.type,
    summary: message.what,
    description: `${carriedBy(message)} From ${message.from} to ${message.to}.`,
    ...(message.tokens.length > 0 ? { parameters } : {}),
    messages: { [message.type]: ref(`#/components/messages/${message.type}`) },
  };
}

/** A reply goes to the inbox that the request names, so its address is not known beforehand. */
function replyChannel(title: string, messages: string[]): JsonObject {
  return {
    address: null,
    title,
    description: "The requester's inbox (NATS reply subject).",
    messages: Object.fromEntries(messages.map((m) => [m, ref(`#/components/messages/${m}`)])),
  };
}

function reply(channel: string, messages: string[]): JsonObject {
  return {
    channel: ref(`#/channels/${channel}`),
    messages: messages.map((m) => ref(`#/channels/${channel}/messages/${m}`)),
  };
}

/** Keeps of `schemas` only what the rest of the document leads to. */
function reachable(document: Json, schemas: JsonObject): JsonObject {
  const found = new Set<string>();
  const walk = (value: Json): void => {
    for (const match of JSON.stringify(value).matchAll(/"#\/components\/schemas\/([^"/]+)"/g)) {
      const name = match[1] as string;
      if (found.has(name)) continue;
      found.add(name);
      walk(schemas[name] ?? null);
    }
  };
  walk(document);
  return Object.fromEntries([...found].sort().map((name) => [name, schemas[name] as Json]));
}

export function asyncApiDocument(version: string): JsonObject {
  const channels: JsonObject = {};
  const operations: JsonObject = {};
  const messages: JsonObject = {};
  const plain = (name: string, summary: string, schema: z.ZodType): void => {
    messages[name] = {
      name,
      summary,
      contentType: "application/json",
      payload: draft07Of(schema, schemaRef),
    };
  };

  for (const message of Object.values(MESSAGES) as MessageDefinition[]) {
    const { type } = message;
    channels[type] = messageChannel(message);
    messages[type] = {
      name: `${SUBJECT_ROOT}.${type}`,
      title: type,
      summary: message.what,
      contentType: "application/json",
      headers: cloudEventHeaders(type),
      payload: draft07Of(message.schema, schemaRef),
    };
    const common = {
      channel: ref(`#/channels/${type}`),
      messages: [ref(`#/channels/${type}/messages/${type}`)],
      ...(type === "probe" || type === "confirm" ? { reply: reply(`${type}-reply`, [`${type}-reply`]) } : {}),
    };
    operations[`send-${type}`] = { action: "send", summary: `Sent by ${message.from}.`, ...common };
    operations[`receive-${type}`] = { action: "receive", summary: `Received by ${message.to}.`, ...common };
  }
  plain("probe-reply", "a prober's samples; one reply of each prober", ProbeReply);
  channels["probe-reply"] = replyChannel("replies to probe", ["probe-reply"]);
  plain("confirm-reply", "the age of a decider's judgement", ConfirmReply);
  channels["confirm-reply"] = replyChannel("replies to confirm", ["confirm-reply"]);

  for (const [verb, command] of Object.entries(COMMANDS)) {
    const request = `command-${verb}-request`;
    const answer = `command-${verb}-reply`;
    plain(request, `request of the command ${verb}`, command.request);
    plain(answer, `reply of the command ${verb}`, command.reply);
    channels[`command-${verb}`] = {
      address: `${SUBJECT_ROOT}.command.${verb}`,
      title: `command ${verb}`,
      description: `NATS service API (service baton-${verb}, discoverable with $SRV.PING and $SRV.INFO).`,
      messages: { [request]: ref(`#/components/messages/${request}`) },
    };
    channels[answer] = replyChannel(`replies to ${verb}`, [answer, "command-error"]);
    operations[`serve-${verb}`] = {
      action: "receive",
      summary: `Answers the command ${verb}.`,
      channel: ref(`#/channels/command-${verb}`),
      messages: [ref(`#/channels/command-${verb}/messages/${request}`)],
      reply: reply(answer, [answer, "command-error"]),
    };
  }
  plain("command-error", "why a command was refused, and what to do", CommandError);

  const head: JsonObject = {
    asyncapi: "3.0.0",
    id: "urn:baton:v1",
    info: {
      title: "Baton",
      version,
      license: { name: "MIT" },
      description:
        "Automatic failover for MySQL replication. Generated from libs/contracts by `node libs/contracts/generate.ts`: do not edit. " +
        "Messages are CloudEvents 1.0 in NATS binary mode. Ignore properties that you do not know: they may be added in v1.",
    },
    defaultContentType: "application/json",
    servers: {
      nats: {
        host: "localhost:4222",
        protocol: "nats",
        protocolVersion: "2.11",
        description: "Any NATS server or cluster from 2.11 on, with JetStream.",
      },
    },
    channels,
    operations,
  };
  const schemas = reachable([channels, operations, messages], draft07Components(schemaRef));
  return { ...head, components: { messages, schemas } };
}
