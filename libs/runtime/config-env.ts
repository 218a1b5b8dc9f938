/**
 * Configuration from the environment: a few short names, and `BATON__A__B` for any place. `A` and `B` are names of the
 * file in any case, with or without underscores (`BATON__PROBER__CALM_MS`); values are read as YAML scalars
 * where the place does not take text. Pure.
 */
import { BatonError, Config } from "@baton/contracts";
import { parse } from "yaml";
import { nearest } from "./nearest.ts";
import { acceptsText, isRecordAt, namesAt } from "./schema-path.ts";

const SHORT: Record<string, string[]> = {
  BATON_REGION: ["region"],
  BATON_LOG_LEVEL: ["log", "level"],
  BATON_NATS_USER: ["nats", "user"],
  BATON_NATS_PASSWORD: ["nats", "password"],
  BATON_NATS_TOKEN: ["nats", "token"],
  BATON_MYSQL_USER: ["mysql", "user"],
  BATON_MYSQL_PASSWORD: ["mysql", "password"],
  BATON_HTTP_HOST: ["http", "host"],
  BATON_GRPC_HOST: ["grpc", "host"],
};
/** One port for whichever service runs: for a container, which runs one. */
const PORTS: Record<string, string> = { BATON_HTTP_PORT: "http", BATON_GRPC_PORT: "grpc" };

export interface Override {
  variable: string;
  path: string[];
  value: unknown;
}

/** Throws BatonError E_CONFIG_UNKNOWN_KEY for a `BATON__…` that names no place. */
export function overridesFrom(env: NodeJS.ProcessEnv): Override[] {
  const found: Override[] = [];
  for (const [variable, text] of Object.entries(env)) {
    if (text === undefined) continue;
    const short = SHORT[variable];
    const ports = PORTS[variable];
    if (short) found.push({ variable, path: short, value: text });
    else if (variable === "BATON_NATS_URL") {
      const urls = text.split(",").map((u) => u.trim());
      found.push({ variable, path: ["nats", "url"], value: urls.length === 1 ? urls[0] : urls });
    } else if (ports) {
      for (const service of namesAt(Config, [ports, "ports"])) {
        found.push({ variable, path: [ports, "ports", service], value: scalar(text) });
      }
    } else if (variable.startsWith("BATON__")) {
      const path = pathOf(variable);
      found.push({ variable, path, value: acceptsText(Config, path) ? text : scalar(text) });
    }
  }
  return found;
}

function scalar(text: string): unknown {
  try {
    return parse(text);
  } catch {
    return text;
  }
}

function pathOf(variable: string): string[] {
  const path: string[] = [];
  for (const step of variable.slice("BATON__".length).split("__")) {
    const plain = step.toLowerCase();
    const known = namesAt(Config, path);
    const match = known.find((k) => k.toLowerCase() === plain.replaceAll("_", ""));
    if (match !== undefined) path.push(match);
    else if (isRecordAt(Config, path)) path.push(plain.replaceAll("_", "-"));
    else {
      const near = nearest(plain, known);
      throw new BatonError("E_CONFIG_UNKNOWN_KEY", {
        place: `environment variable ${variable}`,
        message: `${[...path, plain].join(".")} is not known.`,
        remedy: near
          ? `Did you mean ${near}?`
          : known.length > 0
            ? `Known there: ${known.join(", ")}.`
            : "Nothing stands below it.",
      });
    }
  }
  return path;
}

/** Lays the overrides over the file's values; lists are replaced, not merged. */
export function applyOverrides(values: Record<string, unknown>, overrides: readonly Override[]): void {
  for (const { path, value } of overrides) {
    let here = values;
    for (const step of path.slice(0, -1)) {
      const next = here[step];
      if (next === null || typeof next !== "object" || Array.isArray(next)) here[step] = {};
      here = here[step] as Record<string, unknown>;
    }
    here[path.at(-1) as string] = value;
  }
}
