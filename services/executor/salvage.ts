/**
 * What an errant node holds and the history has not, read out of its binlog before its data go: the GTIDs always, and the
 * decoded rows where a mysqlbinlog is found. It reads over the network as a replica does, so no shell on the host is needed.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { MysqlAccess } from "@baton/contracts";
import { GtidSet, type Target } from "@baton/mysql";
import { findClient } from "./client-program.ts";
import type { Hand } from "./hand.ts";

export interface Salvaged {
  /** What `mysqlbinlog --verbose` shows of the transactions; null when it could not be run to its end or at all. */
  events: string | null;
  truncated: boolean;
  /** Why there is less than everything; null when there is everything. */
  lacking: string | null;
}

/** Fits a message with room to spare; what is longer is for mysqlbinlog on the node itself. */
const MOST_BYTES = 256 * 1024;
const DEADLINE_MS = 60_000;
/** Files are looked at from the newest back until one begins before the first errant transaction. */
const MOST_FILES = 1_000;

export async function salvage(
  hand: Hand,
  errant: GtidSet,
  target: Target,
  access: MysqlAccess,
  deadlineMs: number,
): Promise<Salvaged> {
  const binary = findClient("mysqlbinlog");
  if (binary === null)
    return nothing(
      "no mysqlbinlog was found (BATON_MYSQLBINLOG, beside BATON_MYSQLD, PATH): only the GTIDs are kept",
    );
  try {
    const first = await firstFile(hand, errant, deadlineMs);
    return await decode(binary, first, errant, target, access);
  } catch (error) {
    return nothing(
      `the events could not be read, only the GTIDs are kept: ${error instanceof Error ? error.message : error}`,
    );
  }
}

function nothing(lacking: string): Salvaged {
  return { events: null, truncated: false, lacking };
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

function decode(
  binary: string,
  first: string,
  errant: GtidSet,
  target: Target,
  access: MysqlAccess,
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
  return new Promise((done, fail) => {
    const reader = createInterface({ input: child.stdout });
    const lines: string[] = [];
    let bytes = 0;
    let full = false;
    let late = false;
    let complaint = "";
    // A wrapper's own children may outlive it and hold the pipe: nobody waits for them.
    const stop = () => {
      child.kill("SIGKILL");
      reader.close();
      child.stdout.destroy();
      child.stderr.destroy();
    };
    const timer = setTimeout(() => {
      late = true;
      stop();
    }, DEADLINE_MS);
    const keep = (line: string) => {
      // Of a transaction that is left out, only its positions are printed.
      if (line.startsWith("# at ") && lines.at(-1)?.startsWith("# at "))
        bytes -= (lines.pop()?.length ?? 0) + 1;
      lines.push(line);
      bytes += Buffer.byteLength(line) + 1;
      if (bytes <= MOST_BYTES) return;
      full = true;
      stop();
    };
    reader.on("line", (line) => {
      if (!full) keep(line);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      complaint = (complaint + chunk).slice(0, 2_000);
    });
    child.once("error", (error) => {
      clearTimeout(timer);
      fail(error);
    });
    const ended = Promise.withResolvers<void>();
    reader.once("close", ended.resolve);
    child.once("close", (code) => {
      clearTimeout(timer);
      void ended.promise.then(() => {
        const events = lines.join("\n").slice(0, MOST_BYTES);
        if (full)
          done({ events, truncated: true, lacking: `only the first ${MOST_BYTES / 1024} KiB are kept` });
        else if (late)
          done({ events, truncated: true, lacking: `mysqlbinlog had not ended after ${DEADLINE_MS} ms` });
        else if (code === 0) done({ events, truncated: false, lacking: null });
        else fail(new Error(`mysqlbinlog ended with ${code}: ${complaint.trim()}`));
      });
    });
  });
}
