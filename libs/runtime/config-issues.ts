/** What zod finds wrong, in words for a person: place, what was found, what to write. Pure. */
import { BatonError, Config } from "@baton/contracts";
import type { z } from "zod";
import type { Path } from "./config-file.ts";
import { nearest } from "./nearest.ts";
import { acceptsText, namesAt, wordsAt } from "./schema-path.ts";

const SECRET = /password|secret|token|key/i;

type Issue = z.core.$ZodIssue;

/** The error for the first issue; the others are counted in it. */
export function configError(
  issues: readonly Issue[],
  values: unknown,
  place: (path: Path) => string,
): BatonError {
  const [first] = issues;
  if (!first) throw new TypeError("no issue");
  const more = issues.length === 1 ? "" : ` (${issues.length - 1} more follow when this is mended.)`;
  const { code, path, message, remedy } = explain(first, values);
  return new BatonError(code, { place: place(path), message, remedy: remedy + more });
}

interface Explained {
  code: "E_CONFIG_UNKNOWN_KEY" | "E_CONFIG_INVALID";
  path: Path;
  message: string;
  remedy: string;
}

function explain(issue: Issue, values: unknown): Explained {
  const invalid = (message: string, remedy: string, path: Path = issue.path): Explained => ({
    code: "E_CONFIG_INVALID",
    path,
    message,
    remedy,
  });
  const found = show(valueAt(values, issue.path), issue.path);

  switch (issue.code) {
    case "unrecognized_keys": {
      const [key = ""] = issue.keys;
      const known = namesAt(Config, issue.path);
      const near = nearest(key, known);
      return {
        code: "E_CONFIG_UNKNOWN_KEY",
        path: [...issue.path, key],
        message: `${key} is not known there.`,
        remedy: near ? `Did you mean ${near}?` : `Known there: ${known.join(", ")}.`,
      };
    }
    case "invalid_key":
      return invalid(
        `the name ${show(issue.path.at(-1), [])} ${plain(issue.issues[0]?.message)}.`,
        "Rename it.",
      );
    case "invalid_type": {
      const value = valueAt(values, issue.path);
      if (value === undefined) return invalid("it is missing.", `Write ${article(issue.expected)}.`);
      const inQuotes = issue.expected === "string" && typeof value !== "object";
      return invalid(
        `${article(issue.expected)} must stand there, and it is ${found}.`,
        inQuotes ? "Write it in quotes." : `Write ${article(issue.expected)}.`,
      );
    }
    case "invalid_value":
    case "invalid_union": {
      const wordPath =
        issue.code === "invalid_union" && issue.discriminator && issue.path.at(-1) !== issue.discriminator
          ? [...issue.path, issue.discriminator]
          : issue.path;
      const words = wordsAt(Config, wordPath);
      const value = valueAt(values, wordPath);
      const near = typeof value === "string" ? nearest(value, words) : null;
      if (words.length > 0) {
        return invalid(
          `it is ${show(value, wordPath)}, and may be ${words.join(", ")}.`,
          near ? `Did you mean ${near}?` : "Write one of them.",
          wordPath,
        );
      }
      const kinds = acceptsText(Config, issue.path) ? "a text or a list of texts" : "something else";
      return invalid(`${kinds} must stand there, and it is ${found}.`, `Write ${kinds}.`);
    }
    case "too_small": {
      const of: Record<string, string> = { string: " characters", array: " entries" };
      const own = issue.message.startsWith("Too small") ? null : plain(issue.message);
      const bound = `${issue.minimum}${of[issue.origin] ?? ""}`;
      return invalid(`it is ${found}, and ${own ?? `must be at least ${bound}`}.`, `Write ${bound} or more.`);
    }
    case "too_big":
      return invalid(
        `it is ${found}, and may be at most ${issue.maximum}.`,
        `Write ${issue.maximum} or less.`,
      );
    default:
      return invalid(`it is ${found}: ${plain(issue.message)}.`, "Mend the value.");
  }
}

function plain(message: string | undefined): string {
  return (message ?? "is not valid").replace(/^Invalid input: /, "").replace(/\.$/, "");
}

function article(type: string): string {
  const names: Record<string, string> = {
    string: "a text",
    number: "a number",
    int: "a whole number",
    boolean: "true or false",
    array: "a list",
    object: "names with values",
    record: "names with values",
  };
  return names[type] ?? `a ${type}`;
}

function valueAt(values: unknown, path: Path): unknown {
  let here = values;
  for (const step of path) here = (here as Record<PropertyKey, unknown> | null | undefined)?.[step];
  return here;
}

function show(value: unknown, path: Path): string {
  if (path.some((step) => SECRET.test(String(step)))) return "something secret";
  if (value === undefined) return "missing";
  if (value === null) return "empty";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
