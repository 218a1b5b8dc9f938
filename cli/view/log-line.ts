/** A service's JSON log line as a person reads it. Pure: a line in, a line out. */
import { clock } from "./amounts.ts";
import type { Paint } from "./colour.ts";
import { padTo } from "./columns.ts";

export interface LogEntry {
  level: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
  timeUnixMs: number | null;
  message: string;
  /** Everything else that the line said. */
  fields: Record<string, unknown>;
}

const LEVELS: [number, LogEntry["level"]][] = [
  [60, "fatal"],
  [50, "error"],
  [40, "warn"],
  [30, "info"],
  [20, "debug"],
  [0, "trace"],
];

/** Said by the line's start already, or the same in every line of a process. */
const KNOWN = new Set([
  "level",
  "time",
  "msg",
  "pid",
  "hostname",
  "service",
  "instance",
  "region",
  "name",
  "v",
]);

/** Null when the line is no JSON object: whatever a program prints that is not its log. */
export function parseLogLine(line: string): LogEntry | null {
  if (!line.startsWith("{")) return null;
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return null;
  }
  const { level, time } = value;
  const timeUnixMs = typeof time === "number" ? time : Date.parse(String(time));
  return {
    level:
      typeof level === "number"
        ? (LEVELS.find(([least]) => level >= least)?.[1] ?? "trace")
        : (LEVELS.find(([, name]) => name === level)?.[1] ?? "info"),
    timeUnixMs: Number.isFinite(timeUnixMs) ? timeUnixMs : null,
    message: typeof value.msg === "string" ? value.msg : "",
    fields: Object.fromEntries(Object.entries(value).filter(([key]) => !KNOWN.has(key))),
  };
}

/** nats-server's own lines: `[pid] [INF] text`. */
export function parseNatsLine(line: string): LogEntry {
  const match = /^(?:\[\d+\] )?(?:\S+ \S+ )?\[(\w{3})\] (.*)$/.exec(line);
  const level = (
    { TRC: "trace", DBG: "debug", INF: "debug", WRN: "warn", ERR: "error", FTL: "fatal" } as const
  )[match?.[1] as "INF"];
  return { level: level ?? "info", timeUnixMs: null, message: match?.[2] ?? line, fields: {} };
}

/** `14:03:07.123  decider   warn   primary-dead  cluster=shop node=n1` */
export function logLine(source: string, entry: LogEntry, nowUnixMs: number, p: Paint): string {
  const level = padTo(entry.level, 5);
  const coloured = {
    trace: p.dim,
    debug: p.dim,
    info: p.green,
    warn: p.yellow,
    error: p.red,
    fatal: p.red,
  }[entry.level](level);
  const fields = Object.entries(entry.fields)
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    // Said already, in words.
    .filter(([, value]) => typeof value !== "string" || !entry.message.includes(value))
    .map(([key, value]) => `${p.dim(`${key}=`)}${field(value)}`)
    .join(" ");
  const message = entry.level === "error" || entry.level === "fatal" ? p.bold(entry.message) : entry.message;
  return [
    p.dim(clock(entry.timeUnixMs ?? nowUnixMs)),
    p.cyan(padTo(source, 10)),
    coloured,
    fields === "" ? message : `${message}  ${fields}`,
  ].join(" ");
}

const FIELD_LENGTH = 160;

function field(value: unknown): string {
  let text: string;
  if (typeof value === "string") text = /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
  else if (isError(value)) text = JSON.stringify(value.message);
  else text = JSON.stringify(value) ?? "";
  return text.length > FIELD_LENGTH ? `${text.slice(0, FIELD_LENGTH - 1)}…` : text;
}

function isError(value: unknown): value is { message: string } {
  return typeof value === "object" && value !== null && "message" in value && "stack" in value;
}
