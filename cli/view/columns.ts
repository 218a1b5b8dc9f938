/** Text in aligned columns. Widths are those of what is seen: colour codes count for nothing. */
import { stripVTControlCharacters } from "node:util";

export function visibleWidth(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}

export function padTo(text: string, width: number, align: "left" | "right" = "left"): string {
  const gap = " ".repeat(Math.max(0, width - visibleWidth(text)));
  return align === "left" ? text + gap : gap + text;
}

/** One line a row, no spaces at the ends of lines. Columns named in `right` are aligned to the right. */
export function columns(
  rows: readonly (readonly string[])[],
  o: { gap?: number; right?: readonly number[]; indent?: number } = {},
): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, visibleWidth(cell));
  }
  const gap = " ".repeat(o.gap ?? 2);
  const indent = " ".repeat(o.indent ?? 0);
  return rows.map((row) => {
    const cells = row.map((cell, i) => padTo(cell, widths[i] ?? 0, o.right?.includes(i) ? "right" : "left"));
    return (indent + cells.join(gap)).trimEnd();
  });
}

/** Cuts a line to what fits, with an ellipsis; colours are kept, and closed at the cut. */
export function cutTo(text: string, width: number): string {
  if (visibleWidth(text) <= width) return text;
  let seen = 0;
  let out = "";
  let coloured = false;
  for (const part of text.split(SEQUENCE)) {
    if (part.startsWith("\u001b[")) {
      out += part;
      coloured = true;
      continue;
    }
    for (const character of part) {
      if (seen === width - 1) return `${out}…${coloured ? "\u001b[0m" : ""}`;
      out += character;
      seen += 1;
    }
  }
  return out;
}

const ESCAPE = "\u001b";
const SEQUENCE = new RegExp(`(${ESCAPE}\\[[0-9;]*m)`);
