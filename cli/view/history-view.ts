/** The pictures of `baton history`: the list of operations, and one operation's timeline. Pure. */
import {
  Alert,
  type ArchivedRecord,
  Diagnosis,
  Event,
  Intent,
  type OperationSummary,
  Step,
} from "@baton/contracts";
import { duration, moment } from "./amounts.ts";
import type { Paint } from "./colour.ts";
import { columns } from "./columns.ts";
import { evidenceWords } from "./evidence.ts";

export function operationsLines(operations: readonly OperationSummary[], p: Paint): string[] {
  if (operations.length === 0) return ["No operation is on record."];
  const head = ["when", "cluster", "what", "epoch", "outcome", "took", "operation"].map(p.dim);
  const rows = operations.map((o) => [
    moment(o.startedUnixMs),
    o.cluster,
    [o.kind, o.node].filter(Boolean).join(" "),
    String(o.epoch),
    outcomeWord(o.outcome, o.code, p),
    o.tookMs === null ? p.dim("–") : duration(o.tookMs),
    p.dim(o.operation),
  ]);
  return columns([head, ...rows], { right: [3, 5] });
}

function outcomeWord(outcome: string | null, code: string | null, p: Paint): string {
  if (outcome === null) return p.yellow("not ended");
  const text = code === null ? outcome : `${outcome}: ${code}`;
  if (outcome === "completed") return p.green(text);
  return outcome === "rolled-back" ? p.yellow(text) : p.red(text);
}

const SALVAGED_LINES = 40;
/** Steps whose record of GTID sets decides whether anything was lost. */
const STEPS_ABOUT_GTIDS = new Set(["read", "choose", "catch-up", "commit", "check", "quarantine", "prove"]);

export function timelineLines(o: OperationSummary, records: readonly ArchivedRecord[], p: Paint): string[] {
  const startOf = starts(records);
  const sorted = [...records].sort((a, b) => startOf(a) - startOf(b) || a.seq - b.seq);
  const t0 = sorted.length > 0 ? startOf(sorted[0]!) : o.startedUnixMs;
  const heading = [
    p.bold(o.operation),
    [o.kind, o.node].filter(Boolean).join(" of "),
    `epoch ${o.epoch}`,
    outcomeWord(o.outcome, o.code, p),
    o.tookMs === null ? "" : duration(o.tookMs),
  ];
  const lines = [
    heading.filter(Boolean).join("  "),
    p.dim(`${moment(t0)}  cluster ${o.cluster}  trace ${o.traceId || "none"}`),
    ...(o.summary === "" ? [] : [o.summary]),
    "",
  ];
  const entries = sorted.map((record) => entryOf(record, p));
  const rows = entries.map((entry, i) => [
    `+${duration(Math.max(0, startOf(sorted[i]!) - t0))}`,
    entry.what,
    entry.tookMs === null ? "" : duration(entry.tookMs),
    entry.text,
  ]);
  const right = [0, 2];
  const aligned = columns([["", "", "", ""], ...rows], { right, indent: 2 }).slice(1);
  const margin = " ".repeat(Math.max(...rows.map((row) => row[0]!.length), 0) + 4);
  for (const [i, entry] of entries.entries()) {
    lines.push(aligned[i]!, ...entry.more.map((line) => p.dim(`${margin}  ${line}`)));
  }
  return lines;
}

/**
 * When each record's matter began, in Unix milliseconds. A step's record is written when it ends, with a clock of whole
 * milliseconds; its own `atMs` is finer, and counts from when its executor took the operation up.
 */
function starts(records: readonly ArchivedRecord[]): (record: ArchivedRecord) => number {
  const stepOf = (record: ArchivedRecord) =>
    record.kind === "step" ? (Step.safeParse(record.payload).data ?? null) : null;
  const run = (step: Step) => `${step.executor} ${step.takeovers}`;
  const tookUp = new Map<string, number>();
  for (const record of records) {
    const step = stepOf(record);
    if (!step) continue;
    const at = record.atUnixMs - step.tookMs - step.atMs;
    tookUp.set(run(step), Math.min(at, tookUp.get(run(step)) ?? at));
  }
  return (record) => {
    const step = stepOf(record);
    return step ? (tookUp.get(run(step)) ?? 0) + step.atMs : record.atUnixMs;
  };
}

