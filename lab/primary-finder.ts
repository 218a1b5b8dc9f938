import { monotonicMs } from "./monotonic.ts";
import { until } from "./until.ts";
import { type Account, Link, type WriterNode } from "./writer-link.ts";

/** While a primary is looked for, every node is asked this often; one that refuses connections less often. */
const askEveryMs = 5;
const reopenSearchingMs = 25;
const reopenCalmMs = 250;

interface Eye {
  node: WriterNode;
  link: Link | undefined;
  openAtMs: number;
}

/**
 * Looks for a writable node over warm links of its own. A node that was just doubted is taken again only when,
 * after one whole turn, no other node is writable.
 */
export class PrimaryFinder {
  readonly #eyes: Eye[];
  readonly #account: Account;
  readonly #found: (node: WriterNode) => boolean;
  #ticker: NodeJS.Timeout | undefined;
  #searching = false;
  #doubted: WriterNode | undefined;
  #doubtedTurns = 0;
  #closed = false;

  /** `found` returns false to refuse the node: the search then goes on. */
  constructor(nodes: WriterNode[], account: Account, found: (node: WriterNode) => boolean) {
    this.#account = account;
    this.#found = found;
    this.#eyes = nodes.map((node) => ({ node, link: undefined, openAtMs: 0 }));
    this.#schedule();
  }

  /** Starts a search, if none is under way; `doubted` is the node that has just failed. */
  search(doubted: WriterNode | undefined): void {
    if (this.#searching || this.#closed) return;
    this.#searching = true;
    this.#doubted = doubted;
    this.#doubtedTurns = 0;
    this.#schedule();
    this.#turn();
  }

  /** The node that is writable now (`preferred` if several are); undefined when none is within `timeoutMs`. */
  async current(timeoutMs: number, preferred?: WriterNode): Promise<WriterNode | undefined> {
    this.#searching = false;
    this.#schedule();
    const answers = new Map<WriterNode, boolean>();
    const ask = () => {
      for (const eye of this.#eyes) this.#look(eye, (writable) => answers.set(eye.node, writable));
    };
    const writable = async () => {
      ask();
      if (preferred && answers.get(preferred)) return preferred;
      return this.#eyes.find((eye) => answers.get(eye.node))?.node;
    };
    return until(writable, { timeoutMs, everyMs: askEveryMs, onTimeout: () => new Error("none") }).catch(
      () => undefined,
    );
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#ticker);
    for (const eye of this.#eyes) eye.link?.destroy();
  }

  #schedule(): void {
    clearInterval(this.#ticker);
    if (this.#closed) return;
    const everyMs = this.#searching ? askEveryMs : reopenCalmMs;
    this.#ticker = setInterval(() => this.#turn(), everyMs);
    this.#turn();
  }

  #turn(): void {
    const now = monotonicMs();
    for (const eye of this.#eyes) {
      if (!eye.link && now >= eye.openAtMs) eye.link = this.#open(eye);
      if (this.#searching) this.#look(eye, (writable) => this.#consider(eye.node, writable));
    }
  }

  #open(eye: Eye): Link {
    return new Link(eye.node, this.#account, {
      ready: (link) => this.#consider(eye.node, link.writable),
      closed: () => {
        eye.link = undefined;
        eye.openAtMs = monotonicMs() + (this.#searching ? reopenSearchingMs : reopenCalmMs);
      },
    });
  }

  #look(eye: Eye, answer: (writable: boolean) => void): void {
    if (eye.link?.state !== "idle") return;
    eye.link.ask("SELECT @@GLOBAL.read_only AS readOnly", monotonicMs(), (error, rows) =>
      answer(!error && rows[0]?.readOnly === 0),
    );
  }

  #consider(node: WriterNode, writable: boolean): void {
    if (!this.#searching || !writable) return;
    if (node === this.#doubted && this.#doubtedTurns++ === 0) return;
    if (!this.#found(node)) return;
    this.#searching = false;
    this.#schedule();
  }
}
