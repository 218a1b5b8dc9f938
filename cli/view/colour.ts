/** Colours, and whether to use them. A `Paint` that is off returns its text unchanged, so views need not ask. */
import { styleText } from "node:util";

type Brush = (text: string) => string;
export interface Paint {
  bold: Brush;
  dim: Brush;
  red: Brush;
  green: Brush;
  yellow: Brush;
  blue: Brush;
  cyan: Brush;
  magenta: Brush;
}

const names = ["bold", "dim", "red", "green", "yellow", "blue", "cyan", "magenta"] as const;

export function paint(on: boolean): Paint {
  const brush =
    (name: (typeof names)[number]): Brush =>
    (text) =>
      on && text !== "" ? styleText(name, text, { validateStream: false }) : text;
  return Object.fromEntries(names.map((name) => [name, brush(name)])) as unknown as Paint;
}

/** https://no-color.org: a NO_COLOR that is not empty switches colours off, wherever the output goes. */
export function wantsColour(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR && env.FORCE_COLOR !== "0") return true;
  return stream.isTTY === true && env.TERM !== "dumb";
}
