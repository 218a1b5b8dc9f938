/** The configuration that a command was given, or the error that says what is wrong with it. */
import { resolve } from "node:path";
import { BatonError, type Config } from "@baton/contracts";
import { loadConfig } from "@baton/runtime";

/** -c, else BATON_CONFIG (commander reads it), else baton.yaml. Throws E_CONFIG_… */
export function configFile(option: string | undefined): { config: Config; file: string } {
  const { config, file } = loadConfig({ file: resolve(option ?? "baton.yaml"), env: process.env });
  return { config, file: file ?? resolve(option ?? "baton.yaml") };
}

/** For commands that are about clusters: a configuration without any is a mistake. */
export function withClusters(config: Config, file: string): Config {
  if (Object.keys(config.clusters).length > 0) return config;
  throw new BatonError("E_CONFIG_INVALID", {
    place: `${file} clusters`,
    message: "No cluster is declared.",
    remedy: "Name at least one: clusters: {shop: {nodes: {n1: {host: …}, n2: {host: …}}}}.",
  });
}
