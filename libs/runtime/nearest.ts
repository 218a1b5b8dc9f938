/** "Did you mean?" */
import { closest, distance } from "fastest-levenshtein";

/** The known word nearest to what was written, if it is near enough to be a slip of the finger. */
export function nearest(written: string, known: readonly string[]): string | null {
  if (known.length === 0) return null;
  const plain = (s: string): string => s.toLowerCase().replace(/[-_ ]/g, "");
  const same = known.find((k) => plain(k) === plain(written));
  if (same !== undefined) return same;
  const near = closest(written, known);
  return distance(written, near) <= Math.max(2, Math.floor(written.length / 3)) ? near : null;
}
