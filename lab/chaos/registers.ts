/**
 * Keys that are written again and again, and what each may hold in the end. A key gets its next version only when the one before it is
 * acknowledged: so it holds the last acknowledged version, or the one after it, whose answer was an error or never came. Pure.
 */

export interface RegisterRow {
  version: number;
  value: string;
  /** The server_uuid that wrote it. */
  server: string;
}

export interface Version {
  /** Null: a delete. */
  row: RegisterRow | null;
  acknowledged: boolean;
  /** Who was asked. */
  server: string;
}

export interface Register {
  key: string;
  /** In the order in which they were sent; before the first the key holds nothing. */
  versions: readonly Version[];
}

/** Run once on the primary; replicated. */
export const registersTable =
  "CREATE TABLE IF NOT EXISTS app.registers (k VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, version INT NOT NULL, value VARCHAR(64) NOT NULL, server VARCHAR(64) NOT NULL)";

/** Keys that are written in turn, as long as none of them is left with an open answer. */
const KEYS = 12;
/** Each so manieth version is a delete: the next one inserts again. */
const DELETE_EACH = 4;

/** What to write next, and what was acknowledged. */
export class RegisterBook {
  readonly tag: string;
  readonly #registers: { key: string; versions: Version[] }[] = [];
  readonly #idle: number[] = [];
  readonly #sent = new Map<string, { register: number; version: number }>();

  constructor(tag: string) {
    this.tag = tag;
    for (let key = 0; key < KEYS; key++) this.#idle.push(this.#open());
  }

  /** The statement that is sent under this id to this server. It changes no row where the version before it is not there. */
  statement(id: string, server: string): string {
    const register = this.#idle.shift() ?? this.#open();
    const { key, versions } = this.#of(register);
    const version = versions.length + 1;
    const before = versions.at(-1)?.row ?? null;
    const isDelete = before !== null && version % DELETE_EACH === 0;
    const value = `${key}=${version}`;
    this.#sent.set(id, { register, version });
    versions.push({ row: isDelete ? null : { version, value, server }, acknowledged: false, server });
    if (before === null)
      return `INSERT INTO app.registers VALUES ('${key}', ${version}, '${value}', @@server_uuid)`;
    const where = `WHERE k = '${key}' AND version = ${before.version}`;
    return isDelete
      ? `DELETE FROM app.registers ${where}`
      : `UPDATE app.registers SET version = ${version}, value = '${value}', server = @@server_uuid ${where}`;
  }

  acknowledged(id: string): void {
    const sent = this.#sent.get(id);
    if (sent === undefined) return;
    this.#sent.delete(id);
    (this.#of(sent.register).versions[sent.version - 1] as Version).acknowledged = true;
    this.#idle.push(sent.register);
  }

  registers(): readonly Register[] {
    return this.#registers;
  }

  #open(): number {
    return this.#registers.push({ key: `${this.tag}-${this.#registers.length}`, versions: [] }) - 1;
  }

  #of(register: number): { key: string; versions: Version[] } {
    return this.#registers[register] as { key: string; versions: Version[] };
  }
}

export interface WrongRegister {
  key: string;
  /** `lost`: an acknowledged version is not there. `resurrected`: an acknowledged delete is not. `from-nowhere`: nobody ever wrote this. */
  code: "lost" | "resurrected" | "from-nowhere";
  found: string;
}

/** What a node holds and must not, or has not and must. */
export function wrongRegisters(
  registers: readonly Register[],
  held: ReadonlyMap<string, RegisterRow>,
): WrongRegister[] {
  const known = new Set(registers.map(({ key }) => key));
  const strangers = [...held.keys()].filter((key) => !known.has(key));
  return [
    ...registers.flatMap((register) => wrongRegister(register, held.get(register.key) ?? null)),
    ...strangers.map((key) => ({ key, code: "from-nowhere" as const, found: `${key}, which nobody wrote` })),
  ];
}

function wrongRegister({ key, versions }: Register, held: RegisterRow | null): WrongRegister[] {
  const last = versions.findLastIndex(({ acknowledged }) => acknowledged);
  const lastRow = versions[last]?.row ?? null;
  const allowed = [lastRow, ...versions.slice(last + 1).map(({ row }) => row)];
  if (allowed.some((row) => isSame(row, held))) return [];
  const found = `${key} is ${said(held)}, where ${allowed.map(said).join(" or ")} is right`;
  if (held !== null && !versions.some(({ row }) => isSame(row, held)))
    return [{ key, code: "from-nowhere", found }];
  return [{ key, code: held !== null && lastRow === null ? "resurrected" : "lost", found }];
}

export function isSame(a: RegisterRow | null, b: RegisterRow | null): boolean {
  if (a === null || b === null) return a === b;
  return a.version === b.version && a.value === b.value && a.server === b.server;
}

function said(row: RegisterRow | null): string {
  return row === null ? "absent" : `version ${row.version} (${row.value}, by ${row.server})`;
}
