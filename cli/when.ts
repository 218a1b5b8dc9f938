/** Times as people type them: `2h`, `22:30`, `2026-11-24T22:30`, `2026-11-24T22:30+01:00`. Pure; the time is an argument. */
import { InvalidArgumentError } from "commander";

const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `90s`, `30m`, `2h`, `1h30m`, `1d` → milliseconds. @throws InvalidArgumentError */
export function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+)([smhd])/g)];
  const ms = parts.reduce((sum, [, n, unit]) => sum + Number(n) * UNIT_MS[unit as keyof typeof UNIT_MS], 0);
  if (parts.map(([part]) => part).join("") !== text || ms === 0)
    throw new InvalidArgumentError("It must be a time like 90s, 30m, 2h, 1h30m or 1d.");
  return ms;
}

/**
 * `HH:MM` is the next such moment of this machine's day; a date without a zone is of this machine's zone. The caller says back which
 * moment was understood. @throws InvalidArgumentError
 */
export function parseMoment(text: string, nowUnixMs: number): number {
  const clock = /^(\d{1,2}):(\d{2})$/.exec(text);
  if (clock !== null) {
    const [hour, minute] = [Number(clock[1]), Number(clock[2])];
    const at = new Date(nowUnixMs);
    at.setHours(hour, minute, 0, 0);
    if (hour < 24 && minute < 60) {
      if (at.getTime() <= nowUnixMs) at.setDate(at.getDate() + 1);
      return at.getTime();
    }
  }
  const full = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:?\d{2})?$/.test(text);
  const at = full ? Date.parse(text.replace(" ", "T")) : Number.NaN;
  if (Number.isNaN(at))
    throw new InvalidArgumentError(
      "It must be HH:MM, or a date like 2026-11-24T22:30 or 2026-11-24T22:30+01:00.",
    );
  return at;
}

/** `Tue 2026-11-24 22:30:00 +01:00 (2026-11-24 21:30:00 UTC)`: the moment in this machine's zone, with the zone, and in everybody's. */
export function sayMoment(unixMs: number): string {
  const d = new Date(unixMs);
  const two = (n: number) => String(n).padStart(2, "0");
  const east = -d.getTimezoneOffset();
  const zone = `${east < 0 ? "-" : "+"}${two(Math.floor(Math.abs(east) / 60))}:${two(Math.abs(east) % 60)}`;
  const day = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][d.getDay()];
  const date = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  const utc = new Date(unixMs).toISOString().slice(0, 19).replace("T", " ");
  return `${day} ${date} ${time} ${zone}${east === 0 ? "" : ` (${utc} UTC)`}`;
}
