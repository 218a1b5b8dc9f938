import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { templateSql } from "./accounts.ts";
import { findBinary, mysqldVersion, repository } from "./binaries.ts";
import { type LabFlavour, labFlavour } from "./flavour.ts";
import { LabError } from "./lab-error.ts";
import { rootOption, storageOptions } from "./mysqld-options.ts";

const run = promisify(execFile);
const makeTimeoutMs = 120_000;
/** Templates of other versions and recipes go when a new one is made, unless a lab may still reseed from them. */
const keptMs = 24 * 3_600_000;

/**
 * An initialised data directory with all accounts and an empty history, made once for a mysqld version and recipe.
 * Many labs may ask at once: one makes it, the others wait.
 */
export async function template(
  flavour: LabFlavour,
  mysqld: string,
  onProgress: (line: string) => void,
): Promise<string> {
  const recipe = JSON.stringify([await mysqldVersion(mysqld), flavour.recipe]);
  const hash = createHash("sha256").update(recipe).digest("hex").slice(0, 12);
  const path = join(repository, ".toolchain/lab", `template-${hash}`);
  if (existsSync(path)) return path;
  const release = await takeLock(`baton-lab-${path}`);
  try {
    if (!existsSync(path)) {
      onProgress("making the template data directory, once");
      await make(flavour, mysqld, path);
    }
  } finally {
    release();
  }
  return path;
}

/** Makes the template now, if it is not there, so that labs to come find it. Errors: as startLab's. */
export async function prepareTemplate(onProgress: (line: string) => void): Promise<void> {
  const flavour = labFlavour("mysql");
  await template(flavour, findBinary(flavour.binary), onProgress);
}

async function make(flavour: LabFlavour, mysqld: string, path: string): Promise<void> {
  const folder = join(path, "..");
  await mkdir(folder, { recursive: true });
  for (const name of await readdir(folder)) {
    const old =
      name.startsWith("template-") && Date.now() - (await stat(join(folder, name))).ctimeMs > keptMs;
    if (old || (name.startsWith("making-") && !isRunning(Number(name.slice("making-".length)))))
      await rm(join(folder, name), { recursive: true, force: true });
  }
  const workplace = join(folder, `making-${process.pid}`);
  const data = join(workplace, "data");
  try {
    await mkdir(workplace);
    await flavour.initialise(mysqld, workplace, data);
    await rename(data, path);
  } catch (error) {
    if (existsSync(path)) return;
    const log = await readFile(join(workplace, "log"), "utf8").catch(() => "no log");
    throw new LabError("template-failed", {
      found: `${flavour.binary} could not make a data directory; the end of its log:\n${log.split("\n").slice(-12).join("\n")}`,
      expected: `an initialised data directory at ${path}`,
      remedy: "free some disk space or mend the server's installation, and try again",
      cause: error,
    });
  } finally {
    await rm(workplace, { recursive: true, force: true });
  }
}

/** Another flavour's template may be in the making at this moment. */
function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** MySQL's. */
export async function initialise(mysqld: string, workplace: string, data: string): Promise<void> {
  await writeFile(join(workplace, "accounts.sql"), templateSql);
  // The accounts are made inside the initialisation itself, with no binary log: so the history starts empty.
  const options = [
    ...["--no-defaults", ...rootOption(), "--initialize-insecure", `--datadir=${data}`, ...storageOptions],
    ...["--skip-log-bin", "--performance-schema=OFF", "--secure-file-priv=NULL", `--tmpdir=${workplace}`],
    ...[`--init-file=${join(workplace, "accounts.sql")}`, `--log-error=${join(workplace, "log")}`],
  ];
  await run(mysqld, options, { timeout: makeTimeoutMs, killSignal: "SIGKILL" });
  // Each server makes its own UUID.
  await rm(join(data, "auto.cnf"), { force: true });
}

/** A lock that the kernel frees when its holder dies: a listener on an abstract socket. Returns its release. */
function takeLock(name: string): Promise<() => void> {
  const address = `\0${createHash("sha256").update(name).digest("hex")}`;
  return new Promise((done, fail) => {
    const attempt = () => {
      const waiters = new Set<Socket>();
      const server = createServer((waiter) => {
        waiters.add(waiter);
        waiter.on("error", () => undefined);
      });
      server.once("error", (error: NodeJS.ErrnoException) => {
        if (error.code !== "EADDRINUSE") return fail(error);
        const holder = connect(address);
        holder.once("error", () => undefined);
        holder.once("close", () => setTimeout(attempt, 10));
      });
      server.listen(address, () =>
        done(() => {
          server.close();
          for (const waiter of waiters) waiter.destroy();
        }),
      );
    };
    attempt();
  });
}
