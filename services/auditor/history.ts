/** What `baton history` is answered: operations in one line each, or all records of one. */
import {
  type ArchivedRecord,
  BatonError,
  type CommandReply,
  type CommandRequest,
  type Event,
  type Intent,
  type OperationSummary,
  type Step,
} from "@baton/contracts";
import type { Archive } from "./archive.ts";
import type { ChainedRecord } from "./chain.ts";

/** An operation has some tens of records. */
const MOST_RECORDS = 1_000;
/** A reply must fit a NATS message (1 MiB); beyond this, records go without their payload. */
const MOST_PAYLOAD_CHARACTERS = 500_000;
const CANDIDATES_NAMED = 5;

export function history(
  archive: Pick<Archive, "operations" | "operationsNamed" | "recordsOf" | "story">,
  auditor: string,
  request: CommandRequest<"history">,
): CommandReply<"history"> {
  const summary = (operation: string) => summarize(operation, archive.recordsOf(operation));
  if (request.operation === null) {
    const operations = archive.operations(request.cluster, request.limit);
    return { auditor, operations: operations.map(summary), records: [] };
  }
  const operation = theOne(
    request.operation,
    archive.operationsNamed(request.operation, request.cluster, CANDIDATES_NAMED + 1),
  );
  const records = archivedRecords(archive.story(operation, MOST_RECORDS));
  return { auditor, operations: [summary(operation)], records };
}

function theOne(prefix: string, found: readonly string[]): string {
  const [only, second] = found;
  if (only === undefined) {
    throw new BatonError("E_NOT_FOUND", {
      place: prefix,
      message: `No archived operation is called ${JSON.stringify(prefix)} or begins so.`,
      remedy: "`baton history` lists the operations.",
    });
  }
  if (second !== undefined) {
    const names = found.slice(0, CANDIDATES_NAMED).join(", ");
    throw new BatonError("E_CONFLICT", {
      place: prefix,
      message: `Several operations begin with ${JSON.stringify(prefix)}: ${names}${found.length > CANDIDATES_NAMED ? ", …" : ""}.`,
      remedy: "Give more of the id.",
    });
  }
  return only;
}

/** `records` are all that name the operation, in time order; at least one. */
export function summarize(operation: string, records: readonly ChainedRecord[]): OperationSummary {
  const payloads = <T>(kind: ArchivedRecord["kind"]) =>
    records.filter((r) => r.kind === kind).map((r) => ({ record: r, payload: JSON.parse(r.payload) as T }));
  const intent = payloads<Intent>("intent")[0];
  const step = payloads<Step>("step").at(-1);
  // Adoptions and rejoins end with the event that tells their fact; it carries the outcome too.
  const ended = payloads<Event>("event").findLast((e) => e.payload.outcome !== null);
  const first = (intent?.record ?? records[0]) as ChainedRecord;
  return {
    operation,
    cluster: first.cluster,
    kind: intent?.payload.kind ?? step?.payload.kind ?? ended?.payload.kind ?? "unknown",
    epoch: ended?.payload.epoch ?? step?.payload.epoch ?? intent?.payload.epoch ?? 0,
    node: intent?.payload.node ?? ended?.payload.node ?? null,
    outcome: ended?.payload.outcome ?? null,
    code: ended?.payload.code ?? null,
    startedUnixMs: first.atUnixMs,
    tookMs: ended === undefined ? null : Math.max(0, ended.record.atUnixMs - first.atUnixMs),
    summary: ended?.payload.summary ?? step?.payload.summary ?? intent?.payload.reason ?? "",
    traceId: first.traceId,
  };
}

function archivedRecords(records: readonly ChainedRecord[]): ArchivedRecord[] {
  let left = MOST_PAYLOAD_CHARACTERS;
  return records.map((r) => {
    left -= r.payload.length;
    const { seq, kind, atUnixMs, cluster, operation, traceId, source, subject, sha256, chain } = r;
    const payload = left >= 0 ? JSON.parse(r.payload) : null;
    return { seq, kind, atUnixMs, cluster, operation, traceId, source, subject, payload, sha256, chain };
  });
}
