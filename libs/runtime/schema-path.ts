/** Walking a zod schema by path: which names are known at a place, and what a value there may be. Pure. */
import type { z } from "zod";

interface Def {
  type: string;
  innerType?: z.ZodType;
  shape?: Record<string, z.ZodType>;
  valueType?: z.ZodType;
  element?: z.ZodType;
  options?: z.ZodType[];
  entries?: Record<string, string>;
  values?: unknown[];
}

function defOf(schema: z.ZodType): Def {
  return schema.def as unknown as Def;
}

/** Without optional, default, prefault, nullable around it. */
function bare(schema: z.ZodType): z.ZodType {
  const { innerType } = defOf(schema);
  return innerType ? bare(innerType) : schema;
}

/** All schemas that a value at `path` may have; several where a union is on the way, none where nothing is known. */
export function schemasAt(root: z.ZodType, path: readonly PropertyKey[]): z.ZodType[] {
  let here = alternatives(root);
  for (const step of path) here = here.flatMap((s) => child(s, step)).flatMap(alternatives);
  return here;
}

function alternatives(schema: z.ZodType): z.ZodType[] {
  const s = bare(schema);
  const { type, options } = defOf(s);
  return type === "union" && options ? options.flatMap(alternatives) : [s];
}

function child(schema: z.ZodType, step: PropertyKey): z.ZodType[] {
  const def = defOf(schema);
  const found =
    def.type === "object"
      ? def.shape?.[String(step)]
      : def.type === "record"
        ? def.valueType
        : def.type === "array"
          ? def.element
          : undefined;
  return found ? [found] : [];
}

/** The names that an object at `path` may have; empty where any name may stand, or none. */
export function namesAt(root: z.ZodType, path: readonly PropertyKey[]): string[] {
  return [...new Set(schemasAt(root, path).flatMap((s) => Object.keys(defOf(s).shape ?? {})))];
}

/** Whether any name may stand at `path`, as for clusters and nodes. */
export function isRecordAt(root: z.ZodType, path: readonly PropertyKey[]): boolean {
  return schemasAt(root, path).some((s) => defOf(s).type === "record");
}

export function acceptsText(root: z.ZodType, path: readonly PropertyKey[]): boolean {
  return schemasAt(root, path).some((s) => defOf(s).type === "string");
}

/** The fixed words that a value at `path` may be. */
export function wordsAt(root: z.ZodType, path: readonly PropertyKey[]): string[] {
  return schemasAt(root, path).flatMap((s) => {
    const def = defOf(s);
    if (def.type === "enum") return Object.values(def.entries ?? {});
    return def.type === "literal" ? (def.values ?? []).map(String) : [];
  });
}
