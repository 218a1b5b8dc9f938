/** `${file:/run/secrets/x}` and `${env:NAME}` inside any text; `$${` stands for `${` itself. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { BatonError } from "@baton/contracts";
import type { Path } from "./config-file.ts";

const REFERENCE = /\$\$\{|\$\{(file|env):([^}]*)\}/g;

/** A copy with all references replaced. Throws BatonError E_CONFIG_SECRET, never showing a secret. */
export function resolveSecrets(
  value: unknown,
  o: { folder: string; env: NodeJS.ProcessEnv; place: (path: Path) => string },
  path: Path = [],
): unknown {
  if (typeof value === "string") {
    return value.replace(REFERENCE, (whole, kind?: string, name?: string) => {
      if (kind === undefined) return whole.slice(1);
      const target = (name ?? "").trim();
      return kind === "file" ? fromFile(target, path, o) : fromEnv(target, path, o);
    });
  }
  if (Array.isArray(value)) return value.map((v, i) => resolveSecrets(v, o, [...path, i]));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolveSecrets(v, o, [...path, k])]));
}

function fromFile(name: string, path: Path, o: { folder: string; place: (path: Path) => string }): string {
  const file = resolve(o.folder, name);
  try {
    // Editors and `kubectl create secret` leave a newline at the end.
    return readFileSync(file, "utf8").replace(/\r?\n$/, "");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new BatonError("E_CONFIG_SECRET", {
      place: o.place(path),
      message: code === "ENOENT" ? `there is no file ${file}.` : `the file ${file} cannot be read (${code}).`,
      remedy: "Create it, readable by Baton's user, with the secret as its only line.",
      cause,
    });
  }
}

function fromEnv(
  name: string,
  path: Path,
  o: { env: NodeJS.ProcessEnv; place: (path: Path) => string },
): string {
  const value = o.env[name];
  if (value !== undefined) return value;
  throw new BatonError("E_CONFIG_SECRET", {
    place: o.place(path),
    message: `the environment variable ${name} is not set.`,
    remedy: `Set ${name} where Baton is started.`,
  });
}
