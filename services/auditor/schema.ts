/** The archive's tables. A change is one more entry at the end; `user_version` says how many were made. */

/** "BATN": tells our files from other SQLite databases. */
export const APPLICATION_ID = 0x4241544e;

export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE archive (
    id TEXT NOT NULL              -- names this archive for ever: its durable consumers and its chain's beginning
  ) STRICT;

  CREATE TABLE record (
    seq INTEGER PRIMARY KEY,      -- place in the chain: 1, 2, 3, … without gaps
    kind TEXT NOT NULL,
    at_unix_ms INTEGER NOT NULL,
    cluster TEXT NOT NULL,
    operation TEXT,
    trace_id TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    subject TEXT NOT NULL,
    stream TEXT NOT NULL,
    stream_sequence INTEGER NOT NULL,
    payload TEXT NOT NULL,        -- the body as received
    sha256 TEXT NOT NULL,         -- of the body
    chain TEXT NOT NULL,
    -- CloudEvents: source and id name a message. A stream's sequence does not: a stream that was made anew
    -- counts from 1 again. The hash keeps a second message that wrongly bears a used id from being lost.
    UNIQUE (source, id, sha256)
  ) STRICT;

  CREATE INDEX record_by_operation ON record (operation, at_unix_ms) WHERE operation IS NOT NULL;
  CREATE INDEX record_by_trace ON record (trace_id) WHERE operation IS NULL;
  `,
];
