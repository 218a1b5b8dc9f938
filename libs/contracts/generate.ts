/**
 * Writes what is made from the contracts: `docs/schemas/*.json`, `docs/asyncapi.json`, `docs/subjects.md`.
 * `node libs/contracts/generate.ts` writes; with `--check` it only compares and exits 1 naming what differs.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { asyncApiDocument } from "./generate/asyncapi.ts";
import { publishedSchemas, schemaDocument } from "./generate/schemas.ts";
import { subjectsPage } from "./generate/tables.ts";

export const DOCS = fileURLToPath(new URL("../../docs", import.meta.url));
const SCHEMAS = "schemas";

/** File name under docs/ → content. The same input gives the same bytes. */
export function generate(): Map<string, string> {
  const { version } = JSON.parse(readFileSync(new URL("./package.json", import.meta.url), "utf8"));
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  const files = new Map<string, string>();
  for (const s of publishedSchemas()) files.set(`${SCHEMAS}/${s.name}.json`, json(schemaDocument(s)));
  files.set("asyncapi.json", json(asyncApiDocument(version)));
  files.set("subjects.md", subjectsPage());
  return files;
}

function present(docs: string, file: string): string | null {
  try {
    return readFileSync(join(docs, file), "utf8");
  } catch {
    return null;
  }
}

function leftovers(docs: string, files: Map<string, string>): string[] {
  let names: string[] = [];
  try {
    names = readdirSync(join(docs, SCHEMAS));
  } catch {
    // No folder: nothing is left over.
  }
  return names.map((n) => `${SCHEMAS}/${n}`).filter((f) => !files.has(f));
}

/** The files under `docs` that are missing, different, or no longer made from anything. */
export function differing(docs: string, files = generate()): string[] {
  const changed = [...files].filter(([file, text]) => present(docs, file) !== text).map(([file]) => file);
  return [...changed, ...leftovers(docs, files)].sort();
}

/** Writes what differs and removes schemas that are no longer made; returns those files. */
export function write(docs: string, files = generate()): string[] {
  const changed = differing(docs, files);
  for (const file of changed) {
    const path = join(docs, file);
    const text = files.get(file);
    if (text === undefined) {
      rmSync(path);
      continue;
    }
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  return changed;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--check")) {
    const changed = differing(DOCS);
    for (const file of changed) process.stdout.write(`docs/${file} differs\n`);
    if (changed.length > 0) process.stdout.write("Run `node libs/contracts/generate.ts` and commit.\n");
    process.exitCode = changed.length > 0 ? 1 : 0;
  } else {
    for (const file of write(DOCS)) process.stdout.write(`docs/${file}\n`);
  }
}
