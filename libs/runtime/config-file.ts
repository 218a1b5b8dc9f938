/** The YAML file: read, parsed, and able to say in which line and column anything stands. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { BatonError } from "@baton/contracts";
import { isMap, isScalar, isSeq, LineCounter, type Pair, parseDocument } from "yaml";

const MOST_BYTES = 4 * 2 ** 20;

export type Path = readonly PropertyKey[];

export interface ConfigFile {
  /** What stands in the file, as plain values; `{}` for an empty one. */
  values: Record<string, unknown>;
  /** `baton.yaml:12:5 clusters.shop.nodes.n1.port`; the nearest place that stands in the file. */
  place(path: Path): string;
}

/** Throws BatonError E_CONFIG_NOT_FOUND, E_CONFIG_SYNTAX, E_CONFIG_DUPLICATE_NODE. */
export function readConfigFile(file: string): ConfigFile {
  return parseConfig(readText(file), basename(file));
}

function readText(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new BatonError("E_CONFIG_NOT_FOUND", {
      place: file,
      message: code === "ENOENT" ? "there is no such file." : `it cannot be read (${code}).`,
      remedy: "Give the configuration's path with -c FILE.",
      cause,
    });
  }
  if (text.length <= MOST_BYTES) return text;
  throw new BatonError("E_CONFIG_SYNTAX", {
    place: file,
    message: `it has ${text.length} characters, and may have ${MOST_BYTES}.`,
    remedy: "Give Baton's own configuration file.",
  });
}

/** `name` is what the file is called in messages. */
export function parseConfig(text: string, name: string): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: false, prettyErrors: false });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  const [error] = document.errors;
  if (error) {
    throw new BatonError("E_CONFIG_SYNTAX", {
      place: at(error.pos[0]),
      message: `this is not YAML: ${error.message}.`,
      remedy: "Mend the line; indent with spaces only.",
    });
  }
  const root = document.contents;
  if (root !== null && !isMap(root) && !(isScalar(root) && root.value === null)) {
    throw new BatonError("E_CONFIG_SYNTAX", {
      place: at(0),
      message: "the file must hold names with values, as `nats:`.",
      remedy: "See deploy/ for an example.",
    });
  }
  if (isMap(root)) refuseDuplicates(root, [], at);

  let values: unknown;
  try {
    values = document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw new BatonError("E_CONFIG_SYNTAX", {
      place: name,
      message: `its aliases cannot be followed: ${cause instanceof Error ? cause.message : cause}.`,
      remedy: "Write the values out.",
      cause,
    });
  }
  return {
    values: (values ?? {}) as Record<string, unknown>,
    place(path) {
      const dotted = path.map(String).join(".");
      const offset = isMap(root) ? offsetOf(root, path) : null;
      const where = offset === null ? name : at(offset);
      return dotted === "" ? where : `${where} ${dotted}`;
    },
  };
}

function keyOf(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
}

function startOf(node: unknown): number | null {
  return (node as { range?: [number, number, number] | null } | null)?.range?.[0] ?? null;
}

function refuseDuplicates(node: unknown, path: string[], at: (offset: number) => string): void {
  if (isSeq(node)) {
    node.items.forEach((item, i) => {
      refuseDuplicates(item, [...path, String(i)], at);
    });
  }
  if (!isMap(node)) return;
  const first = new Map<string, Pair>();
  for (const pair of node.items) {
    const key = keyOf(pair);
    const here = [...path, key];
    const before = first.get(key);
    if (before) {
      const isNode = path.length === 3 && path[0] === "clusters" && path[2] === "nodes";
      throw new BatonError(isNode ? "E_CONFIG_DUPLICATE_NODE" : "E_CONFIG_SYNTAX", {
        place: `${at(startOf(pair.key) ?? 0)} ${here.join(".")}`,
        message: `${isNode ? "the node" : "the name"} ${key} stands there twice; first at ${at(startOf(before.key) ?? 0)}.`,
        remedy: isNode ? "Give each node a name of its own." : "Keep one of them.",
      });
    }
    first.set(key, pair);
    refuseDuplicates(pair.value, here, at);
  }
}

/** Where the last step of the path that exists begins: the key for a named value, else the item. */
function offsetOf(root: unknown, path: Path): number | null {
  let node: unknown = root;
  let offset: number | null = null;
  for (const step of path) {
    if (isMap(node)) {
      const pair: Pair | undefined = node.items.find((p) => keyOf(p) === String(step));
      if (!pair) break;
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = startOf(node) ?? offset;
    } else break;
  }
  return offset;
}
