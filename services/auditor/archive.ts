/**
 * The SQLite file. One auditor writes it; others may read it meanwhile (WAL). Every method is synchronous and
 * throws BatonError (E_DISK_FULL, E_STORE); what fails is rolled back as a whole.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { BatonError } from "@baton/contracts";
import Database from "better-sqlite3";
import { type ChainedRecord, genesis, nextLink, type Verdict, verifyChain } from "./chain.ts";
import { inUse, storeFault } from "./faults.ts";
import type { Draft, Kind } from "./record.ts";
import { APPLICATION_ID, MIGRATIONS } from "./schema.ts";

/** A reader's short lock is waited for; longer, and the messages are left to come again. */
const BUSY_MS = 1_000;
/** The log file is cut back to this after a checkpoint. */
const WAL_KEPT_BYTES = 8 * 1024 * 1024;

export interface Stored {
  stored: number;
  /** Of those that were stored, in their order. */
  kinds: Kind[];
  /** Already there: delivered a second time. */
  duplicates: number;
}

export interface Archive {
  readonly file: string;
  /** Made with the file and kept in it: the same after every restart. */
  readonly id: string;
  /** The last record's place and chain value; 0 and the beginning's value when empty. */
  head(): { seq: number; chain: string };
  /** All of them or none, in one transaction that is on the disk when this returns. */
  store(drafts: readonly Draft[]): Stored;
  verify(seen?: (r: ChainedRecord) => void): Verdict;
  /** Ids of operations, newest first. */
  operations(cluster: string | null, limit: number): string[];
  /** Ids that begin with `prefix`, at most `limit`; the exact id alone when it is one. */
  operationsNamed(prefix: string, cluster: string | null, limit: number): string[];
  /** What names the operation, in time order. */
  recordsOf(operation: string): ChainedRecord[];
  /** The operation's records and those of its trace that belong to no operation, in time order, at most `limit`. */
  story(operation: string, limit: number): ChainedRecord[];
  close(): void;
}

export interface ArchiveOptions {
  /** For reading beside a running auditor: makes nothing, locks nothing. */
  readonly?: boolean;
  /** The file may not grow beyond so many pages of 4 KiB. */
  maxPages?: number;
}

const COLUMNS = `seq, kind, at_unix_ms AS atUnixMs, cluster, operation, trace_id AS traceId, source, id, subject, stream,
  stream_sequence AS streamSequence, payload, sha256, chain`;

/** Within one millisecond: cause before effect, then the order of the stream. */
const IN_TIME = `ORDER BY at_unix_ms,
  CASE kind WHEN 'diagnosis' THEN 0 WHEN 'intent' THEN 1 WHEN 'step' THEN 2 WHEN 'event' THEN 3 ELSE 4 END,
  stream_sequence, seq`;

/** Opens the archive or makes a new one. Throws BatonError; what it has made by then is gone again. */
export function openArchive(path: string, o: ArchiveOptions = {}): Archive {
  const file = resolve(path);
  const readonly = o.readonly === true;
  const isNew = !existsSync(file);
  if (readonly && isNew) {
    throw new BatonError("E_NOT_FOUND", {
      place: file,
      message: "There is no such file.",
      remedy: "Name the file that auditor.file says.",
    });
  }
  let lock: Database.Database | undefined;
  let db: Database.Database | undefined;
  try {
    if (!readonly) {
      mkdirSync(dirname(file), { recursive: true });
      lock = takeLock(file);
    }
    db = new Database(file, { readonly, timeout: BUSY_MS });
    checkOurs(db, file, readonly);
    if (!readonly) prepare(db, o.maxPages);
    return archiveOver(db, lock, file);
  } catch (error) {
    const fault = storeFault(error, file);
    db?.close();
    lock?.close();
    if (isNew && lock) {
      for (const suffix of ["", "-wal", "-shm", "-journal", ".lock"]) rmSync(file + suffix, { force: true });
    }
    throw fault;
  }
}

/**
 * One writer a file. SQLite's own lock lasts only as long as a transaction, so a transaction is held open on an
 * empty file beside it; the kernel lets go of it when the process dies, however it dies.
 */
