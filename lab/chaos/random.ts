/** Numbers that a seed decides, and nothing else: the same on every machine and in every run. */

/** Returns a source of numbers in [0, 1). Each word of `seeds` makes another sequence. */
export function random(...seeds: readonly number[]): () => number {
  let state = 0x9e3779b9;
  for (const seed of seeds) state = mix(state ^ mix(seed >>> 0));
  // mulberry32: 32 bits of state are plenty for a few dozen draws a round.
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One of the items; `drawn` in [0, 1). Throws when there is none. */
export function pick<T>(items: readonly T[], drawn: number): T {
  const item = items[Math.min(items.length - 1, Math.floor(drawn * items.length))];
  if (item === undefined) throw new Error("nothing to pick from");
  return item;
}

/** The same for items that are drawn more often, or less, than others: `weight` is 1 where nothing is said. */
export function pickWeighted<T extends { weight?: number }>(items: readonly T[], drawn: number): T {
  const weightOf = ({ weight }: T) => weight ?? 1;
  let left = drawn * items.reduce((sum, item) => sum + weightOf(item), 0);
  const found = items.find((item) => {
    left -= weightOf(item);
    return left < 0;
  });
  return found ?? pick(items, drawn);
}

function mix(word: number): number {
  let h = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
