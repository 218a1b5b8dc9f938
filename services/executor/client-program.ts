/** The MySQL client programs that the executor runs beside itself: where they are found. */
import { accessSync, constants } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";

export type ClientProgram = "mysqlbinlog" | "mysqldump" | "mysql";

/** Named by `BATON_<NAME>`, which is then the only one; else beside `BATON_MYSQLD`, on `PATH`, or fetched by this repository; null: none. */
export function findClient(name: ClientProgram, env: NodeJS.ProcessEnv = process.env): string | null {
  const named = env[`BATON_${name.toUpperCase()}`];
  if (named) return executable(named) ? named : null;
  const folders = [
    ...(env.BATON_MYSQLD ? [dirname(resolve(env.BATON_MYSQLD))] : []),
    ...(env.PATH ?? "").split(delimiter).filter(Boolean),
    resolve(import.meta.dirname, "../../.toolchain/mysql/bin"),
  ];
  return folders.map((folder) => join(folder, name)).find(executable) ?? null;
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
