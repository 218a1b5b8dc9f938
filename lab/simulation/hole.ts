/**
 * The holes of the promises that were once found on real servers, dug again: product code is changed as its text is loaded into the
 * simulation's thread, so that it has no switch for them itself. A text that is no longer there stops the simulation: then the mechanism
 * has moved, and its hole is to be dug where it is now.
 */
import { registerHooks } from "node:module";

export interface Hole {
  readonly what: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export const HOLES = {
  "no-mark": {
    what: "T2, T3: whoever is opened need not hold the high-water mark, nor what others have of its own",
    file: "services/executor/open.ts",
    from: "  if (missed === null) return;",
    to: "  if (missed !== null || missed === null) return;",
  },
} as const satisfies Record<string, Hole>;

export type HoleName = keyof typeof HOLES;

/** Before the text is loaded. @throws Error when loading it, where it is not as the hole expects */
export function dig(name: HoleName): void {
  const { file, from, to }: Hole = HOLES[name];
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context);
      if (!url.endsWith(`/${file}`)) return loaded;
      const text = loaded.source?.toString() ?? "";
      if (!text.includes(from)) throw new Error(`hole ${name}: ${file} has no ${JSON.stringify(from)}`);
      return { ...loaded, source: text.replace(from, () => to) };
    },
  });
}
