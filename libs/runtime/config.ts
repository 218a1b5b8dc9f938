/** The configuration: one YAML file and the environment, checked as a whole before anything starts. */
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { Config, type MysqlAccess } from "@baton/contracts";
import { checkConfig } from "./config-checks.ts";
import { applyOverrides, overridesFrom } from "./config-env.ts";
import { type ConfigFile, type Path, parseConfig, readConfigFile } from "./config-file.ts";
import { configError } from "./config-issues.ts";
import { resolveSecrets } from "./config-secrets.ts";

const DEFAULT_FILE = "baton.yaml";

/**
 * `file`, else BATON_CONFIG, else `baton.yaml` if there is one, else defaults; then the environment over it. File names
 * in it become absolute, from the file's folder. Throws BatonError, exit code 2, with the place and the remedy.
 */
export function loadConfig(o: { file?: string | undefined; env?: NodeJS.ProcessEnv | undefined } = {}): {
  config: Config;
  file: string | null;
} {
  const env = o.env ?? process.env;
  const named = o.file ?? env.BATON_CONFIG;
  const file = named ?? (existsSync(DEFAULT_FILE) ? DEFAULT_FILE : null);
  const source: ConfigFile = file === null ? parseConfig("", "defaults") : readConfigFile(file);
  const folder = file === null ? process.cwd() : dirname(resolve(file));

  const overrides = overridesFrom(env);
  // A section that is named and left empty is one without settings.
  const values = Object.fromEntries(Object.entries(source.values).filter(([, value]) => value !== null));
  applyOverrides(values, overrides);
  const place = (path: Path): string => {
    const dotted = path.map(String).join(".");
    const from = overrides.findLast(
      (x) => dotted === x.path.join(".") || dotted.startsWith(`${x.path.join(".")}.`),
    );
    return from ? `environment variable ${from.variable} ${dotted}` : source.place(path);
  };

  const plain = resolveSecrets(values, { folder, env, place });
  const checked = Config.safeParse(plain);
  if (!checked.success) throw configError(checked.error.issues, plain, place);
  const config = checked.data;
  checkConfig(config, place);
  config.nats.store = resolve(folder, config.nats.store);
  config.auditor.file = resolve(folder, config.auditor.file);
  return { config, file: file === null ? null : resolve(file) };
}

/** The account for a cluster's nodes: its own, else the common one. */
export function accessTo(config: Config, cluster: string): MysqlAccess {
  return config.clusters[cluster]?.mysql ?? config.mysql;
}