function takeLock(file: string): Database.Database {
  const lock = new Database(`${file}.lock`, { timeout: 0 });
  try {
    lock.pragma("journal_mode = MEMORY");
    lock.exec("BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock.close();
    throw String((error as { code?: string }).code).startsWith("SQLITE_BUSY") ? inUse(file) : error;
  }
}

function checkOurs(db: Database.Database, file: string, readonly: boolean): void {
  const applicationId = db.pragma("application_id", { simple: true });
  const tables = db.prepare("SELECT count(*) FROM sqlite_schema").pluck().get() as number;
  if ((tables > 0 || readonly) && applicationId !== APPLICATION_ID) {
    throw new BatonError("E_STORE", {
      place: file,
      message: "The file is a SQLite database, but not an archive of Baton's.",
      remedy: "Name the file that auditor.file says, or set that to another path.",
    });
  }
  const version = db.pragma("user_version", { simple: true }) as number;
  if (version > MIGRATIONS.length) {
    throw new BatonError("E_STORE", {
      place: file,
      message: `The archive has version ${version}; this Baton knows up to ${MIGRATIONS.length}.`,
      remedy: "Use the newer Baton that wrote it, or set auditor.file to another path.",
    });
  }
}

function prepare(db: Database.Database, maxPages: number | undefined): void {
  db.pragma("journal_mode = WAL"); // Readers never wait for the writer, nor it for them.
  // What is acknowledged to NATS never comes again, so it must survive a power cut: NORMAL may lose the last
  // transactions of a WAL, FULL does not. It costs one fsync a burst, on nobody's way to a failover.
  db.pragma("synchronous = FULL");
  db.pragma(`journal_size_limit = ${WAL_KEPT_BYTES}`);
  if (maxPages !== undefined) db.pragma(`max_page_count = ${maxPages}`);
  const version = db.pragma("user_version", { simple: true }) as number;
  if (version === MIGRATIONS.length) return;
  db.transaction(() => {
    for (const migration of MIGRATIONS.slice(version)) db.exec(migration);
    if (version === 0) {
      db.prepare("INSERT INTO archive (id) VALUES (?)").run(randomBytes(4).toString("hex"));
    }
    db.pragma(`application_id = ${APPLICATION_ID}`);
    db.pragma(`user_version = ${MIGRATIONS.length}`);
  }).immediate();
}

function archiveOver(db: Database.Database, lock: Database.Database | undefined, file: string): Archive {
  const guarded = <T>(act: () => T): T => {
    try {
      return act();
    } catch (error) {
      throw storeFault(error, file);
    }
  };
  const id = db.prepare<[], string>("SELECT id FROM archive").pluck().get();
  if (id === undefined) throw storeFault(new Error("it has no id"), file);
  const last = db.prepare<[], { seq: number; chain: string }>(
    "SELECT seq, chain FROM record ORDER BY seq DESC LIMIT 1",
  );
  const known = db.prepare("SELECT 1 FROM record WHERE source = ? AND id = ? AND sha256 = ?");
  const insert =
    db.prepare(`INSERT INTO record (seq, kind, at_unix_ms, cluster, operation, trace_id, source, id, subject,
    stream, stream_sequence, payload, sha256, chain) VALUES (@seq, @kind, @atUnixMs, @cluster, @operation, @traceId,
    @source, @id, @subject, @stream, @streamSequence, @payload, @sha256, @chain)`);
  const all = db.prepare<[], ChainedRecord>(`SELECT ${COLUMNS} FROM record ORDER BY seq`);
  const newest = db
    .prepare<{ cluster: string | null; limit: number }, string>(`
    SELECT operation FROM record
    WHERE operation IS NOT NULL AND kind <> 'alert' AND (@cluster IS NULL OR cluster = @cluster)
    GROUP BY operation ORDER BY min(at_unix_ms) DESC, operation DESC LIMIT @limit`)
    .pluck();
  const named = db
    .prepare<{ prefix: string; cluster: string | null; limit: number }, string>(`
    SELECT DISTINCT operation FROM record
    WHERE operation IS NOT NULL AND kind <> 'alert' AND (@cluster IS NULL OR cluster = @cluster)
      AND substr(operation, 1, length(@prefix)) = @prefix
    ORDER BY operation <> @prefix, operation LIMIT @limit`)
    .pluck();
  const ofOperation = db.prepare<[string], ChainedRecord>(
    `SELECT ${COLUMNS} FROM record WHERE operation = ? ${IN_TIME}`,
  );
  const whole = db.prepare<{ operation: string; limit: number }, ChainedRecord>(`
    WITH own AS (SELECT DISTINCT trace_id, cluster FROM record WHERE operation = @operation AND trace_id <> '')
    SELECT ${COLUMNS} FROM record
    WHERE operation = @operation
      OR (operation IS NULL AND EXISTS (SELECT 1 FROM own WHERE own.trace_id = record.trace_id AND own.cluster = record.cluster))
    ${IN_TIME} LIMIT @limit`);

  const head = () => last.get() ?? { seq: 0, chain: genesis(id) };
  const storeAll = db.transaction((drafts: readonly Draft[]): Stored => {
    let { seq, chain } = head();
    const kinds: Kind[] = [];
    for (const draft of drafts) {
      if (known.get(draft.source, draft.id, draft.sha256) !== undefined) continue;
      seq += 1;
      chain = nextLink(chain, seq, draft);
      insert.run({ ...draft, seq, chain });
      kinds.push(draft.kind);
    }
    return { stored: kinds.length, kinds, duplicates: drafts.length - kinds.length };
  });

  return {
    file,
    id,
    head: () => guarded(head),
    store: (drafts) => guarded(() => storeAll.immediate(drafts)),
    verify: (seen) => guarded(() => verifyChain(id, all.iterate(), seen)),
    operations: (cluster, limit) => guarded(() => newest.all({ cluster, limit })),
    operationsNamed(prefix, cluster, limit) {
      const found = guarded(() => named.all({ prefix, cluster, limit }));
      return found[0] === prefix ? [prefix] : found;
    },
    recordsOf: (operation) => guarded(() => ofOperation.all(operation)),
    story: (operation, limit) => guarded(() => whole.all({ operation, limit })),
    close() {
      db.close();
      lock?.close();
    },
  };
}
