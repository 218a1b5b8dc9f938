/**
 * The row of `baton.epoch`: whose reign the data are of. A status read carries it where it can be read; nothing fails for the want of
 * it, and nobody waits for it longer than EPOCH_READ_MS: its table is read like any other, so whoever locks it could hold a reader up.
 */
import type { EpochRow } from "@baton/contracts";
import { escape as quote } from "mysql2";
import type { MysqlFault } from "./fault.ts";
import type { Row } from "./session.ts";

export const EPOCH_READ_MS = 100;
/** After a read that failed, so long without another try on the same session. */
const AGAIN_MS = 1_000;

const NO_SUCH_TABLE = 1146;
const NO_SUCH_DATABASE = 1049;
const UNKNOWN_SYSTEM_VARIABLE = 1193;

/** As one value, for the JSON of a status. */
export const EPOCH_JSON = `(SELECT JSON_OBJECT('installation', installation, 'cluster', cluster, 'epoch', epoch,
'primaryUuid', primary_uuid) FROM baton.epoch WHERE id = 1)`;

export const EPOCH_COLUMNS =
  "SELECT installation, cluster, epoch, primary_uuid AS primaryUuid FROM baton.epoch WHERE id = 1";

export function parseEpoch(row: Row | null | undefined): EpochRow | null {
  if (row === null || row === undefined) return null;
  return {
    installation: String(row.installation),
    cluster: String(row.cluster),
    epoch: Number(row.epoch),
    primaryUuid: String(row.primaryUuid),
  };
}

export const CREATE_EPOCH: readonly string[] = [
  "CREATE DATABASE IF NOT EXISTS baton",
  `CREATE TABLE IF NOT EXISTS baton.epoch (id TINYINT PRIMARY KEY,
      installation VARCHAR(64) CHARACTER SET ascii NOT NULL, cluster VARCHAR(63) CHARACTER SET ascii NOT NULL,
      epoch BIGINT UNSIGNED NOT NULL, primary_uuid VARCHAR(64) CHARACTER SET ascii NOT NULL,
      opened_at DATETIME(6) NOT NULL)`,
];

/**
 * Alone, so that the first transaction of an epoch is one: the table is made only where it is missing. A later epoch of the same cluster stays:
 * whoever writes this may have slept. REPLACE, for the account may insert and delete there and nothing else (deploy/mysql/grants.sql); it may read its own
 * table in a derived one (15.2.12).
 */
export function writeEpoch(row: EpochRow): string {
  const [installation, cluster, uuid] = [row.installation, row.cluster, row.primaryUuid].map((text) =>
    quote(text),
  );
  const epoch = Math.trunc(row.epoch);
  const later = `SELECT COUNT(*) AS rows_found FROM baton.epoch WHERE installation = ${installation} AND cluster = ${cluster} AND epoch > ${epoch}`;
  return `REPLACE INTO baton.epoch SELECT 1, ${installation}, ${cluster}, ${epoch}, ${uuid}, NOW(6) FROM (${later}) AS later WHERE later.rows_found = 0`;
}

export function isMissingTable(errno: unknown): boolean {
  return errno === NO_SUCH_TABLE || errno === NO_SUCH_DATABASE;
}

/** What a read that failed says of the row: null, there is none; undefined, nobody knows. */
export class EpochReads {
  readonly #failed = new WeakMap<object, { untilMs: number; absent: boolean }>();

  /** Whether a read by this session shall ask for the row. */
  asks(session: object, now: number): boolean {
    const failed = this.#failed.get(session);
    return failed === undefined || now >= failed.untilMs;
  }

  /** The server refused the read that asked for it: the next does without. False: that was not about the row. */
  refused(session: object, fault: MysqlFault, now: number): boolean {
    if (fault.errno === null || fault.errno === UNKNOWN_SYSTEM_VARIABLE) return false;
    this.#failed.set(session, { untilMs: now + AGAIN_MS, absent: isMissingTable(fault.errno) });
    return true;
  }

  /** For a status that was read without it. */
  known(session: object): { epoch: null } | Record<string, never> {
    return this.#failed.get(session)?.absent === true ? { epoch: null } : {};
  }
}
