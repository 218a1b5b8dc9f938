import { afterEach, describe, expect, it } from "vitest";
import { parseDuration, parseMoment, sayMoment } from "./when.ts";

const zone = process.env.TZ;
afterEach(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

describe("a duration", () => {
  it.each([
    ["90s", 90_000],
    ["30m", 1_800_000],
    ["1h30m", 5_400_000],
    ["2d", 172_800_000],
  ])("%s", (text, ms) => expect(parseDuration(text)).toBe(ms));

  it.each(["", "2", "h", "2 h", "-2h", "2w", "0m", "2h!"])("not %j", (text) =>
    expect(() => parseDuration(text)).toThrow("It must be a time like"),
  );
});

describe("a moment", () => {
  const now = Date.UTC(2026, 10, 24, 20, 0, 0);

  it("HH:MM is the next such moment of this machine's day, and is said back with its zone", () => {
    process.env.TZ = "Europe/Berlin";
    expect(sayMoment(parseMoment("22:30", now))).toBe(
      "Tue 2026-11-24 22:30:00 +01:00 (2026-11-24 21:30:00 UTC)",
    );
    expect(sayMoment(parseMoment("20:59", now))).toBe(
      "Wed 2026-11-25 20:59:00 +01:00 (2026-11-25 19:59:00 UTC)",
    );
  });

  it("a date has the zone that it names, or this machine's", () => {
    process.env.TZ = "America/New_York";
    expect(parseMoment("2026-11-24T22:30Z", now)).toBe(Date.UTC(2026, 10, 24, 22, 30));
    expect(parseMoment("2026-11-24 22:30+01:00", now)).toBe(Date.UTC(2026, 10, 24, 21, 30));
    expect(parseMoment("2026-11-24T22:30", now)).toBe(Date.UTC(2026, 10, 25, 3, 30));
    process.env.TZ = "UTC";
    expect(sayMoment(parseMoment("2026-11-24T22:30:05", now))).toBe("Tue 2026-11-24 22:30:05 +00:00");
  });

  it.each(["25:00", "12:60", "tomorrow", "2026-11-24", "2026-13-01T10:00", "22.30"])("not %j", (text) =>
    expect(() => parseMoment(text, now)).toThrow("It must be HH:MM"),
  );
});
