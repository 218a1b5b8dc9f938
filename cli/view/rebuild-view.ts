/** The pictures of `baton rebuild`: the copy as it goes, and the other facts of the story. Pure. */
import type { Event } from "@baton/contracts";
import { duration } from "./amounts.ts";
import type { Paint } from "./colour.ts";

const BAR = 30;
const UNITS = ["B", "KB", "MB", "GB", "TB"];

/** `75.7 MB`: powers of a thousand, as disks are sold. */
export function bytes(n: number): string {
  let value = n;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** `  file copy  ███████░░░  61%  46.2 MB of 75.7 MB  120 MB/s  about 3.20 s left` */
export function progressLine(event: Event, p: Paint): string {
  const { stage, copiedBytes, totalBytes, bytesPerS, leftMs } = event.detail;
  const total = Number(totalBytes ?? 0);
  const copied = Number(copiedBytes ?? 0);
  if (total === 0)
    return `  ${p.cyan(String(stage || "waiting"))}  ${event.summary}${event.next === null ? "" : `; ${p.bold(event.next)}`}`;
  const share = Math.min(1, copied / total);
  const full = Math.round(share * BAR);
  const parts = [
    p.cyan(String(stage || "waiting")),
    p.green("█".repeat(full)) + p.dim("░".repeat(BAR - full)),
    `${Math.floor(share * 100)}%`,
    `${bytes(copied)} of ${bytes(total)}`,
    Number(bytesPerS) > 0 ? `${bytes(Number(bytesPerS))}/s` : "",
    leftMs == null ? "" : p.dim(`about ${duration(Number(leftMs))} left`),
  ];
  return `  ${parts.filter(Boolean).join("  ")}`;
}

export function endingLine(ended: Event, p: Paint): string {
  if (ended.outcome === "completed")
    return `${p.green("✔")} ${ended.node} is rebuilt, follows and acknowledges`;
  const next = ended.next === null ? "" : `  next: ${ended.next}`;
  return `${p.red("✖")} ${ended.code ?? ended.outcome}  ${ended.summary}${next}`;
}
