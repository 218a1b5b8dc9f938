/**
 * Every message: its subject, its schema, what carries it, from whom to whom. The one table from which
 * the bus, the JSON Schema files, the AsyncAPI document and docs/subjects.md are made.
 */
import type { z } from "zod";
import { Alert, ConfirmRequest, Diagnosis, Event, Intent, ProbeRequest, Sample, Step } from "./payloads.ts";

export const SUBJECT_ROOT = "baton.v1";

export interface MessageDefinition<S extends z.ZodType = z.ZodType> {
  /** CloudEvents type is `baton.v1.<type>`. */
  readonly type: string;
  readonly schema: S;
  /** The subject's tokens after the type; each is a property of the payload. */
  readonly tokens: readonly (keyof z.infer<S> & string)[];
  /** `core` is at most once; a stream's name is at least once and kept. */
  readonly carrier: "core" | "BATON_INTENTS" | "BATON_EVENTS" | "BATON_ALERTS";
  readonly from: string;
  readonly to: string;
  readonly what: string;
}

function define<S extends z.ZodType>(d: MessageDefinition<S>): MessageDefinition<S> {
  return Object.freeze(d);
}

export const MESSAGES = {
  sample: define({
    type: "sample",
    schema: Sample,
    tokens: ["cluster", "node", "region"],
    carrier: "core",
    from: "prober",
    to: "decider",
    what: "one observation of one node",
  }),
  probe: define({
    type: "probe",
    schema: ProbeRequest,
    tokens: ["cluster"],
    carrier: "core",
    from: "decider",
    to: "prober",
    what: "look now: a confirmation round; the samples are published as always, and returned when a reply is asked for",
  }),
  diagnosis: define({
    type: "diagnosis",
    schema: Diagnosis,
    tokens: ["cluster"],
    carrier: "BATON_EVENTS",
    from: "decider",
    to: "auditor, CLI, outside tools",
    what: "a change of diagnosis with its evidence",
  }),
  intent: define({
    type: "intent",
    schema: Intent,
    tokens: ["cluster"],
    carrier: "BATON_INTENTS",
    from: "decider",
    to: "executor",
    what: "what must be done, from which state",
  }),
  confirm: define({
    type: "confirm",
    schema: ConfirmRequest,
    tokens: ["cluster"],
    carrier: "core",
    from: "executor",
    to: "decider",
    what: "how old is the judgement behind this failover? Whoever ordered it answers",
  }),
  step: define({
    type: "step",
    schema: Step,
    tokens: ["cluster", "operation"],
    carrier: "BATON_EVENTS",
    from: "executor",
    to: "all",
    what: "an operation's steps, as they end",
  }),
  event: define({
    type: "event",
    schema: Event,
    tokens: ["cluster", "type"],
    carrier: "BATON_EVENTS",
    from: "executor",
    to: "all, outside tools",
    what: "facts: primary-changed, node-quarantined, …",
  }),
  alert: define({
    type: "alert",
    schema: Alert,
    tokens: ["severity", "cluster"],
    carrier: "BATON_ALERTS",
    from: "decider, executor",
    to: "notifier",
    what: "something a person should know",
  }),
} as const;

export type MessageName = keyof typeof MESSAGES;
export type Payload<M extends MessageDefinition> = z.infer<M["schema"]>;

/** The subject of a payload: `baton.v1.<type>.<token>…`. */
export function subjectOf<M extends MessageDefinition>(message: M, payload: Payload<M>): string {
  const values = payload as Record<string, unknown>;
  return [SUBJECT_ROOT, message.type, ...message.tokens.map((t) => String(values[t]))].join(".");
}

/** The subject filter for a message, each token `*` unless given: `baton.v1.sample.shop.*.*`. */
export function filterOf(message: MessageDefinition, given: Readonly<Record<string, string>> = {}): string {
  return [SUBJECT_ROOT, message.type, ...message.tokens.map((t) => given[t] ?? "*")].join(".");
}

/** The subject that a command is asked on. */
export function commandSubject(verb: string): string {
  return `${SUBJECT_ROOT}.command.${verb}`;
}

const day = 24 * 3_600_000;

/**
 * The streams. All keep what they hold for a time rather than until it is read, so that an auditor may
 * join late and the last sequence of an intent's subject stays a fence (docs/decisions/0001).
 */
export const STREAMS = {
  BATON_INTENTS: { subjects: [filterOf(MESSAGES.intent)], maxAgeMs: 30 * day, maxBytes: 32 * 2 ** 20 },
  BATON_EVENTS: {
    subjects: [filterOf(MESSAGES.diagnosis), filterOf(MESSAGES.step), filterOf(MESSAGES.event)],
    maxAgeMs: 30 * day,
    maxBytes: 128 * 2 ** 20,
  },
  BATON_ALERTS: { subjects: [filterOf(MESSAGES.alert)], maxAgeMs: 30 * day, maxBytes: 32 * 2 ** 20 },
} as const;
export type StreamName = keyof typeof STREAMS;
