/**
 * What an errant node holds and the history has not, read out of its binlog before its data go: the GTIDs always, and the
 * decoded rows where a mysqlbinlog is found. It reads over the network as a replica does, so no shell on the host is needed. Its beginning goes
 * into the event, all of it, packed, into parts that are kept in JetStream; what does not fit there is said, and then nothing is erased unasked.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { createGzip } from "node:zlib";
import type { MysqlAccess } from "@baton/contracts";
import { GtidSet, type Target } from "@baton/mysql";
import { findClient } from "./client-program.ts";
import type { Hand } from "./hand.ts";

export interface Salvaged {
  /** What `mysqlbinlog --verbose` shows of the transactions; null when it could not be run to its end or at all. */
  events: string | null;
  /** `events` is only the beginning. */
  truncated: boolean;
  /** Parts that were kept beside the event, with all of it; 0 where the event has it all. */
  parts: number;
  /** Why there is less than everything; null when there is everything. */
  lacking: string | null;
}

/** Keeps one part; `last` knows that there is no other. */
export type KeepPart = (part: number, packed: Buffer, last: boolean) => Promise<void>;

/** Fits a message with room to spare. */
const MOST_BYTES = 256 * 1024;
/** In base64 two thirds of what a message may have. */
const PART_BYTES = 384 * 1024;
/** Packed; some gigabytes of rows. A node that holds more alone is not erased without a person. */
const MOST_PARTS = 512;
const DEADLINE_MS = 600_000;
/** Files are looked at from the newest back until one begins before the first errant transaction. */
const MOST_FILES = 1_000;

export async function salvage(
  hand: Hand,
  errant: GtidSet,
  target: Target,
  access: MysqlAccess,
  deadlineMs: number,
  keep: KeepPart,
  mostParts = MOST_PARTS,
): Promise<Salvaged> {
  const binary = findClient("mysqlbinlog");
  if (binary === null)
    return nothing(
      "no mysqlbinlog was found (BATON_MYSQLBINLOG, beside BATON_MYSQLD, PATH): only the GTIDs are kept",
    );
  try {
    const first = await firstFile(hand, errant, deadlineMs);
    return await decode(binary, first, errant, target, access, keep, mostParts);
  } catch (error) {
    return nothing(
      `the events could not be read, only the GTIDs are kept: ${error instanceof Error ? error.message : error}`,
    );
  }
}

function nothing(lacking: string): Salvaged {
  return { events: null, truncated: false, parts: 0, lacking };
}

/** The newest file before which none of the transactions was written. */
async function firstFile(hand: Hand, errant: GtidSet, deadlineMs: number): Promise<string> {
  const [rows] = await hand.run(hand.dialect.binlogs, deadlineMs);
  const names = (rows ?? []).map((row) => String(row.Log_name));
  for (const name of names.slice(-MOST_FILES).reverse()) {
    const [head] = await hand.run(hand.dialect.binlogHead(name), deadlineMs);
    const before = GtidSet.parse(String(head?.[1]?.Info ?? "").replaceAll("\n", ""));
    if (before.intersect(errant).isEmpty()) return name;
  }
  throw new Error(`they are in none of the last ${Math.min(names.length, MOST_FILES)} binlog files`);
}

