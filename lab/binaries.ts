import { execFile } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";
import { LabError } from "./lab-error.ts";

const run = promisify(execFile);

/** The repository that this lab is part of; its `.toolchain` holds fetched binaries and the template. */
export const repository = resolve(import.meta.dirname, "..");

export type Binary = "mysqld" | "mariadbd" | "nats-server";

const variables: Record<Binary, string> = {
  mysqld: "BATON_MYSQLD",
  mariadbd: "BATON_MARIADBD",
  "nats-server": "BATON_NATS_SERVER",
};
const folders: Record<Binary, string[]> = {
  mysqld: ["/usr/sbin", "/usr/local/sbin"],
  mariadbd: ["/usr/sbin", "/usr/local/sbin"],
  "nats-server": [],
};

/** Absolute path of a server binary: the environment first, then PATH, then what the launcher has fetched. */
export function findBinary(binary: Binary, environment: NodeJS.ProcessEnv = process.env): string {
  const named = environment[variables[binary]];
  if (named) {
    if (executable(named)) return resolve(named);
    throw new LabError("binary-missing", {
      found: `${variables[binary]}=${named}, which is not an executable file`,
      expected: `the path of a ${binary}`,
      remedy: `unset ${variables[binary]} or point it at a ${binary}`,
    });
  }
  const path = (environment.PATH ?? "").split(delimiter).filter(Boolean);
  const fetched = join(".toolchain", binary === "mariadbd" ? "mariadb" : "mysql", "bin");
  const places = [...path, ...folders[binary], join(repository, fetched)];
  for (const place of places) if (executable(join(place, binary))) return join(place, binary);
  throw new LabError("binary-missing", {
    found: `no ${binary} in PATH nor in ${fetched}`,
    expected: `a ${binary}`,
    remedy: `run ./baton toolchain once to fetch it, or set ${variables[binary]}`,
  });
}

export async function mysqldVersion(mysqld: string): Promise<string> {
  const { stdout } = await run(mysqld, ["--no-defaults", "--version"], { timeout: 10_000 });
  return stdout.trim();
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
