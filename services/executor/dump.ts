/**
 * A copy where the clone plugin is missing: mysqldump's text of the donor, piped into the mysql client of the node. Both run as children
 * of this executor, so the copy ends with it and a successor begins again. Nothing of the node goes before the donor has begun to give.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import type { MysqlAccess } from "@baton/contracts";
import type { DumpDialect, Target } from "@baton/mysql";
import { type Progress, teller } from "./clone.ts";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

/** The programs, by path. */
export interface DumpPrograms {
  mysqldump: string;
  mysql: string;
}

/** How long all writes of a donor may be held off by the dump's global read lock, behind a statement that runs long. */
const LOCK_WAIT_S = 5;
/** The donor's GTID set stands in the first lines; a set of a million intervals is shorter than this. */
const HEADER_MOST_BYTES = 16 * 1024 * 1024;
const LOOK_MS = 250;
/** A server that ends idle sessions must not end the one that holds the node's lock. */
const STAY_AWAKE_MS = 15_000;
const COMPLAINT_MOST = 2_000;

/** The set stands in a comment (`--set-gtid-purged=COMMENTED`), so that a node whose load broke off never looks complete. */
const HELD = /^\/\* SET @@GLOBAL\.GTID_PURGED='\+?([^']*)';\*\/$/m;
/** Left on by a load that breaks off; the end of the dump puts back what it found. */
const RECALC_OFF = /^\/\*!50606 SET GLOBAL INNODB_STATS_AUTO_RECALC=OFF \*\/;\n/m;

export interface Dumped {
  bytes: number;
  /** What the copy holds. */
  executed: string;
}

/** `empty` is called once the donor has begun to give: it empties the node. @throws Refusal dump-failed, deadline-exceeded, node-lost */
export async function copyByDump(
  op: Operation,
  hand: Hand,
  dialect: DumpDialect,
  programs: DumpPrograms,
  donor: { name: string; target: Target; totalBytes: number },
  node: Target,
  untilMs: number,
  empty: () => Promise<void>,
): Promise<Dumped> {
  const access = op.ports.access(op.cluster);
  const dumping = start(programs.mysqldump, [...common(donor.target, access), ...WHAT], access, "ignore");
  let loading: Child | null = null;
  const watch = watchOver(op, hand, untilMs);
  try {
    const header = await watch.race(headerOf(dumping));
    await watch.race(empty());
    loading = start(programs.mysql, [...common(node, access), ...HOW], access, "pipe");
    const bytes = await watch.race(
      pour(
        dumping,
        loading,
        `${dialect.loadGuard(hand.threadId)};\n`,
        header.text,
        tellerOf(op, hand, donor),
      ),
    );
    return { bytes, executed: header.executed };
  } finally {
    watch.end();
    for (const child of [dumping, loading]) child?.stop();
  }
}

const WHAT = [
  `--init-command=SET SESSION lock_wait_timeout=${LOCK_WAIT_S}`,
  "--single-transaction",
  "--source-data=2",
  "--set-gtid-purged=COMMENTED",
  "--all-databases",
  "--routines",
  "--events",
  "--triggers",
  "--hex-blob",
  "--flush-privileges",
  "--max-allowed-packet=1G",
];
/** A client that logs in anew by itself would write after its operation was taken away. */
const HOW = ["--skip-reconnect", "--binary-mode", "--batch", "--max-allowed-packet=1G"];

function common({ host, port }: Target, access: MysqlAccess): string[] {
  return [
    "--no-defaults",
    `--host=${host}`,
    `--port=${port}`,
    "--protocol=TCP",
    `--user=${access.user}`,
    ...(access.tls ? ["--ssl-mode=REQUIRED"] : ["--get-server-public-key"]),
  ];
}

interface Child {
  readonly process: ChildProcessByStdio<Writable | null, Readable, Readable>;
  /** Resolves when it has ended well. @throws Refusal dump-failed with what it complained of */
  readonly ended: Promise<void>;
  stop(): void;
}

