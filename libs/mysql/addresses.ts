/**
 * The addresses of nodes that are declared by name. A resolver that is away says nothing about mysqld: a name's last
 * addresses are kept while this process lives, and taken when the resolver fails or is slow, as if they had been declared.
 */
import { type LookupAddress, type LookupAllOptions, lookup as systemLookup } from "node:dns";
import type { LookupFunction } from "node:net";
import { MysqlFault } from "./fault.ts";

/** Many times what a resolver at work needs, and what a failover may wait for one that hangs. */
const PATIENCE_MS = 250;
/** Far more than anybody declares. The one not asked for the longest is forgotten. */
const MAX_NAMES = 1_000;

type Ask = (
  name: string,
  o: LookupAllOptions,
  done: (error: NodeJS.ErrnoException | null, found: LookupAddress[]) => void,
) => void;

interface Question {
  sinceMs: number;
  answer: Promise<LookupAddress[]>;
}

export class Addresses {
  readonly #ask: Ask;
  readonly #known = new Map<string, LookupAddress[]>();
  /** One question a name, shared: libuv resolves in two of its four threads, and the line before them must not grow. */
  readonly #asked = new Map<string, Question>();

  constructor(ask: Ask = systemLookup) {
    this.#ask = ask;
  }

  /**
   * The `lookup` of a `net.connect` that has `timeoutMs` for everything; an IP literal never comes here. Every call asks the
   * resolver, so that a name that moves is followed. Gives MysqlFault `error` when it fails and nothing is remembered.
   * `onFound` is called before the addresses are tried.
   */
  lookup(timeoutMs: number, onFound?: () => void): LookupFunction {
    const patienceMs = Math.min(PATIENCE_MS, timeoutMs / 4);
    return (name, { hints, all }, done) => {
      const tell = (found: LookupAddress[]) => {
        onFound?.();
        const [first] = found as [LookupAddress];
        if (all) done(null, found);
        else done(null, first.address, first.family);
      };
      this.#find(name, hints, patienceMs).then(tell, (error) => done(error, ""));
    };
  }

  async #find(name: string, hints: number | undefined, patienceMs: number): Promise<LookupAddress[]> {
    const { sinceMs, answer } = this.#question(name, hints);
    const known = this.#known.get(name);
    if (known === undefined) return answer;
    this.#remember(name, known);
    // Counted from the question: only the first who asks a resolver that hangs waits for it.
    const leftMs = sinceMs + patienceMs - performance.now();
    const late = Promise.withResolvers<LookupAddress[]>();
    const timer = setTimeout(late.resolve, Math.max(0, leftMs), known);
    try {
      return await Promise.race([answer.catch(() => known), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #question(name: string, hints: number | undefined): Question {
    const asked = this.#asked.get(name);
    if (asked !== undefined) return asked;
    const { promise, resolve, reject } = Promise.withResolvers<LookupAddress[]>();
    const question = { sinceMs: performance.now(), answer: promise };
    this.#asked.set(name, question);
    this.#ask(name, { all: true, ...(hints === undefined ? {} : { hints }) }, (error, found) => {
      this.#asked.delete(name);
      if (error === null && found.length > 0) {
        this.#remember(name, found);
        resolve(found);
      } else {
        const why = `the name ${name} cannot be resolved (${error?.code ?? "no address"})`;
        reject(new MysqlFault("error", why, { cause: error }));
      }
    });
    return question;
  }

  #remember(name: string, found: LookupAddress[]): void {
    this.#known.delete(name);
    this.#known.set(name, found);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_NAMES) return;
      this.#known.delete(oldest);
    }
  }
}

/** What this process remembers. */
export const addresses = new Addresses();
