import { expect, test } from "vitest";
import { clock } from "./amounts.ts";
import { paint } from "./colour.ts";
import { logLine, parseLogLine, parseNatsLine } from "./log-line.ts";

const plain = paint(false);
const at = Date.UTC(2026, 9, 30, 12, 0, 0, 123);
const show = (line: string) => logLine("decider-1", parseLogLine(line)!, 0, plain);

test("a pino line: time, who, level, message, and the fields that say something", () => {
  const line = JSON.stringify({
    level: "warn",
    time: new Date(at).toISOString(),
    service: "decider",
    instance: "decider-1",
    region: "eu",
    pid: 7,
    cluster: "shop",
    text: "two words",
    none: null,
    ms: 1.5,
    msg: "primary-dead",
  });
  expect(show(line)).toBe(`${clock(at)} decider-1  warn  primary-dead  cluster=shop text="two words" ms=1.5`);
});

test("numeric levels and times, as pino writes by default", () => {
  expect(parseLogLine(`{"level":50,"time":${at},"msg":"x"}`)).toEqual({
    level: "error",
    timeUnixMs: at,
    message: "x",
    fields: {},
  });
});

test("what the message says already is not said again", () => {
  expect(show('{"level":"fatal","code":"E_STORE","msg":"E_STORE at x: y"}')).toMatch(
    /fatal E_STORE at x: y$/,
  );
});

test("errors are told by their message, long fields are cut", () => {
  expect(show('{"level":"error","err":{"message":"no","stack":"…"},"msg":"m"}')).toMatch(/ err="no"$/);
  expect(show(`{"level":"info","long":"${"a".repeat(500)}","msg":"m"}`).length).toBeLessThan(220);
});

test("what is no log line is none", () => {
  expect(parseLogLine("Error: boom")).toBe(null);
  expect(parseLogLine("{not json")).toBe(null);
});

test("nats-server's own lines", () => {
  expect(parseNatsLine("[12] [ERR] address already in use")).toMatchObject({
    level: "error",
    message: "address already in use",
  });
  expect(parseNatsLine("[12] [INF] Server is ready")).toMatchObject({ level: "debug" });
  expect(parseNatsLine("nats-server: unknown flag")).toMatchObject({
    level: "info",
    message: "nats-server: unknown flag",
  });
});