function start(program: string, args: string[], access: MysqlAccess, stdin: "ignore" | "pipe"): Child {
  // Never on the command line, which every user of the machine can read.
  const env = { PATH: process.env.PATH, MYSQL_PWD: access.password };
  const child = spawn(program, args, { env, stdio: [stdin, "pipe", "pipe"] }) as Child["process"];
  const name = program.split("/").at(-1);
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => {
    complaint = (complaint + chunk).slice(-COMPLAINT_MOST);
  });
  const ended = new Promise<void>((done, fail) => {
    child.once("error", (error) => fail(new Refusal("dump-failed", `${name}: ${error.message}`)));
    child.once("close", (code, signal) =>
      code === 0
        ? done()
        : fail(new Refusal("dump-failed", `${name} ended with ${code ?? signal}: ${complaint.trim()}`)),
    );
  });
  ended.catch(() => undefined);
  // A wrapper's own children may outlive it and hold the pipes: nobody waits for them.
  const stop = () => {
    child.kill("SIGKILL");
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
  };
  return { process: child, ended, stop };
}

/** Reads until the donor's set has come; what was read is loaded like the rest. */
async function headerOf(dumping: Child): Promise<{ text: string; executed: string }> {
  const { stdout } = dumping.process;
  let text = "";
  stdout.setEncoding("latin1");
  const found = new Promise<string>((done, fail) => {
    const read = (chunk: string) => {
      text += chunk;
      const held = HELD.exec(text)?.[1];
      if (held === undefined && text.length < HEADER_MOST_BYTES) return;
      stdout.pause();
      stdout.off("data", read);
      if (held === undefined) fail(new Refusal("dump-failed", "mysqldump did not say what the donor holds"));
      else done(held.replaceAll("\n", ""));
    };
    stdout.on("data", read);
  });
  const broken = dumping.ended.then(() => {
    throw new Refusal("dump-failed", "mysqldump ended before it said what the donor holds");
  });
  broken.catch(() => undefined);
  const executed = await Promise.race([found, broken]);
  return { text: text.replace(RECALC_OFF, ""), executed };
}

/** The donor's text into the node, at the pace of the slower one. Resolves with its length when both have ended well. */
async function pour(
  dumping: Child,
  loading: Child,
  guard: string,
  header: string,
  tell: (bytes: number) => void,
): Promise<number> {
  const { stdout } = dumping.process;
  const stdin = loading.process.stdin as Writable;
  let bytes = header.length;
  // Why it cannot be written to is told by how the client ended.
  stdin.on("error", () => undefined);
  loading.process.stdout.resume();
  stdin.write(guard);
  stdin.write(header, "latin1");
  stdout.on("data", (chunk: string) => {
    bytes += chunk.length;
    tell(bytes);
    if (stdin.write(chunk, "latin1")) return;
    stdout.pause();
    stdin.once("drain", () => stdout.resume());
  });
  stdout.resume();
  // A dump that broke off is never ended like a whole one: the client would run what it has of the last statement.
  await Promise.race([dumping.ended, loading.ended.then(() => dumping.ended)]);
  stdin.end();
  await loading.ended;
  return bytes;
}

function tellerOf(op: Operation, hand: Hand, donor: { name: string; totalBytes: number }) {
  const tell = teller(op, hand.node);
  return (bytes: number) => {
    const found: Progress = {
      source: donor.name,
      copiedBytes: bytes,
      // The text of rows is longer or shorter than their pages: an estimate that was too low is given up.
      totalBytes: Math.max(bytes, donor.totalBytes),
      stage: "dump",
    };
    tell(found);
  };
}

/** Ends whatever is waited for when the operation or the node's lock is lost, or time is up. */
function watchOver(op: Operation, hand: Hand, untilMs: number) {
  const lost = Promise.withResolvers<never>();
  lost.promise.catch(() => undefined);
  const { openMs } = op.declared.policy.deadlines;
  let awakeMs = op.ports.now();
  const timer = setInterval(() => {
    const now = op.ports.now();
    try {
      op.assertMine();
      if (hand.closed) throw new Refusal("node-lost", `${hand.node}: its lock was lost during the load`);
      if (now > untilMs)
        throw new Refusal("deadline-exceeded", `the dump into ${hand.node} had not ended in time`);
    } catch (error) {
      lost.reject(error);
    }
    if (now - awakeMs < STAY_AWAKE_MS) return;
    awakeMs = now;
    hand.run("DO 0", openMs).catch((error: unknown) => lost.reject(error));
  }, LOOK_MS);
  return {
    race: <T>(what: Promise<T>): Promise<T> => Promise.race([what, lost.promise]),
    end: () => clearInterval(timer),
  };
}