async function decode(
  binary: string,
  first: string,
  errant: GtidSet,
  target: Target,
  access: MysqlAccess,
  keep: KeepPart,
  mostParts: number,
): Promise<Salvaged> {
  const account = access.replication ?? access;
  const child = spawn(
    binary,
    [
      "--no-defaults",
      "--read-from-remote-server",
      `--host=${target.host}`,
      `--port=${target.port}`,
      "--protocol=TCP",
      `--user=${account.user}`,
      ...(access.tls ? ["--ssl-mode=REQUIRED"] : ["--get-server-public-key"]),
      `--include-gtids=${errant}`,
      "--verbose",
      "--base64-output=DECODE-ROWS",
      "--to-last-log",
      first,
    ],
    // Never on the command line, which every user of the machine can read.
    { env: { PATH: process.env.PATH, MYSQL_PWD: account.password }, stdio: ["ignore", "pipe", "pipe"] },
  );
  let complaint = "";
  let late = false;
  child.stderr.on("data", (chunk: Buffer) => {
    complaint = (complaint + chunk).slice(0, 2_000);
  });
  const ended = new Promise<number | null>((done, fail) => {
    child.once("error", fail);
    child.once("close", done);
  });
  ended.catch(() => undefined);
  // A wrapper's own children may outlive it and hold the pipe: nobody waits for them.
  const stop = () => {
    child.kill("SIGKILL");
    child.stdout.destroy();
    child.stderr.destroy();
  };
  const timer = setTimeout(() => {
    late = true;
    stop();
  }, DEADLINE_MS);
  try {
    const text = new Beginning();
    const packed = new Parts(keep, mostParts);
    for await (const line of withoutLonePositions(createInterface({ input: child.stdout }))) {
      text.add(line);
      await packed.add(line);
      if (packed.full) break;
    }
    if (packed.full) {
      stop();
      return {
        ...text.told(),
        parts: mostParts,
        lacking: `it is more than ${mostParts} parts of ${PART_BYTES / 1024} KiB, packed`,
      };
    }
    if (late)
      return {
        ...text.told(),
        truncated: true,
        parts: 0,
        lacking: `mysqlbinlog had not ended after ${DEADLINE_MS} ms`,
      };
    const code = await ended;
    if (code !== 0) throw new Error(`mysqlbinlog ended with ${code}: ${complaint.trim()}`);
    return { ...text.told(), parts: text.told().truncated ? await packed.end() : 0, lacking: null };
  } finally {
    clearTimeout(timer);
    stop();
  }
}

/** Of a transaction that is left out, only its positions are printed. */
async function* withoutLonePositions(lines: AsyncIterable<string>): AsyncGenerator<string> {
  let position: string | null = null;
  for await (const line of lines) {
    if (line.startsWith("# at ")) {
      position = line;
      continue;
    }
    if (position !== null) yield position;
    position = null;
    yield line;
  }
  if (position !== null) yield position;
}

/** The first lines, as many as an event can carry. */
class Beginning {
  readonly #lines: string[] = [];
  #bytes = 0;

  add(line: string): void {
    if (this.#bytes > MOST_BYTES) return;
    this.#lines.push(line);
    this.#bytes += Buffer.byteLength(line) + 1;
  }

  told(): { events: string; truncated: boolean } {
    const truncated = this.#bytes > MOST_BYTES;
    const text = Buffer.from(this.#lines.join("\n"));
    return { events: truncated ? text.subarray(0, MOST_BYTES).toString() : text.toString(), truncated };
  }
}

/** One gzip stream, cut into parts that are kept one after the other. */
class Parts {
  readonly #gzip = createGzip();
  readonly #keep: KeepPart;
  readonly #most: number;
  #waiting: Buffer[] = [];
  #bytes = 0;
  #kept = 0;

  constructor(keep: KeepPart, most: number) {
    this.#keep = keep;
    this.#most = most;
    this.#gzip.on("data", (chunk: Buffer) => {
      this.#waiting.push(chunk);
      this.#bytes += chunk.length;
    });
  }

  get full(): boolean {
    return this.#kept >= this.#most;
  }

  async add(line: string): Promise<void> {
    if (!this.#gzip.write(`${line}\n`)) await new Promise((resolve) => this.#gzip.once("drain", resolve));
    while (this.#bytes > PART_BYTES && !this.full) await this.#part(false);
  }

  /** How many there are. */
  async end(): Promise<number> {
    await new Promise<void>((resolve) => {
      this.#gzip.once("end", resolve);
      this.#gzip.end();
    });
    while (this.#bytes > PART_BYTES) await this.#part(false);
    await this.#part(true);
    return this.#kept;
  }

  async #part(last: boolean): Promise<void> {
    const all = Buffer.concat(this.#waiting);
    const part = all.subarray(0, PART_BYTES);
    this.#waiting = [all.subarray(part.length)];
    this.#bytes = all.length - part.length;
    await this.#keep(this.#kept++, part, last);
  }
}