interface Entry {
  what: string;
  tookMs: number | null;
  text: string;
  more: string[];
}

function entryOf(record: ArchivedRecord, p: Paint): Entry {
  const { payload } = record;
  switch (record.kind) {
    case "diagnosis": {
      const d = Diagnosis.safeParse(payload);
      if (!d.success) break;
      const text = `${p.bold(d.data.code)}  ${d.data.summary}`;
      return { what: p.yellow("diagnosis"), tookMs: null, text, more: evidenceWords(d.data) };
    }
    case "intent": {
      const d = Intent.safeParse(payload);
      if (!d.success) break;
      const text = `${p.bold(d.data.kind)} ${d.data.node}, from epoch ${d.data.epoch}: ${d.data.reason}`;
      return { what: p.yellow("intent"), tookMs: null, text, more: [`ordered by ${d.data.decider}`] };
    }
    case "step": {
      const d = Step.safeParse(payload);
      if (!d.success) break;
      return stepEntry(d.data, p);
    }
    case "event": {
      const d = Event.safeParse(payload);
      if (!d.success) break;
      const more = d.data.next === null ? [] : [`next: ${d.data.next}`];
      if (d.data.type === "errant-salvaged") more.push(...salvagedLines(d.data));
      return {
        what: p.green("event"),
        tookMs: null,
        text: `${p.bold(d.data.type)}  ${d.data.summary}`,
        more,
      };
    }
    case "alert": {
      const d = Alert.safeParse(payload);
      if (!d.success) break;
      return {
        what: p.magenta("alert"),
        tookMs: null,
        text: `${p.bold(d.data.severity)}  ${d.data.title}`,
        more: [],
      };
    }
  }
  return { what: record.kind, tookMs: null, text: "a record that this version cannot read", more: [] };
}

/** The beginning of what was archived: the rows are what a person looks for. */
function salvagedLines({ detail }: Event): string[] {
  const rows = String(detail.events ?? "")
    .split("\n")
    .filter((line) => line.startsWith("### "));
  const shown = rows.slice(0, SALVAGED_LINES);
  const rest = rows.length - shown.length;
  const kept = Number(detail.parts ?? 0) > 0 ? ["all of it: --cluster <cluster> --salvaged"] : [];
  return [
    `errant: ${detail.errant}`,
    ...shown,
    ...(rest > 0 ? [`… ${rest} more lines with --json`] : []),
    ...kept,
  ];
}

function stepEntry(step: Step, p: Paint): Entry {
  const done = step.outcome === "done";
  const text = done ? step.summary : `${p.red(step.code ?? step.outcome)}  ${step.summary}`;
  const more = done && !STEPS_ABOUT_GTIDS.has(step.step) ? [] : detailLines(step.detail);
  if (step.takeovers > 0) more.unshift(`by ${step.executor}, who took it over`);
  return { what: done ? p.cyan(step.step) : p.red(step.step), tookMs: step.tookMs, text, more };
}

/** `received.n2: 3e11…:1-77` — one line a leaf; an empty text is the empty set. */
export function detailLines(detail: Step["detail"]): string[] {
  const lines: string[] = [];
  const visit = (path: string, value: unknown) => {
    if (Array.isArray(value) && value.every((item) => typeof item !== "object")) {
      lines.push(`${path}: ${value.length === 0 ? "none" : value.join(", ")}`);
    } else if (typeof value === "object" && value !== null) {
      for (const [key, inner] of Object.entries(value)) visit(path === "" ? key : `${path}.${key}`, inner);
    } else if (value !== null) {
      lines.push(`${path}: ${value === "" ? "∅" : String(value).replace(/\s+/g, " ")}`);
    }
  };
  visit("", detail);
  return lines;
}
