/**
 * Lines to stdout that never wait for their reader. Node writes to pipes and terminals synchronously: a pager that
 * is not scrolled, or Ctrl-S, would stop `baton up`, then its services as soon as their pipes are full, and a
 * primary's death would find nobody awake. So what is not read in time is kept up to a bound, then left out.
 */

const KEPT_BYTES = 4 * 2 ** 20;

interface Stream {
  write(text: string): unknown;
  readonly writableLength: number;
  /** Node's own, where it has one. */
  _handle?: { setBlocking?(blocking: boolean): unknown };
}

export class LineOut {
  readonly #stream: Stream;
  #left = 0;

  constructor(stream: Stream) {
    this.#stream = stream;
    stream._handle?.setBlocking?.(false);
  }

  write(line: string): void {
    if (this.#stream.writableLength > KEPT_BYTES) {
      this.#left += 1;
      return;
    }
    const before = this.#left > 0 ? `… ${this.#left} lines left out: nobody read them in time\n` : "";
    this.#left = 0;
    this.#stream.write(`${before}${line}\n`);
  }
}
