/** Baton's own version, from the root package. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export function batonVersion(): string {
  const text = readFileSync(join(import.meta.dirname, "../package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
