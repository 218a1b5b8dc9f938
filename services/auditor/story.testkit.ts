/** Messages as a failover leaves them, as drafts of records. */
import type { MessageDefinition, Payload, StreamName } from "@baton/contracts";
import { MESSAGES, subjectOf } from "@baton/contracts";
import { type Draft, type Kind, toDraft } from "./record.ts";

export const T0 = 1_700_000_000_000;
export const traceOf = (n: number) => n.toString(16).padStart(32, "0");

export const diagnosis = (cluster = "shop"): Payload<typeof MESSAGES.diagnosis> => ({
  cluster,
  code: "primary-dead",
  previous: "healthy",
  node: "n1",
  severity: "critical",
  epoch: 1,
  summary: "n1 is dead: „tot“",
  probers: [],
  replicas: [],
  refusal: null,
  decider: "decider-a",
  suspectedForMs: 350,
});

export const intent = (operation: string, cluster = "shop"): Payload<typeof MESSAGES.intent> => ({
  operation,
  cluster,
  kind: "failover",
  node: "n1",
  epoch: 1,
  stateRevision: 4,
  lockRevision: 9,
  diagnosis: "primary-dead",
  reason: "n1 is dead",
  decider: "decider-a",
  candidate: null,
  nodes: {},
});

export const step = (
  operation: string,
  name: "claim" | "fence" | "open" = "fence",
  cluster = "shop",
): Payload<typeof MESSAGES.step> => ({
  cluster,
  operation,
  kind: "failover",
  epoch: 2,
  executor: "executor-a",
  takeovers: 0,
  step: name,
  outcome: "done",
  code: null,
  atMs: 3,
  tookMs: 12.5,
  summary: `${name} done`,
  detail: {},
});

export const ended = (operation: string, cluster = "shop"): Payload<typeof MESSAGES.event> => ({
  cluster,
  type: "operation-ended",
  epoch: 2,
  operation,
  kind: "failover",
  node: "n2",
  outcome: "completed",
  code: null,
  summary: "n2 is the primary",
  primary: null,
  previous: "n1",
  next: null,
  detail: {},
});

export const alert = (id: string, cluster = "shop"): Payload<typeof MESSAGES.alert> => ({
  id,
  cluster,
  severity: "critical",
  code: "primary-dead",
  title: "shop: the primary n1 is dead",
  summary: "Two of two probers find it dead.",
  action: "Baton fails over.",
  node: "n1",
  epoch: 1,
  operation: null,
  source: "decider-a",
  atUnixMs: T0,
});

let sequence = 0;

export function draft<M extends MessageDefinition>(
  message: M,
  payload: Payload<M>,
  o: { atMs: number; trace: number; id?: string },
): Draft {
  sequence += 1;
  return toDraft(message.carrier as StreamName, message.type as Kind, payload as never, {
    subject: subjectOf(message, payload),
    id: o.id ?? `ce-${sequence}`,
    source: "baton/test/a",
    timeUnixMs: T0 + o.atMs,
    traceparent: o.trace === 0 ? null : `00-${traceOf(o.trace)}-00f067aa0ba902b7-01`,
    streamSequence: sequence,
    payloadBytes: Buffer.from(JSON.stringify(payload)),
  });
}

/** A whole failover: diagnosis, intent, two steps, the end, an alert; all of one trace. */
export function failover(operation: string, trace: number, atMs = 0, cluster = "shop"): Draft[] {
  return [
    draft(MESSAGES.diagnosis, diagnosis(cluster), { atMs, trace }),
    draft(MESSAGES.intent, intent(operation, cluster), { atMs: atMs + 1, trace }),
    draft(MESSAGES.step, step(operation, "claim", cluster), { atMs: atMs + 5, trace }),
    draft(MESSAGES.step, step(operation, "open", cluster), { atMs: atMs + 40, trace }),
    draft(MESSAGES.event, ended(operation, cluster), { atMs: atMs + 61, trace }),
    draft(MESSAGES.alert, alert(`alert-${operation}`, cluster), { atMs: atMs + 62, trace }),
  ];
}
