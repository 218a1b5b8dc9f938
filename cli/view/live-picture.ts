/** Lines that are drawn again in their own place on a terminal. */
import { cutTo } from "./columns.ts";

const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
const CLEAR_LINE = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";

interface Screen {
  columns?: number;
  rows?: number;
  write(text: string): unknown;
}

export class LivePicture {
  readonly #screen: Screen;
  #drawn = 0;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  /** In one write, so that no half picture is seen. What does not fit the screen is cut at the top. */
  show(lines: readonly string[]): void {
    // Some pseudo-terminals say that they are 0 wide.
    const width = this.#screen.columns || 100;
    const fitting = lines.slice(-Math.max(1, (this.#screen.rows || 50) - 1));
    const up = this.#drawn > 0 ? `\u001b[${this.#drawn}A\r` : HIDE_CURSOR;
    const body = fitting.map((line) => `${cutTo(line, width)}${CLEAR_LINE}\n`).join("");
    this.#screen.write(up + body + CLEAR_BELOW);
    this.#drawn = fitting.length;
  }

  /** Leaves the last picture standing; what is written next comes below it. */
  end(): void {
    if (this.#drawn > 0) this.#screen.write(SHOW_CURSOR);
    this.#drawn = 0;
  }
}
